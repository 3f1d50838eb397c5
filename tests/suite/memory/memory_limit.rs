//! The memory limit is kept at load, at the KV cache and in a run; what does not fit is an error, and everything is given
//! back.

use crate::common::{Model, assert_same_in_pieces, device};
use ortshard::{Engine, EngineOptions, ErrorKind, Input, Logits, Request, RequestOptions, ShardSpec, Site};

fn engine(memory_limit: u64) -> Engine {
    Engine::new(EngineOptions { memory_limit, ..device::options() }).unwrap()
}

fn spec(model: &Model) -> ShardSpec {
    ShardSpec::whole(model.path.to_str().unwrap())
}

#[test]
fn the_limit_is_kept_at_load_kv_and_run_and_the_engine_goes_on() {
    let model = Model::open("llama_256");
    let bytes = engine(0).ensure_shard(&spec(&model), None).unwrap().info().weight_bytes;
    let estimate = engine(0).estimate(&spec(&model), 64, 1).unwrap();

    let small = engine(bytes / 2);
    let error = small.ensure_shard(&spec(&model), None).unwrap_err();
    let oom = error.out_of_memory().unwrap();
    assert_eq!((oom.site, oom.requested), (Site::Load, bytes));
    assert!(oom.device == "cpu" || !device::in_this_process());
    assert_eq!((small.stats().out_of_memory_load, small.memory_used()), (1, 0));

    let limit = estimate.load_peak_bytes + estimate.run_bytes + 2 * bytes;
    let engine = engine(limit);
    let shard = engine.ensure_shard(&spec(&model), None).unwrap();
    let used = engine.memory_used();
    let capacity = shard.info().max_positions;
    let mut requests = Vec::new();
    let error = loop {
        match Request::new(&shard, RequestOptions { capacity, ..RequestOptions::default() }) {
            Ok(request) => requests.push(request),
            Err(error) => break error,
        }
        assert!(engine.memory_used() <= limit);
    };
    assert_eq!(error.out_of_memory().unwrap().site, Site::Kv);
    assert_eq!(engine.stats().out_of_memory_kv, 1);
    drop(requests);
    assert_eq!(engine.memory_used(), used);

    let mut request = Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
    let limited = request.infer(Input::Ids(&model.prompt), Logits::All).unwrap().values().to_owned();
    assert_same_in_pieces("under a limit", limited.view(), model.whole().run(&model.prompt, Logits::All).view());
    assert_eq!(engine.stats().out_of_memory_run, 0);
}

#[test]
fn other_failures_are_not_counted_as_out_of_memory() {
    let model = Model::open("mistral_window");
    let engine = engine(0);
    let shard = engine.ensure_shard(&spec(&model), None).unwrap();
    let mut request = Request::new(&shard, RequestOptions { capacity: 4, ..RequestOptions::default() }).unwrap();
    assert_eq!(request.infer(Input::Ids(&[-1]), Logits::Last).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(request.infer(Input::Ids(&[1; 5]), Logits::Last).unwrap_err().kind(), ErrorKind::ContextFull);
    assert!(engine.ensure_shard(&ShardSpec::whole("/nonexistent"), None).is_err());
    let stats = engine.stats();
    assert_eq!((stats.out_of_memory_load, stats.out_of_memory_kv, stats.out_of_memory_run), (0, 0, 0));
}

#[test]
fn a_kv_cache_larger_than_the_address_space_is_refused() {
    let model = Model::open("qwen3_16");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model.path.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(model.path.join("config.json")).unwrap();
    let config = config.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 2147483648");
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let shard = engine(1 << 40).ensure_shard(&ShardSpec::whole(folder.path().to_str().unwrap()), None).unwrap();
    let options = RequestOptions { capacity: 1 << 31, ..RequestOptions::default() };
    let error = Request::new(&shard, options).unwrap_err();
    assert_eq!(error.out_of_memory().unwrap().site, Site::Kv, "{}", error.chain());
}

#[test]
fn the_estimate_is_what_is_reserved() {
    let model = Model::open("llama_256");
    let engine = engine(1 << 30);
    let estimate = engine.estimate(&spec(&model), 100, 2).unwrap();
    assert_eq!(engine.memory_used(), 0, "estimating takes nothing");
    let shard = engine.ensure_shard(&spec(&model), None).unwrap();
    assert!(!device::native_operators() || estimate.weight_bytes == shard.info().weight_bytes, "no copies");
    let loaded = engine.memory_used();
    let request = || Request::new(&shard, RequestOptions { capacity: 100, ..RequestOptions::default() }).unwrap();
    let _two = (request(), request());
    assert_eq!(engine.memory_used() - loaded, estimate.kv_bytes);
    assert_eq!(estimate.total_bytes, estimate.weight_bytes + estimate.kv_bytes + estimate.run_bytes);
    assert_eq!(estimate.largest_last_layer, Some(model.layers - 1));

    let tight = self::engine(estimate.weight_bytes + estimate.kv_bytes);
    let estimate = tight.estimate(&spec(&model), 100, 2).unwrap();
    assert!(estimate.largest_last_layer < Some(model.layers - 1));
    assert_eq!(self::engine(1000).estimate(&spec(&model), 100, 2).unwrap().largest_last_layer, None);
}

/// A run is cut into smaller pieces where memory is short, so that a larger limit never has room for less.
#[test]
fn a_shard_that_loads_loads_with_more_memory_too() {
    for model in Model::those_that_run(&["qwen3_moe_mixed", "qwen3_16"]) {
        let spec = ShardSpec::whole(model.path.to_str().unwrap());
        let mut fitted = false;
        for limit in (50_000..2_000_000).step_by(25_000) {
            let fits = engine(limit).ensure_shard(&spec, None).is_ok();
            assert!(fits || !fitted, "{}: not with {limit} bytes, and with less", model.name);
            fitted |= fits;
        }
        assert!(fitted, "{}", model.name);
    }
}
