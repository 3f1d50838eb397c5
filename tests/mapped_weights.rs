//! Weights are mapped, not read: a shard's own memory is a small part of its checkpoint, and other shards' files need
//! not even exist.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use ortshard::{Engine, EngineOptions, Input, Logits, Request, RequestOptions, ShardSpec};

const HIDDEN: usize = 1024;
const INNER: usize = 4096;
const VOCABULARY: usize = 32_000;
const LAYERS: usize = 8;

/// Bytes of private memory this process holds.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Writes a safetensors file of zeros as a sparse file; returns its tensors' bytes.
fn sparse(path: &Path, tensors: &[(String, Vec<usize>)]) -> u64 {
    let mut end = 0;
    let mut entries = Vec::new();
    for (name, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<usize>() * 2;
        entries.push(format!(r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    end as u64
}

/// A model folder with one file per layer and one for the rest.
fn model(folder: &Path) -> u64 {
    let config = format!(
        r#"{{"architectures":["LlamaForCausalLM"],"hidden_size":{HIDDEN},"intermediate_size":{INNER},
        "num_hidden_layers":{LAYERS},"num_attention_heads":16,"num_key_value_heads":4,"vocab_size":{VOCABULARY}}}"#
    );
    std::fs::write(folder.join("config.json"), config).unwrap();
    let mut index = Vec::new();
    let mut bytes = 0;
    let mut file = |name: &str, tensors: Vec<(String, Vec<usize>)>| {
        index.extend(tensors.iter().map(|(tensor, _)| format!(r#""{tensor}":"{name}""#)));
        bytes += sparse(&folder.join(name), &tensors);
    };
    let kv = HIDDEN / 4;
    for layer in 0..LAYERS {
        let tensor = |part: &str, shape: &[usize]| (format!("model.layers.{layer}.{part}.weight"), shape.to_vec());
        let tensors = vec![
            tensor("input_layernorm", &[HIDDEN]),
            tensor("self_attn.q_proj", &[HIDDEN, HIDDEN]),
            tensor("self_attn.k_proj", &[kv, HIDDEN]),
            tensor("self_attn.v_proj", &[kv, HIDDEN]),
            tensor("self_attn.o_proj", &[HIDDEN, HIDDEN]),
            tensor("post_attention_layernorm", &[HIDDEN]),
            tensor("mlp.gate_proj", &[INNER, HIDDEN]),
            tensor("mlp.up_proj", &[INNER, HIDDEN]),
            tensor("mlp.down_proj", &[HIDDEN, INNER]),
        ];
        file(&format!("layer-{layer}.safetensors"), tensors);
    }
    let rest = [("model.embed_tokens.weight", vec![VOCABULARY, HIDDEN]), ("model.norm.weight", vec![HIDDEN])]
        .into_iter()
        .chain([("lm_head.weight", vec![VOCABULARY, HIDDEN])])
        .map(|(name, shape)| (name.to_owned(), shape))
        .collect();
    file("rest.safetensors", rest);
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

    let before = anonymous();
    let whole = engine.ensure_shard(&ShardSpec::whole(path), None).unwrap();
    assert_eq!(whole.info().weight_bytes, bytes);
    let loaded = anonymous().saturating_sub(before);
    assert!(loaded < bytes / 20, "{loaded} bytes of private memory for {bytes} bytes of weights");

    let options = RequestOptions { capacity: 64, ..RequestOptions::default() };
    let mut request = Request::new(&whole, options).unwrap();
    let _ = request.infer(Input::Ids(&[1, 2, 3]), Logits::Last).unwrap();
    let run = anonymous().saturating_sub(before);
    assert!(run < bytes / 20, "{run} bytes of private memory after a run");

    // A middle shard needs the files of its layers and nothing else.
    for name in ["rest.safetensors", "layer-0.safetensors", "layer-4.safetensors"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let middle = engine.ensure_shard(&ShardSpec::layers(path, 1, 3), None).unwrap();
    assert_eq!(middle.info().weight_bytes, 3 * (bytes - 2 * (2 * VOCABULARY * HIDDEN) as u64 - 2 * HIDDEN as u64) / 8);
    assert!(engine.ensure_shard(&ShardSpec::layers(path, 1, 4), None).is_err());
}
