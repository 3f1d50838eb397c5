//! The device that tests run on, which `ORTSHARD_TEST_DEVICE` names: `cpu`, as without it; `cuda`, `cuda:N` or
//! `coreml`; or `cpu-stock`, the processor with stock operators, which is as near to a GPU as a machine without one
//! gets.

use std::path::Path;

use half::{bf16, f16};
use ortshard::{Device, Engine, EngineOptions, Error, ErrorKind, Runtime, ShardSpec};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};

use super::Model;

/// The variable's value.
pub(crate) fn name() -> String {
    std::env::var("ORTSHARD_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

/// Which device that is.
pub(crate) fn device() -> Device {
    let name = name();
    if name == "cpu-stock" { Device::Cpu } else { name.parse().unwrap() }
}

/// Options of an engine on it. That anything else runs a shard is an error.
pub(crate) fn options() -> EngineOptions {
    let stock_operators = name() == "cpu-stock";
    EngineOptions { device: device(), require_device: true, stock_operators, ..EngineOptions::default() }
}

/// Whether shards run in native operators, which promise the same bits however tokens are cut into calls.
pub(crate) fn native_operators() -> bool {
    name() == "cpu"
}

/// Whether caches and weights lie in the process's own memory.
pub(crate) fn in_this_process() -> bool {
    !matches!(device(), Device::Cuda(_))
}

/// Whether it computes in the checkpoint's own type instead of float32.
pub(crate) fn own_dtype() -> bool {
    matches!(device(), Device::Cuda(_))
}

/// Largest difference allowed to transformers in float32, relative to the largest logit.
///
/// Where we compute in float32 too, only the order of sums differs. CUDA computes in the models' own type, which is made
/// float16 for tests: 11 bits, and a hundredth is twenty roundings. The best ids of the reference lead by more than that
/// (`MIN_MARGIN` in `tools/goldens/make_goldens.py`).
pub(crate) fn tolerance() -> f32 {
    if own_dtype() { tolerance_in("float16") } else { tolerance_in("float32") }
}

/// As [`tolerance`], for a device that computes in `dtype` (config.json's name).
pub(crate) fn tolerance_in(dtype: &str) -> f32 {
    match dtype {
        "float32" => 1e-4,
        "float16" => 1e-2,
        "bfloat16" => 8e-2,
        other => panic!("{other}"),
    }
}

/// Whether ONNX Runtime is new enough, 1.24, to say where nodes run, which all but native operators need. Where it
/// is not, that part of the test is skipped.
pub(crate) fn tells_where_nodes_run() -> bool {
    let version = Runtime::get().unwrap().version();
    let tells = version.split('.').nth(1).unwrap().parse::<u32>().unwrap() >= 24;
    if !tells {
        super::skipped(&format!("stock operators; ONNX Runtime {version} cannot tell where nodes run, 1.24 can"));
    }
    tells
}

/// Whether stock operators cannot compute a model, as its operations say.
pub(crate) fn has_no_stock_form(error: &Error) -> bool {
    let known = ["rotates heads in multiples of 16 only", "is not written in stock operators"];
    error.kind() == ErrorKind::Unsupported && known.iter().any(|reason| error.chain().contains(reason))
}

/// Whether the device can run a model, all of its layers. What has no stock form it cannot; anything else that it cannot
/// run fails.
pub(crate) fn runs(model: &Model) -> bool {
    if native_operators() {
        return true;
    }
    let engine = Engine::new(options()).unwrap();
    let whole = ShardSpec::layers(model.path.to_str().unwrap(), 0, model.layers - 1);
    match engine.ensure_shard(&whole, None) {
        Ok(_) => true,
        Err(error) => {
            assert!(has_no_stock_form(&error), "{} on {}: {}", model.name, name(), error.chain());
            false
        }
    }
}

/// Writes `model` into `folder` with its weights in float16, which keeps bfloat16 weights as they are unless they are very
/// small: results then differ from transformers' by the roundings of eleven bits, not of eight.
pub(crate) fn halve(model: &Path, folder: &Path) {
    let bytes = std::fs::read(model.join("model.safetensors")).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape().to_vec(), halves(&tensor)))
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name.as_str(), TensorView::new(Dtype::F16, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
    for file in ["config.json", "golden.json", "golden.safetensors"] {
        std::fs::copy(model.join(file), folder.join(file)).unwrap();
    }
}

fn halves(tensor: &TensorView) -> Vec<u8> {
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F16 => data.to_vec(),
        Dtype::BF16 => data.as_chunks().0.iter().flat_map(|v| half(bf16::from_le_bytes(*v).to_f32())).collect(),
        Dtype::F32 => data.as_chunks().0.iter().flat_map(|v| half(f32::from_le_bytes(*v))).collect(),
        other => panic!("a weight in {other:?}"),
    }
}

fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}
