//! The estimate is within a tenth of what is then measured, and the largest range that it names is the largest that loads and
//! runs.
#![cfg(target_os = "linux")]

use std::ops::ControlFlow;
use std::path::Path;

use crate::common::Model;
use crate::common::process::{child, mapped, memory, reset_peak};
use crate::common::synthetic::{self, Content, Shape, Tensor};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Estimate, Input, KvType, Logits, Progress, Request, RequestOptions, ShardSpec,
};

const CONTEXT: u32 = 1024;
/// Megabytes of weights, of KV cache and of activations, so that the process's own kilobytes do not count.
const SHAPE: Shape =
    Shape { layers: 4, hidden: 256, inner: 4096, heads: 4, kv_heads: 4, vocabulary: 4096, positions: 1024 };

fn engine(memory_limit: u64, release_first: bool) -> Engine {
    Engine::new(EngineOptions { memory_limit, release_first, ..EngineOptions::default() }).unwrap()
}

fn assert_within_a_tenth(what: &str, measured: u64, estimated: u64) {
    println!("{what}: measured {measured}, estimated {estimated}");
    assert!(measured.abs_diff(estimated) <= measured / 10, "{what}: measured {measured}, estimated {estimated}");
}

#[test]
fn every_part_of_the_estimate_is_within_a_tenth_of_what_is_measured() {
    // What is freed goes back to the system at once, so that what is resident is in use.
    child(module_path!(), "child_measures", &[("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]);
}

#[test]
#[ignore = "a child's part"]
fn child_measures() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [first, second] = [&one, &two].map(|folder| SHAPE.write(folder.path()));
    // What a process has once: ONNX Runtime, its threads, the kernels' scratch memory.
    Model::open("llama_256").whole().run(&[1; 200], Logits::Last);

    let engine = engine(0, false);
    let estimate = engine.estimate(&first, CONTEXT, 1).unwrap();
    let load = |spec: &ShardSpec, folder: &Path| {
        let (mut peak, before) = (0, mapped(one.path()).size);
        let mut watch = |_: &Progress| {
            peak = peak.max(mapped(folder).size + if folder == one.path() { 0 } else { before });
            ControlFlow::Continue(())
        };
        let shard = engine.ensure_shard(spec, Some(&mut watch)).unwrap();
        (shard, peak)
    };
    let (shard, peak) = load(&first, one.path());
    assert_within_a_tenth("weights, mapped", mapped(one.path()).size, estimate.weight_bytes);
    assert_within_a_tenth("load peak, the engine empty", peak, estimate.load_peak_bytes);

    // A first token touches every weight.
    let new = || Request::new(&shard, RequestOptions { capacity: CONTEXT, ..RequestOptions::default() }).unwrap();
    let _ = new().infer(Input::Ids(&[1]), Logits::Last).unwrap();
    assert_within_a_tenth("weights, resident", mapped(one.path()).resident, estimate.weight_bytes);

    let prompt: Vec<i64> = (0..i64::from(CONTEXT)).collect();
    let (empty, private) = (reset_peak(), memory("RssAnon"));
    let mut request = new();
    let _ = request.infer(Input::Ids(&prompt), Logits::Last).unwrap();
    assert_within_a_tenth("KV and run at the peak", memory("VmHWM") - empty, estimate.kv_bytes + estimate.run_bytes);
    assert_within_a_tenth("KV, full", memory("RssAnon") - private, estimate.kv_bytes);
    request.truncate(0).unwrap();
    let full = reset_peak();
    let _ = request.infer(Input::Ids(&prompt), Logits::Last).unwrap();
    assert_within_a_tenth("run", memory("VmHWM") - full, estimate.run_bytes);
    drop(request);

    let estimate = engine.estimate(&second, CONTEXT, 1).unwrap();
    let (_, peak) = load(&second, two.path());
    assert_within_a_tenth("load peak, beside another shard", peak, estimate.load_peak_bytes);
}

#[test]
fn a_long_context_takes_what_its_type_of_cache_is_estimated_at() {
    child(module_path!(), "child_fills_caches", &[("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]);
}

#[test]
#[ignore = "a child's part"]
fn child_fills_caches() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { heads: 4, kv_heads: 4, inner: 256, positions: 8192, ..SHAPE };
    let spec = shape.write(folder.path());
    let prompt: Vec<i64> = (0..8192).map(|i| i % 4096).collect();
    let mut resident = Vec::new();
    for kv_type in [KvType::F32, KvType::F16, KvType::Int8] {
        let engine = Engine::new(EngineOptions { kv_type, ..EngineOptions::default() }).unwrap();
        let estimate = engine.estimate(&spec, 8192, 1).unwrap();
        let shard = engine.ensure_shard(&spec, None).unwrap();
        // What a process has once, and what the threads keep.
        let new = || Request::new(&shard, RequestOptions { capacity: 8192, ..RequestOptions::default() }).unwrap();
        let _ = new().infer(Input::Ids(&prompt[..1024]), Logits::Last).unwrap();
        let private = memory("RssAnon");
        let mut request = new();
        let _ = request.infer(Input::Ids(&prompt), Logits::Last).unwrap();
        resident.push(memory("RssAnon") - private);
        assert_within_a_tenth(&format!("KV in {kv_type:?}, full"), resident[resident.len() - 1], estimate.kv_bytes);
    }
    // A head has 64 values: 256 bytes, 128, and 64 with a scale of 4.
    let ratio = |i: usize| resident[i] as f64 / resident[0] as f64;
    println!("{:.3} and {:.3} of float32's", ratio(1), ratio(2));
    assert!((ratio(1) - 0.5).abs() < 0.03 && (ratio(2) - 68.0 / 256.0).abs() < 0.03);
}

/// A table of per-layer embeddings counts as weights, as all that is mapped does; a text reads a few of its rows and no more. Layers that
/// read the keys and values of others keep none.
#[test]
fn a_model_with_per_layer_embeddings_takes_what_is_estimated() {
    child(module_path!(), "child_reads_a_few_rows", &[("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]);
}

#[test]
#[ignore = "a child's part"]
fn child_reads_a_few_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, table) = with_per_layer_embeddings(folder.path());
    Model::open("llama_256").whole().run(&[1; 200], Logits::Last);
    let engine = engine(0, false);
    let estimate = engine.estimate(&spec, CONTEXT, 1).unwrap();
    let shard = engine.ensure_shard(&spec, None).unwrap();
    assert_within_a_tenth("weights, mapped", mapped(folder.path()).size, estimate.weight_bytes);
    // A few tokens, over and over: no new row is read.
    let prompt: Vec<i64> = (0..i64::from(CONTEXT)).map(|i| i % 8).collect();
    let new = || Request::new(&shard, RequestOptions { capacity: CONTEXT, ..RequestOptions::default() }).unwrap();
    let _ = new().infer(Input::Ids(&prompt[..8]), Logits::Last).unwrap();
    let resident = mapped(folder.path()).resident;
    println!("{resident} of {} bytes are read, the table has {table}", estimate.weight_bytes);
    assert!(resident < estimate.weight_bytes - table * 9 / 10);
    let (empty, private) = (reset_peak(), memory("RssAnon"));
    let mut request = new();
    let _ = request.infer(Input::Ids(&prompt), Logits::Last).unwrap();
    assert_within_a_tenth("KV and run at the peak", memory("VmHWM") - empty, estimate.kv_bytes + estimate.run_bytes);
    assert_within_a_tenth("KV, full", memory("RssAnon") - private, estimate.kv_bytes);
}

/// A model of four layers, of which two read the keys and values of the others; and the bytes of its table.
fn with_per_layer_embeddings(folder: &Path) -> (ShardSpec, u64) {
    let Shape { layers, hidden, inner, heads, kv_heads, vocabulary, positions } = SHAPE;
    let (head, width) = (64, 512);
    let config = format!(
        r#"{{"model_type": "gemma4_text", "hidden_size": {hidden}, "intermediate_size": {inner}, "num_hidden_layers": {layers},
        "num_attention_heads": {heads}, "num_key_value_heads": {kv_heads}, "head_dim": {head}, "global_head_dim": {head},
        "vocab_size": {vocabulary}, "max_position_embeddings": {positions}, "sliding_window": 128, "num_kv_shared_layers": 2,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "hidden_size_per_layer_input": {width}, "vocab_size_per_layer_input": {vocabulary}}}"#
    );
    std::fs::write(folder.join("config.json"), config).unwrap();
    let vector = |name: String, width: usize| -> Tensor { (name, vec![width]) };
    let matrix = |name: String, out: usize, input: usize| -> Tensor { (name, vec![out, input]) };
    let mut tensors = vec![
        matrix("model.embed_tokens.weight".into(), vocabulary, hidden),
        matrix("model.embed_tokens_per_layer.weight".into(), vocabulary, layers * width),
        matrix("model.per_layer_model_projection.weight".into(), layers * width, hidden),
        vector("model.per_layer_projection_norm.weight".into(), width),
        vector("model.norm.weight".into(), hidden),
    ];
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm"] {
            tensors.push(vector(name(part), hidden));
        }
        for part in ["post_feedforward_layernorm", "post_per_layer_input_norm"] {
            tensors.push(vector(name(part), hidden));
        }
        tensors.push(vector(format!("model.layers.{layer}.layer_scalar"), 1));
        for part in ["self_attn.q_norm", "self_attn.k_norm"] {
            tensors.push(vector(name(part), head));
        }
        for (part, out, input) in [
            ("self_attn.q_proj", heads * head, hidden),
            ("self_attn.k_proj", kv_heads * head, hidden),
            ("self_attn.v_proj", kv_heads * head, hidden),
            ("self_attn.o_proj", hidden, heads * head),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
            ("per_layer_input_gate", width, hidden),
            ("per_layer_projection", hidden, width),
        ] {
            tensors.push(matrix(name(part), out, input));
        }
    }
    synthetic::write(&folder.join("model.safetensors"), &tensors, Content::Random);
    (ShardSpec::whole(folder.to_str().unwrap()), 2 * (vocabulary * layers * width) as u64)
}

/// Loads layers `0..=end`, makes the requests and fills one of them.
fn use_range(engine: &Engine, spec: &ShardSpec, end: u32) -> Result<(), ErrorKind> {
    let spec = ShardSpec { last_layer: end, ..spec.clone() };
    let total = engine.estimate(&spec, CONTEXT, 2).unwrap().total_bytes;
    let run = || {
        let shard = engine.ensure_shard(&spec, None)?;
        let options = RequestOptions { capacity: CONTEXT, ..RequestOptions::default() };
        let (mut first, _second) = (Request::new(&shard, options)?, Request::new(&shard, options)?);
        let _ = first.infer(Input::Ids(&[7; CONTEXT as usize]), Logits::Last)?;
        assert_eq!(engine.memory_used(), total, "what is reserved is what was predicted");
        Ok(())
    };
    run().map_err(|error: ortshard::Error| error.kind())
}

#[test]
fn the_largest_range_that_fits_is_the_last_one_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { layers: 6, hidden: 64, inner: 96, heads: 4, kv_heads: 2, vocabulary: 512, positions: 1024 };
    let spec = shape.write(folder.path());
    let estimate = |limit, end| -> Estimate {
        let spec = ShardSpec { last_layer: end, ..spec.clone() };
        engine(limit, false).estimate(&spec, CONTEXT, 2).unwrap()
    };
    let smallest = estimate(0, 0).total_bytes;
    let largest = estimate(0, 5).total_bytes;
    let mut seen = std::collections::BTreeSet::new();
    for step in 0..24 {
        let limit = smallest * 2 / 3 + (largest * 5 / 4 - smallest * 2 / 3) * step / 23;
        let end = estimate(limit, 0).largest_last_layer;
        seen.insert(end);
        if let Some(end) = end {
            assert_eq!(use_range(&engine(limit, false), &spec, end), Ok(()), "limit {limit}, layers 0..={end}");
        }
        let more = end.map_or(0, |end| end + 1);
        if more < 6 {
            let result = use_range(&engine(limit, false), &spec, more);
            assert_eq!(result, Err(ErrorKind::OutOfMemory), "limit {limit}, layers 0..={more}");
        }
    }
    assert!(seen.len() >= 6, "{seen:?}");
}
