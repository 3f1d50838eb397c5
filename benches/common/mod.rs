//! What the benches share: the model they run and pipelines of its shards.
#![allow(dead_code, reason = "each bench uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot start stops")]

use std::path::PathBuf;

use ndarray::Array2;
use ortshard::{
    Engine, EngineOptions, Input, Logits, ModelInfo, PackCache, Precision, Request, RequestOptions, ShardSpec,
};

/// Tokens of the prompt that every bench starts from.
pub(crate) const PROMPT: usize = 256;

/// `ORTSHARD_BENCH_MODEL`, else the random model of Qwen2.5-0.5B's shape that `make bench` writes, else the stories.
pub(crate) fn model() -> PathBuf {
    if let Some(path) = std::env::var_os("ORTSHARD_BENCH_MODEL") {
        return path.into();
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let random = root.join("target/models/qwen2.5-0.5b");
    if random.join("config.json").exists() { random } else { root.join("models/stories") }
}

/// The prompt's ids: any that the vocabulary has.
pub(crate) fn prompt(info: &ModelInfo) -> Vec<i64> {
    (0..PROMPT as i64).map(|i| i * 7919 % i64::from(info.vocab_size)).collect()
}

/// The precisions that are measured.
pub(crate) const PRECISIONS: [(&str, Precision); 4] = [
    ("exact", Precision::Exact),
    ("int8", Precision::Int8),
    ("int4 fine", Precision::Int4Fine),
    ("int4", Precision::Int4),
];

/// Options for `precision`; packed shards are kept beside the model.
pub(crate) fn options(precision: Precision) -> EngineOptions {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/packed");
    EngineOptions { precision, pack_cache: PackCache::Folder(folder), ..EngineOptions::default() }
}

/// The model in `shards` even parts.
pub(crate) fn pipeline(shards: u32, precision: Precision) -> Vec<Request> {
    let path = model();
    let layers = ModelInfo::read(&path).unwrap().layer_count;
    let part = |i: u32| {
        let spec = ShardSpec::layers(path.to_str().unwrap(), i * layers / shards, (i + 1) * layers / shards - 1);
        let shard = Engine::new(options(precision)).unwrap().ensure_shard(&spec, None).unwrap();
        Request::new(&shard, RequestOptions { capacity: 512, ..RequestOptions::default() }).unwrap()
    };
    (0..shards).map(part).collect()
}

/// Runs `ids` through all shards.
pub(crate) fn run(requests: &mut [Request], ids: &[i64]) -> Array2<f32> {
    let (first, rest) = requests.split_first_mut().unwrap();
    let mut values = first.infer(Input::Ids(ids), Logits::Last).unwrap().values().to_owned();
    for request in rest {
        values = request.infer(Input::Hidden(values.view()), Logits::Last).unwrap().values().to_owned();
    }
    values
}

/// Back to the end of the prompt, so that every measured step has the same context.
pub(crate) fn rewind(requests: &mut [Request], position: usize) {
    for request in requests {
        request.truncate(position).unwrap();
    }
}
