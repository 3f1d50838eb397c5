//! In half precision, as CUDA computes, stock operators give transformers' answers to that precision's own accuracy.
//! The processor stands in for CUDA: its provider converts to float32 where it has no kernel.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use ndarray::{Array2, ArrayView2};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::engine::{
    Engine, EngineOptions, Input, Logits, PackCache, Precision, Request, RequestOptions, Shard, ShardSpec,
};
use crate::error::ErrorKind;
use crate::runtime::Runtime;

/// Models in bfloat16, of heads that ONNX Runtime rotates: plain, tied with padded blocks, and with norms of heads.
const MODELS: [&str; 3] = ["llama_256", "llama31_tied", "qwen3_16"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(model)
}

/// `model` with its weights rounded to half precision.
fn halved(model: &str) -> tempfile::TempDir {
    let (from, to) = (folder(model), tempfile::tempdir().unwrap());
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let halve = |value: &[u8; 2]| f16::from_f32(bf16::from_le_bytes(*value).to_f32()).to_le_bytes();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, t.shape().to_vec(), t.data().as_chunks().0.iter().flat_map(halve).collect()))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name.as_str(), TensorView::new(Dtype::F16, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None, &to.path().join("model.safetensors")).unwrap();
    std::fs::copy(from.join("config.json"), to.path().join("config.json")).unwrap();
    to
}

/// An engine that runs as on CUDA but for the provider; none where ONNX Runtime is too old for that.
fn engine(precision: Precision) -> Option<Engine> {
    let options =
        EngineOptions { stock_operators: true, precision, pack_cache: PackCache::Off, ..EngineOptions::default() };
    let mut engine = Engine::new(options).unwrap();
    engine.target.own_dtype = true;
    tells_where_nodes_run().then_some(engine)
}

/// Whether ONNX Runtime is new enough, 1.24, to say where nodes run, which the stock operators need here. Where it is not, the
/// test is skipped.
pub(crate) fn tells_where_nodes_run() -> bool {
    let version = Runtime::get().unwrap().version();
    let tells = version.split('.').nth(1).unwrap().parse::<u32>().unwrap() >= 24;
    if !tells {
        crate::testing::skipped(&format!("ONNX Runtime {version} cannot tell where nodes run; 1.24 can"));
    }
    tells
}

fn request(shard: &Arc<Shard>) -> Request {
    Request::new(shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap()
}

/// What transformers gave for `model` in float32: the prompt, the ids that follow it, and the prompt's logits.
fn golden(model: &str) -> (Vec<i64>, Vec<i64>, Array2<f32>) {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder(model).join("golden.json")).unwrap()).unwrap();
    let ids = |key: &str| json[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    let bytes = std::fs::read(folder(model).join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let logits = tensors.tensor("logits").unwrap();
    let values = logits.data().as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let [.., rows, width] = *logits.shape() else { unreachable!() };
    (ids("prompt_ids"), ids("greedy_ids"), Array2::from_shape_vec((rows, width), values).unwrap())
}

/// The largest difference, relative to the largest value.
fn apart(ours: &ArrayView2<f32>, theirs: &ArrayView2<f32>) -> f32 {
    assert_eq!(ours.dim(), theirs.dim());
    let scale = theirs.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    ours.iter().zip(theirs).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

/// Values have 11 bits, so a hundredth of the scale is twenty roundings; 0.1 to 0.3 % were measured.
#[test]
fn half_precision_gives_transformers_answers_to_its_own_accuracy() {
    for model in MODELS {
        let Some(engine) = engine(Precision::Exact) else { return };
        let folder = halved(model);
        let path = folder.path().to_str().unwrap();
        let (prompt, greedy, expected) = golden(model);
        let spec = ShardSpec::whole(path);
        let estimate = engine.estimate(&spec, 64, 1).unwrap();
        let shard = engine.ensure_shard(&spec, None).unwrap();
        let mut whole = request(&shard);
        assert_eq!(engine.memory_used(), estimate.weight_bytes + estimate.kv_bytes);
        let logits = whole.infer(Input::Ids(&prompt), Logits::All).unwrap().values().to_owned();
        let off = apart(&logits.view(), &expected.view());
        println!("{model}: {off:.5} of the scale from transformers");
        assert!(off < 0.01, "{model}: {off}");

        // The KV cache takes half, and moves whole.
        let state = whole.export_state().unwrap();
        let config = shard.config();
        let values = shard.info().layer_count as usize * 2 * config.kv_heads * config.head_dim;
        assert_eq!(shard.info().kv_bytes_per_token, 2 * values as u64);
        let (mut fork, mut moved) = (whole.fork().unwrap(), request(&shard));
        moved.import_state(&state).unwrap();
        let follow = |request: &mut Request| -> Vec<i64> {
            let mut ids = greedy[..1].to_vec();
            while ids.len() < greedy.len() {
                let logits = request.infer(Input::Ids(&ids[ids.len() - 1..]), Logits::Last).unwrap().values();
                let best = (0..).zip(logits.iter()).max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
                ids.push(best.0);
            }
            ids
        };
        for request in [&mut whole, &mut fork, &mut moved] {
            assert_eq!(follow(request), greedy, "{model}");
        }

        // Hidden states leave as float32 and are half precision again in the next shard.
        let last = shard.info().last_layer;
        let first = engine.ensure_shard(&ShardSpec::layers(path, 0, last - 1), None).unwrap();
        let rest = engine.ensure_shard(&ShardSpec::layers(path, last, last), None).unwrap();
        let hidden = request(&first).infer(Input::Ids(&prompt), Logits::All).unwrap().values().to_owned();
        let mut rest = request(&rest);
        let logits = rest.infer(Input::Hidden(hidden.view()), Logits::All).unwrap().values();
        assert!(apart(&logits, &expected.view()) < 0.01, "{model}");
    }
}

/// Quantised weights with scales and activations in half precision, beside native operators, which round
/// activations to 8 bits: that and random weights move logits by 3 to 5 % of the scale.
#[test]
fn quantised_weights_meet_half_precision() {
    for (model, precision) in
        MODELS.into_iter().flat_map(|m| [(m, Precision::Int4), (m, Precision::Int4Fine), (m, Precision::Int8)])
    {
        let Some(half) = engine(precision) else { return };
        let native = Engine::new(EngineOptions { precision, pack_cache: PackCache::Off, ..EngineOptions::default() });
        let folder = halved(model);
        let (spec, (prompt, ..)) = (ShardSpec::whole(folder.path().to_str().unwrap()), golden(model));
        let logits = |engine: &Engine| {
            let shard = engine.ensure_shard(&spec, None).unwrap();
            request(&shard).infer(Input::Ids(&prompt), Logits::All).unwrap().values().to_owned()
        };
        let apart = apart(&logits(&half).view(), &logits(&native.unwrap()).view());
        println!("{model} in {precision:?}: {apart:.5} of the scale");
        assert!(apart < 0.1, "{model} in {precision:?}: {apart}");
    }
}

/// The graph is the same but for the type; what the processor's provider lacks is kernels.
#[test]
fn bfloat16_only_lacks_kernels_on_the_processor() {
    let Some(engine) = engine(Precision::Exact) else { return };
    for model in MODELS {
        let error = engine.ensure_shard(&ShardSpec::whole(folder(model).to_str().unwrap()), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Runtime, "{}", error.chain());
        assert!(error.chain().contains("Could not find an implementation for"), "{}", error.chain());
        assert_eq!(engine.memory_used(), 0);
    }
}
