//! A request without cache gives the same bits and ids, and holds no KV memory between calls.

use std::sync::Arc;

use crate::common::{self, Model, assert_same_in_pieces, device, hidden};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, Logits, Request, RequestOptions, Shard, ShardSpec, Site, Step, infer_batch,
};

const OFF: RequestOptions = RequestOptions {
    capacity: 0,
    prefill_chunk: 0,
    no_cache: true,
    long_context: false,
    snapshot_interval: 0,
    snapshot_bytes: 0,
};

/// Holds the test models many times.
const LIMIT: u64 = 32 << 20;

fn load(model: &Model, memory_limit: u64) -> (Engine, Arc<Shard>) {
    let engine = Engine::new(EngineOptions { memory_limit, ..device::options() }).unwrap();
    let shard = engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
    (engine, shard)
}

fn last(request: &mut Request, ids: &[i64]) -> ndarray::Array2<f32> {
    request.infer(Input::Ids(ids), Logits::Last).unwrap().values().to_owned()
}

#[test]
fn greedy_ids_are_the_same_in_one_shard_and_in_two() {
    for model in Model::those_that_run(&["llama_gqa", "mistral_window", "qwen3_alternating"]) {
        let name = &model.name;
        let count = model.greedy.len();
        for cuts in [&[][..], &[0]] {
            let mut pipeline = model.pipeline_with(cuts, OFF);
            assert_eq!(pipeline.greedy(&model.prompt, count), model.greedy, "{name} cut after {cuts:?}");
            let tokens = model.prompt.len() + count;
            assert!(pipeline.requests.iter().all(|request| request.position() == tokens));
        }
    }
}

#[test]
fn logits_and_hidden_states_have_the_same_bits_however_they_are_cut() {
    let model = Model::open("qwen2_window");
    let n = model.prompt.len();
    let front = model.shard(0, 0);
    let mut with = Request::new(&front, RequestOptions::default()).unwrap();
    let mut without = Request::new(&front, RequestOptions { prefill_chunk: 3, ..OFF }).unwrap();
    let all = hidden(with.infer(Input::Ids(&model.prompt), Logits::All).unwrap());
    let _ = without.infer(Input::Ids(&model.prompt[..n - 2]), Logits::None).unwrap();
    let two = hidden(without.infer(Input::Ids(&model.prompt[n - 2..]), Logits::None).unwrap());
    assert_same_in_pieces("hidden states", two.view(), all.slice(ndarray::s![n - 2.., ..]));

    let back = model.shard(1, model.layers - 1);
    let mut with = Request::new(&back, RequestOptions::default()).unwrap();
    let mut without = Request::new(&back, RequestOptions { prefill_chunk: 5, ..OFF }).unwrap();
    let wanted = with.infer(Input::Hidden(all.view()), Logits::All).unwrap().values().to_owned();
    for token in 0..n {
        let row = all.slice(ndarray::s![token..=token, ..]);
        let logits = without.infer(Input::Hidden(row), Logits::All).unwrap().values();
        assert_same_in_pieces("logits", logits, wanted.slice(ndarray::s![token..=token, ..]));
    }
}

#[test]
fn truncate_and_fork_work_alike() {
    let model = Model::open("mistral_window");
    for cuts in [&[][..], &[1]] {
        let mut with = model.pipeline(cuts);
        let mut without = model.pipeline_with(cuts, OFF);
        for pipeline in [&mut with, &mut without] {
            let _ = pipeline.run(&model.prompt, Logits::None);
            let _ = pipeline.run(&[1, 2, 3], Logits::None);
            pipeline.requests.iter_mut().for_each(|request| request.truncate(model.prompt.len() - 1).unwrap());
        }
        let mut fork = common::Pipeline { requests: without.requests.iter().map(|r| r.fork().unwrap()).collect() };
        let wanted = with.run(&[7, 8], Logits::All);
        assert_same_in_pieces("truncated", without.run(&[7, 8], Logits::All).view(), wanted.view());
        let _ = without.run(&[9], Logits::None);
        assert_same_in_pieces("forked", fork.run(&[7, 8], Logits::All).view(), wanted.view());
        assert_eq!(fork.requests[0].position() + 1, without.requests[0].position());
        let error = fork.requests[0].truncate(1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
}

#[test]
fn a_batch_may_mix_requests_with_and_without() {
    let model = Model::open("mistral_window");
    let shard = model.shard(0, model.layers - 1);
    let alone = |ids: &[i64]| last(&mut Request::new(&shard, RequestOptions::default()).unwrap(), ids);
    let mut requests: Vec<Request> =
        [OFF, RequestOptions::default(), OFF].map(|options| Request::new(&shard, options).unwrap()).into();
    let prompts = [&model.prompt[..], &[1, 2, 3], &[4]];
    for round in 0..3 {
        let inputs: Vec<Vec<i64>> = prompts.iter().map(|p| if round == 0 { p.to_vec() } else { vec![round] }).collect();
        let steps = requests.iter_mut().zip(&inputs);
        let mut steps: Vec<Step> =
            steps.map(|(request, ids)| Step { request, input: Input::Ids(ids), logits: Logits::Last }).collect();
        assert!(infer_batch(&mut steps).into_iter().all(|outcome| outcome.is_ok()));
        for (request, prompt) in requests.iter().zip(prompts) {
            let all: Vec<i64> = prompt.iter().copied().chain(1..=round).collect();
            assert_eq!(request.position(), all.len());
            assert_same_in_pieces("in a batch", request.output().unwrap().values(), alone(&all).view());
        }
    }
}

/// Takes the engine's memory but for `leave` tokens of KV cache.
fn fill(engine: &Engine, shard: &Arc<Shard>, leave: u64) -> Vec<Request> {
    let row = shard.info().kv_bytes_per_token;
    let mut taken = Vec::new();
    loop {
        let free = (LIMIT - engine.memory_used()) / row - leave;
        let capacity = free.min(u64::from(shard.info().max_positions)) as u32;
        if capacity == 0 {
            return taken;
        }
        let cached = RequestOptions { capacity, ..RequestOptions::default() };
        taken.push(Request::new(shard, cached).unwrap());
    }
}

/// Between calls there is no KV memory, so many such requests run where one cache fits.
#[test]
fn kv_memory_is_held_during_a_call_only() {
    let model = Model::open("llama_256");
    let n = model.prompt.len() as u64;
    let (engine, shard) = load(&model, LIMIT);
    let used = engine.memory_used();
    let mut requests: Vec<Request> = (0..8).map(|_| Request::new(&shard, OFF).unwrap()).collect();
    let capacity = requests[0].capacity() as u64;
    assert_eq!(engine.memory_used() - used, 8 * capacity * 8, "room for the ids");

    let wanted = last(&mut Request::new(&shard, RequestOptions::default()).unwrap(), &model.prompt);
    let output = (wanted.len() * size_of::<f32>()) as u64;
    // Room for one cache of the prompt and the eight outputs.
    let _taken = fill(&engine, &shard, n + (8 * output).div_ceil(shard.info().kv_bytes_per_token));
    let before = engine.memory_used();
    for (index, request) in requests.iter_mut().enumerate() {
        assert_same_in_pieces("under a limit", last(request, &model.prompt).view(), wanted.view());
        assert_eq!(engine.memory_used() - before, (index as u64 + 1) * output, "no more than the outputs stays");
    }
}

#[test]
fn a_call_that_fails_changes_nothing() {
    let model = Model::open("llama_256");
    let n = model.prompt.len();
    let (engine, shard) = load(&model, 0);
    let wanted =
        last(&mut Request::new(&shard, RequestOptions::default()).unwrap(), &[&model.prompt[..], &[5]].concat());
    let mut request = Request::new(&shard, RequestOptions { capacity: n as u32 + 1, ..OFF }).unwrap();
    let _ = last(&mut request, &model.prompt);
    let refused = |request: &mut Request, ids: &[i64], kind| {
        assert_eq!(request.infer(Input::Ids(ids), Logits::Last).unwrap_err().kind(), kind);
        assert_eq!(request.position(), n);
    };
    refused(&mut request, &[-1], ErrorKind::OutOfRange);
    refused(&mut request, &[1, 2], ErrorKind::ContextFull);
    request.cancel_handle().cancel().unwrap();
    refused(&mut request, &[5], ErrorKind::Cancelled);
    assert_eq!(request.export_state().unwrap_err().kind(), ErrorKind::InvalidState);
    let state = Request::new(&shard, RequestOptions::default()).unwrap().export_state().unwrap();
    assert_eq!(request.import_state(&state).unwrap_err().kind(), ErrorKind::InvalidState);
    assert_same_in_pieces("after failures", last(&mut request, &[5]).view(), wanted.view());

    request.truncate(n).unwrap();
    engine.clear().unwrap();
    refused(&mut request, &[5], ErrorKind::StaleShard);
    assert_eq!(Request::new(&shard, OFF).unwrap_err().kind(), ErrorKind::StaleShard);

    // Room for a cache of the prompt, but not of one token more.
    let (engine, shard) = load(&model, LIMIT);
    let mut request = Request::new(&shard, OFF).unwrap();
    let _ = last(&mut request, &model.prompt);
    let taken = fill(&engine, &shard, n as u64);
    let error = request.infer(Input::Ids(&[5]), Logits::Last).unwrap_err();
    assert_eq!((error.out_of_memory().unwrap().site, request.position()), (Site::Kv, n), "{}", error.chain());
    assert_eq!((engine.stats().out_of_memory_kv, engine.stats().out_of_memory_run), (1, 0));
    drop(taken);
    assert_same_in_pieces("with memory again", last(&mut request, &[5]).view(), wanted.view());
}
