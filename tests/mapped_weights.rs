//! Weights are mapped, not read: a shard's own memory is a small part of its checkpoint, and other shards' files need
//! not even exist.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

mod common;

use std::path::Path;

use common::process::memory;
use common::synthetic::{self, Content, Shape, Tensor};
use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, ShardSpec};

const SHAPE: Shape =
    Shape { layers: 8, hidden: 1024, inner: 4096, heads: 16, kv_heads: 4, vocabulary: 32_000, positions: 2048 };

/// A model folder with one file per layer and one for the rest.
fn model(folder: &Path) -> u64 {
    std::fs::write(folder.join("config.json"), SHAPE.config(false)).unwrap();
    let mut index = Vec::new();
    let mut bytes = 0;
    let mut file = |name: &str, tensors: Vec<Tensor>| {
        index.extend(tensors.iter().map(|(tensor, _)| format!(r#""{tensor}":"{name}""#)));
        bytes += synthetic::write(&folder.join(name), &tensors, Content::Sparse);
    };
    for layer in 0..SHAPE.layers {
        file(&format!("layer-{layer}.safetensors"), SHAPE.layer(layer));
    }
    let table = vec![SHAPE.vocabulary, SHAPE.hidden];
    let rest =
        [("embed_tokens", table.clone()), ("norm", vec![SHAPE.hidden])].map(|(n, s)| (format!("model.{n}.weight"), s));
    file("rest.safetensors", rest.into_iter().chain([("lm_head.weight".to_owned(), table)]).collect());
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, index.join(","));
    std::fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    bytes
}

#[test]
fn a_shard_takes_little_memory_of_its_own_and_only_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = model(folder.path());
    let path = folder.path().to_str().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();

    let before = memory("RssAnon");
    let whole = engine.ensure_shard(&ShardSpec::whole(path), None).unwrap();
    assert_eq!(whole.info().weight_bytes, bytes);
    let loaded = memory("RssAnon").saturating_sub(before);
    assert!(loaded < bytes / 20, "{loaded} bytes of private memory for {bytes} bytes of weights");

    let options = RequestOptions { capacity: 64, ..RequestOptions::default() };
    let mut request = Request::new(&whole, options).unwrap();
    let _ = request.infer(Input::Ids(&[1, 2, 3]), Logits::Last).unwrap();
    let run = memory("RssAnon").saturating_sub(before);
    assert!(run < bytes / 20, "{run} bytes of private memory after a run");

    // A middle shard needs the files of its layers and nothing else.
    for name in ["rest.safetensors", "layer-0.safetensors", "layer-4.safetensors"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let middle = engine.ensure_shard(&ShardSpec::layers(path, 1, 3), None).unwrap();
    let rest = 2 * (2 * SHAPE.vocabulary * SHAPE.hidden + SHAPE.hidden) as u64;
    assert_eq!(middle.info().weight_bytes, 3 * (bytes - rest) / 8);
    assert!(engine.ensure_shard(&ShardSpec::layers(path, 1, 4), None).is_err());
}
