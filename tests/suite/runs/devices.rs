//! A shard runs on the device that was asked for and says where its nodes run; a missing device is an error or is replaced,
//! as the options say; the stock operators give transformers' answers.
//!
//! No other device can be counted on where tests run, so these operators are tested on the processor, by the option
//! `stock_operators`: the same graph and the same sessions, without the provider.

use std::sync::Arc;

use crate::common::process::child;
use crate::common::{self, Model, Passed, Pipeline, assert_close, device};
use ndarray::s;
use ortshard::{
    Device, Engine, EngineOptions, ErrorKind, Input, Logits, PackCache, Precision, Request, RequestOptions, Runtime,
    Shard, ShardSpec, Site, Step, infer_batch,
};

fn stock() -> EngineOptions {
    EngineOptions { device: Device::Cpu, stock_operators: true, ..EngineOptions::default() }
}

fn load(model: &Model, start: u32, end: u32, options: EngineOptions) -> ortshard::Result<Arc<Shard>> {
    Engine::new(options)?.ensure_shard(&ShardSpec::layers(model.path.to_str().unwrap(), start, end), None)
}

fn pipeline(model: &Model, cuts: &[u32], options: RequestOptions) -> Pipeline {
    let mut start = 0;
    let ends = cuts.iter().copied().chain([model.layers - 1]);
    let request = |end| {
        let shard = load(model, start, end, stock()).unwrap();
        start = end + 1;
        Request::new(&shard, options).unwrap()
    };
    Pipeline { requests: ends.map(request).collect() }
}

/// The models that have a stock form, or none where it is too old to say where nodes run.
fn models() -> Vec<Model> {
    let mut models = Model::all();
    models.retain(|model| match load(model, 0, model.layers - 1, stock()) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{}: {}", model.name, error.chain());
            let text = error.chain();
            let too_old = !device::tells_where_nodes_run() && text.contains("cannot tell where nodes run");
            assert!(too_old || device::has_no_stock_form(&error), "{text}");
            false
        }
    });
    assert!(models.len() >= 3 || !device::tells_where_nodes_run());
    models
}

#[test]
fn an_estimate_refuses_what_has_no_stock_form() {
    if !device::tells_where_nodes_run() {
        return;
    }
    let mut refused = 0;
    for model in Model::all() {
        let spec = ShardSpec::layers(model.path.to_str().unwrap(), 0, model.layers - 1);
        let engine = Engine::new(stock()).unwrap();
        let (estimate, shard) = (engine.estimate(&spec, 8, 1), engine.ensure_shard(&spec, None));
        let [estimate, shard] = [estimate.err(), shard.err()].map(|error| error.map(|error| error.chain()));
        refused += usize::from(shard.is_some());
        assert_eq!(estimate, shard, "{}", model.name);
    }
    assert!(refused > 0);
}

#[test]
fn stock_operators_give_transformers_answers() {
    for model in models() {
        let mut whole = pipeline(&model, &[], RequestOptions::default());
        let logits = whole.run(&model.prompt, Logits::All);
        assert_close(&model.name, logits.view(), model.golden("logits").view());
        whole.requests[0].truncate(0).unwrap();
        assert_eq!(whole.greedy(&model.prompt, model.greedy.len()), model.greedy, "{}", model.name);
    }
}

#[test]
fn stock_operators_run_any_partition_and_any_chunks() {
    for model in models() {
        let golden = model.golden("logits");
        let singles = model.cuts();
        for prefill_chunk in [0, 1, 3] {
            let options = RequestOptions { prefill_chunk, ..RequestOptions::default() };
            let what = format!("{} in chunks of {prefill_chunk}", model.name);
            let mut shards = pipeline(&model, &singles, options);
            let hidden = Passed::from(&mut shards.requests[0], Input::Ids(&model.prompt), Logits::Last).values();
            assert_close(&what, hidden.view(), model.golden("hidden.0").view());
            shards.requests[0].truncate(0).unwrap();
            assert_close(&what, shards.run(&model.prompt, Logits::All).view(), golden.view());
        }
        let mut request = pipeline(&model, &[], RequestOptions { prefill_chunk: 4, ..RequestOptions::default() });
        let (cached, rest) = model.prompt.split_at(model.prompt.len() - 3);
        assert_eq!(request.run(cached, Logits::None).dim().0, 0);
        for (i, id) in rest.iter().enumerate() {
            let row = golden.slice(s![cached.len() + i..=cached.len() + i, ..]);
            assert_close(&format!("{} token {i}", model.name), request.run(&[*id], Logits::Last).view(), row);
        }
    }
}

#[test]
fn requests_on_stock_operators_fork_move_and_stop_like_others() {
    for model in models().into_iter().take(2) {
        let mut request = pipeline(&model, &[], RequestOptions::default());
        request.run(&model.prompt, Logits::None);
        let request = &mut request.requests[0];
        let next = |request: &mut Request| {
            request.infer(Input::Ids(&model.greedy[..1]), Logits::Last).map(|out| out.values().to_owned())
        };
        // State of one dialect continues in the other, on another device then.
        let state = request.export_state().unwrap();
        let mut native = model.whole_on(EngineOptions { device: Device::Cpu, ..EngineOptions::default() });
        native.requests[0].import_state(&state).unwrap();
        let mut fork = request.fork().unwrap();

        request.cancel_handle().cancel().unwrap();
        assert_eq!(next(request).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(request.position(), model.prompt.len());
        let logits = next(request).unwrap();
        common::assert_same(&model.name, next(&mut fork).unwrap().view(), logits.view());
        assert_close(&model.name, next(&mut native.requests[0]).unwrap().view(), logits.view());
    }
}

/// The cache is not the session's: it stays where it is while the shard's memory is lent to another that then fails.
#[test]
fn requests_on_stock_operators_outlast_their_session() {
    for model in models().into_iter().take(1) {
        let engine = Engine::new(EngineOptions { release_first: true, ..stock() }).unwrap();
        let spec = ShardSpec::whole(model.path.to_str().unwrap());
        let shard = engine.ensure_shard(&spec, None).unwrap();
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        request.infer(Input::Ids(&model.prompt), Logits::None).unwrap();
        let mut fork = request.fork().unwrap();
        let next = |request: &mut Request| {
            request.infer(Input::Ids(&model.greedy[..1]), Logits::Last).unwrap().values().to_owned()
        };
        let expected = next(&mut fork);

        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(model.path.join("config.json"), folder.path().join("config.json")).unwrap();
        engine.ensure_shard(&ShardSpec::whole(folder.path().to_str().unwrap()), None).unwrap_err();
        common::assert_same(&model.name, next(&mut request).view(), expected.view());

        engine.clear().unwrap();
        let error = request.infer(Input::Ids(&model.greedy[..1]), Logits::Last).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleShard);
        drop((request, fork));
        assert_eq!(engine.memory_used(), 0);
    }
}

#[test]
fn a_batch_on_stock_operators_gives_what_its_requests_give_alone() {
    for model in models().into_iter().take(2) {
        let shard = load(&model, 0, model.layers - 1, stock()).unwrap();
        let new = || Request::new(&shard, RequestOptions::default()).unwrap();
        let parts = [(5, Logits::All), (2, Logits::None), (7, Logits::Last), (1, Logits::Last)];
        let ids = |tokens: usize| Input::Ids(&model.prompt[..tokens]);
        let mut together: Vec<Request> = parts.iter().map(|_| new()).collect();
        let step = |(request, (tokens, logits))| Step { request, input: ids(tokens), logits };
        let mut steps: Vec<Step> = together.iter_mut().zip(parts).map(step).collect();
        assert!(infer_batch(&mut steps).into_iter().all(|outcome| outcome.is_ok()));
        for (request, (tokens, logits)) in together.iter().zip(parts) {
            let mut alone = new();
            let expected = alone.infer(ids(tokens), logits).unwrap().values();
            common::assert_same(&model.name, request.output().unwrap().values(), expected);
        }
    }
}

#[test]
fn a_memory_limit_counts_the_copies() {
    let cases =
        [("llama31_tied", Precision::Exact), ("llama31_tied", Precision::Int4Fine), ("llama_yarn", Precision::Exact)];
    let models = models();
    let named = |name| models.iter().find(|model| model.name == name);
    for (model, precision) in cases.into_iter().filter_map(|(name, precision)| named(name).zip(Some(precision))) {
        let spec = ShardSpec::whole(model.path.to_str().unwrap());
        let stock = || EngineOptions { precision, pack_cache: PackCache::Off, ..stock() };
        let engine = Engine::new(stock()).unwrap();
        let estimate = engine.estimate(&spec, 64, 1).unwrap();
        let stored = engine.ensure_shard(&spec, None).unwrap().info().weight_bytes;
        assert_eq!(engine.memory_used(), estimate.weight_bytes);
        let copies = estimate.weight_bytes - stored;
        let passing = estimate.load_peak_bytes - estimate.weight_bytes;
        // Weights stored as float32 are read where they lie, others from a converted copy.
        let read_in_place = model.name == "llama_yarn";
        assert!(copies > stored && (passing > copies / 2) != read_in_place, "{passing} of {copies}");

        let limited = |memory_limit| Engine::new(EngineOptions { memory_limit, ..stock() }).unwrap();
        let short = limited(estimate.load_peak_bytes - 1);
        let error = short.ensure_shard(&spec, None).unwrap_err();
        assert_eq!(error.out_of_memory().map(|oom| (oom.site, oom.requested)), Some((Site::Load, passing)));
        assert_eq!(short.memory_used(), 0);
        let enough = limited(estimate.load_peak_bytes + (2 << 20));
        let shard = enough.ensure_shard(&spec, None).unwrap();
        let mut request = Request::new(&shard, RequestOptions { capacity: 64, ..RequestOptions::default() }).unwrap();
        request.infer(Input::Ids(&model.prompt), Logits::Last).unwrap();
    }
}

#[test]
fn a_shard_says_where_its_nodes_run() {
    let model = Model::open("llama_256");
    let native = load(&model, 0, model.layers - 1, EngineOptions { device: Device::Cpu, ..EngineOptions::default() });
    let native = native.unwrap();
    let info = native.info();
    assert_eq!((info.device, info.requested_device), (Device::Cpu, Device::Cpu));
    assert!(info.nodes > model.layers && info.cpu_nodes == info.nodes);
    if models().iter().any(|m| m.name == model.name) {
        let stock = load(&model, 0, model.layers - 1, stock()).unwrap();
        let info = stock.info();
        assert_eq!((info.device, info.cpu_nodes), (Device::Cpu, info.nodes));
        assert!(info.nodes > native.info().nodes, "stock operators are smaller");
    }
}

/// The same codes and scales, and activations rounded alike: what is left are values in the middle between two codes.
#[test]
fn stock_operators_multiply_quantised_weights_as_native_ones_do() {
    for model in models() {
        for precision in [Precision::Int8, Precision::Int4, Precision::Int4Fine] {
            let run = |stock_operators| {
                let options = EngineOptions {
                    device: Device::Cpu,
                    precision,
                    pack_cache: PackCache::Off,
                    stock_operators,
                    ..EngineOptions::default()
                };
                let shard = load(&model, 0, model.layers - 1, options).unwrap();
                let mut whole = Pipeline { requests: vec![Request::new(&shard, RequestOptions::default()).unwrap()] };
                let (prompt, last) = model.prompt.split_at(model.prompt.len() - 1);
                whole.run(prompt, Logits::None);
                whole.run(last, Logits::Last)
            };
            let (ours, theirs) = (run(false), run(true));
            let scale = ours.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let worst = ours.iter().zip(&theirs).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            println!("{} in {precision:?}: {:.5} of the scale", model.name, worst / scale);
            assert!(worst <= 0.05 * scale, "{} in {precision:?}: {worst} off at a scale of {scale}", model.name);
        }
    }
}

#[test]
fn the_processor_is_listed_first_and_others_only_if_they_are_offered() {
    let devices = Device::list();
    let processor = &devices[0];
    assert_eq!(processor.device, Device::Cpu);
    assert!(!processor.name.is_empty() && processor.total_memory > 0);
    assert!(processor.available_memory <= processor.total_memory);
    let offered = Runtime::get().unwrap().providers();
    for other in &devices[1..] {
        let provider = match other.device {
            Device::Cuda(_) => "CUDAExecutionProvider",
            Device::CoreMl => "CoreMLExecutionProvider",
            device => panic!("{device} is listed twice"),
        };
        assert!(offered.iter().any(|name| name == provider), "{other:?}");
    }
}

#[test]
fn a_device_that_is_missing_is_an_error_or_replaced() {
    let listed: Vec<Device> = Device::list().iter().map(|info| info.device).collect();
    for device in [Device::CoreMl, Device::Cuda(0), Device::Cuda(7)].into_iter().filter(|d| !listed.contains(d)) {
        let options = EngineOptions { device, ..EngineOptions::default() };
        let error = Engine::new(EngineOptions { require_device: true, ..options.clone() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeviceUnavailable);
        let text = error.chain();
        assert!(text.contains(&device.to_string()) && text.contains("CPUExecutionProvider"), "{text}");

        let model = Model::open("llama_gqa");
        assert_eq!(Engine::new(options.clone()).unwrap().device(), Device::Cpu);
        let shard = load(&model, 0, model.layers - 1, options).unwrap();
        assert_eq!((shard.info().device, shard.info().requested_device), (Device::Cpu, device));
        assert_eq!(shard.info().cpu_nodes, shard.info().nodes);
    }
}

/// Loads shards with `ORTSHARD_DEVICE` set.
fn with_variable(value: &str, expected: &str) {
    child(module_path!(), "child_loads", &[("ORTSHARD_DEVICE", value), ("EXPECTED", expected)]);
}

#[test]
fn the_variable_decides_where_the_option_does_not() {
    with_variable("", "auto");
    with_variable("auto", "auto");
    with_variable("cpu", "cpu");
    with_variable("coreml", "coreml");
    with_variable("cuda:1", "cuda:1");
    with_variable("abacus", "ORTSHARD_DEVICE: device `abacus`");
}

#[test]
#[ignore = "a child's part"]
fn child_loads() {
    let expected = std::env::var("EXPECTED").unwrap();
    let model = Model::open("llama_gqa");
    let requested = |device| {
        let options = EngineOptions { device, ..EngineOptions::default() };
        load(&model, 0, 0, options).map(|shard| shard.info().requested_device.to_string())
    };
    assert_eq!(requested(Device::Cpu).unwrap(), "cpu");
    match requested(Device::Auto) {
        Ok(device) => assert_eq!(device, expected),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.chain().starts_with(&expected), "{}", error.chain());
        }
    }
}
