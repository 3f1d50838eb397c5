//! Weights are mapped, not read: a shard's own memory is a small part of its checkpoint, and the files of other shards need
//! not even exist.
#![cfg(target_os = "linux")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::common::process::{child, mapped, memory};
use crate::common::synthetic::{self, Content, Shape, Tensor};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, Logits, PackCache, Precision, Progress, Request, RequestOptions, Shard,
    ShardSpec, Stage,
};

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
    child(module_path!(), "child_loads_its_files", &[]);
}

#[test]
#[ignore = "a child's part"]
fn child_loads_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = model(folder.path());
    let path = folder.path().to_str().unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();

    let before = memory("RssAnon");
    let whole = engine.ensure_shard(&ShardSpec::whole(path), None).unwrap();
    assert_eq!(whole.info().weight_bytes, bytes);
    let loaded = memory("RssAnon").saturating_sub(before);
    assert!(loaded < bytes / 50, "{loaded} bytes of private memory for {bytes} bytes of weights");

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

/// The model of `folder`, its packed weights in `packed`, after a run, with the bytes of its weights. Loading takes memory of this
/// process for less than a fiftieth of them.
fn loaded(folder: &Path, packed: &Path, precision: Precision) -> (Arc<Shard>, u64) {
    let options =
        EngineOptions { precision, pack_cache: PackCache::Folder(packed.to_owned()), ..EngineOptions::default() };
    let engine = Engine::new(options).unwrap();
    let before = memory("RssAnon");
    let shard = engine.ensure_shard(&ShardSpec::whole(folder.to_str().unwrap()), None).unwrap();
    let (bytes, own) = (engine.memory_used(), memory("RssAnon").saturating_sub(before));
    assert!(own < bytes / 50, "{own} bytes of private memory for {bytes} bytes of weights in {precision:?}");
    let mut request = Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
    let _ = request.infer(Input::Ids(&[1, 2, 3]), Logits::Last).unwrap();
    (shard, bytes)
}

/// However large a checkpoint is, packing it takes little memory of this process, and the caller can stop it to the end.
#[test]
fn a_pack_is_written_in_pieces() {
    child(module_path!(), "child_packs", &[]);
}

#[test]
#[ignore = "a child's part"]
fn child_packs() {
    let (folder, packed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = model(folder.path());
    let options = EngineOptions {
        precision: Precision::Int4,
        pack_cache: PackCache::Folder(packed.path().to_owned()),
        ..EngineOptions::default()
    };
    let (engine, spec) = (Engine::new(options).unwrap(), ShardSpec::whole(folder.path().to_str().unwrap()));
    // What is packed is hashed, and then whole.
    let mut hashed = 0;
    let mut stop = |now: &Progress| {
        hashed += u32::from(now.stage == Stage::Pack && now.bytes_done == now.bytes_total);
        if hashed == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = engine.ensure_shard(&spec, Some(&mut stop)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.chain());
    assert_eq!((engine.memory_used(), packed.path().read_dir().unwrap().count()), (0, 0));

    let (before, mut most, mut calls) = (memory("RssAnon"), 0, 0);
    let mut watch = |now: &Progress| {
        most = most.max(memory("RssAnon"));
        calls += u64::from(now.stage == Stage::Pack);
        ControlFlow::Continue(())
    };
    let shard = engine.ensure_shard(&spec, Some(&mut watch)).unwrap();
    let (own, packed) = (most.saturating_sub(before), shard.info().weight_bytes);
    assert!(own < packed / 10, "{own} bytes of private memory to make a pack of {packed} bytes");
    assert!(calls > bytes >> 22, "{calls} reports for {bytes} bytes");
}

#[test]
fn processes_share_the_pages_of_exact_and_of_packed_weights() {
    let (folder, packed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    model(folder.path());
    let paths = [folder.path(), packed.path()].map(|path| path.to_str().unwrap());
    for precision in [Precision::Exact, Precision::Int4] {
        // The first load of a quantised shard packs it.
        let spec = ShardSpec::whole(paths[0]);
        let pack_cache = PackCache::Folder(packed.path().to_owned());
        let first = Engine::new(EngineOptions { precision, pack_cache, ..EngineOptions::default() }).unwrap();
        drop(first.ensure_shard(&spec, None).unwrap());
        drop(first);
        let _held = loaded(folder.path(), packed.path(), precision);
        let name = if precision == Precision::Exact { "exact" } else { "int4" };
        child(module_path!(), "child_shares", &[("MODEL", paths[0]), ("PACKED", paths[1]), ("PRECISION", name)]);
    }
}

#[test]
#[ignore = "a child's part"]
fn child_shares() {
    let [model, packed] = ["MODEL", "PACKED"].map(|name| std::env::var(name).unwrap());
    let exact = std::env::var("PRECISION").unwrap() == "exact";
    let precision = if exact { Precision::Exact } else { Precision::Int4 };
    let (_shard, bytes) = loaded(Path::new(&model), Path::new(&packed), precision);
    let weights = mapped(Path::new(if exact { &model } else { &packed }));
    // Of the embedding a run reads the rows of its tokens.
    assert!(weights.resident > bytes / 2, "{weights:?} of {bytes}");
    assert!(weights.private < bytes / 50, "{weights:?} of {bytes}");
}
