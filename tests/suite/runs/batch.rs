//! Many requests run in one call: each gets the bits it gets alone, and none pays for another's failure.

use crate::common::{Model, Passed, argmax, assert_same, assert_same_in_pieces, device};
use ortshard::{Engine, ErrorKind, Frame, Input, Logits, Request, RequestOptions, Shard, ShardSpec, Step, infer_batch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A text that crosses a model's border between short and long ones would have to be run again: these are long from the start.
fn long() -> RequestOptions {
    RequestOptions { long_context: true, ..RequestOptions::default() }
}

fn request(shard: &Arc<Shard>, prefill_chunk: u32) -> Request {
    Request::new(shard, RequestOptions { prefill_chunk, ..long() }).unwrap()
}

/// One call for all of `requests`; every one must succeed.
fn run(requests: &mut [Request], inputs: &[Input], logits: Logits) -> Vec<Passed> {
    let mut steps: Vec<Step> =
        requests.iter_mut().zip(inputs).map(|(request, input)| Step { request, input: *input, logits }).collect();
    for outcome in infer_batch(&mut steps) {
        outcome.unwrap();
    }
    steps.iter().map(|step| Passed::of(step.request)).collect()
}

/// The same for what other shards have given.
fn run_passed(requests: &mut [Request], passed: &[Passed], logits: Logits) -> Vec<Passed> {
    let frames: Vec<Option<Frame>> = passed.iter().map(Passed::frame).collect();
    let inputs: Vec<Input> = passed.iter().zip(&frames).map(|(passed, frame)| passed.input(frame.as_ref())).collect();
    run(requests, &inputs, logits)
}

#[test]
fn prompts_and_single_tokens_side_by_side_give_the_bits_of_each_alone() {
    for model in Model::all() {
        let prompt = &model.prompt[..];
        let inputs: [&[i64]; 4] = [prompt, &prompt[..1], &prompt[1..], prompt];
        let next: [&[i64]; 4] = [&model.greedy[..1], prompt, &model.greedy[1..4], &model.greedy[4..5]];
        for cuts in [vec![], model.first_cut()] {
            let shards: Vec<Arc<Shard>> =
                model.pipeline(&cuts).requests.iter().map(|request| Arc::clone(request.shard())).collect();
            // Chunks of one request end in the middle of a run of the others.
            let mut batch: Vec<Vec<Request>> =
                shards.iter().map(|shard| [0, 3, 2, 5].map(|chunk| request(shard, chunk)).into()).collect();
            let mut alone: Vec<_> = inputs.iter().map(|_| model.pipeline_with(&cuts, long())).collect();
            for (ids, logits) in
                [(inputs, Logits::Last), (next, Logits::All), (inputs, Logits::None), (next, Logits::Last)]
            {
                let (front, back) = batch.split_first_mut().unwrap();
                let mut passed = run(front, &ids.map(Input::Ids), logits);
                for requests in back {
                    passed = run_passed(requests, &passed, logits);
                }
                let values = passed.into_iter().map(Passed::values);
                for (i, (values, (alone, ids))) in values.zip(alone.iter_mut().zip(ids)).enumerate() {
                    let what = format!("{} cut after {cuts:?}, request {i}, {logits:?}", model.name);
                    assert_same_in_pieces(&what, values.view(), alone.run(ids, logits).view());
                }
            }
        }
    }
}

#[test]
fn requests_come_and_go() {
    let model = Model::open("llama31_tied");
    let shard = model.shard(0, model.layers - 1);
    let mut waiting = 5;
    let mut running: Vec<(Request, Vec<i64>)> = Vec::new();
    let mut finished = 0;
    while finished < 5 {
        if waiting > 0 {
            waiting -= 1;
            running.push((request(&shard, 0), Vec::new()));
        }
        let mut steps: Vec<Step> = running
            .iter_mut()
            .map(|(request, ids)| {
                let input = Input::Ids(if ids.is_empty() { &model.prompt } else { &ids[ids.len() - 1..] });
                Step { request, input, logits: Logits::Last }
            })
            .collect();
        for outcome in infer_batch(&mut steps) {
            outcome.unwrap();
        }
        drop(steps);
        for (request, ids) in &mut running {
            ids.push(argmax(request.output().unwrap().values().as_slice().unwrap()));
        }
        running.retain(|(_, ids)| {
            let done = ids.len() == 8;
            if done {
                assert_eq!(ids[..], model.greedy[..8]);
                finished += 1;
            }
            !done
        });
    }
}

#[test]
fn one_that_fails_leaves_the_others_to_go_on() {
    let model = Model::open("llama31_tied");
    let shard = model.shard(0, model.layers - 1);
    let expected = model.whole().run(&model.prompt, Logits::Last);
    let small = RequestOptions { capacity: 2, ..RequestOptions::default() };
    let mut requests: Vec<Request> = (0..6).map(|_| request(&shard, 3)).collect();
    requests[1] = Request::new(&shard, small).unwrap();
    requests[2] = request(&model.shard(0, 0), 0);
    requests[4].cancel_handle().cancel().unwrap();
    let outside = [-1];
    let mut steps: Vec<Step> = requests
        .iter_mut()
        .enumerate()
        .map(|(i, request)| {
            let ids = if i == 3 { &outside[..] } else { &model.prompt[..] };
            Step { request, input: Input::Ids(ids), logits: Logits::Last }
        })
        .collect();
    let outcomes = infer_batch(&mut steps);
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(ortshard::Error::kind)).collect();
    let (full, other, range) = (ErrorKind::ContextFull, ErrorKind::InvalidArgument, ErrorKind::OutOfRange);
    assert_eq!(kinds, [None, Some(full), Some(other), Some(range), Some(ErrorKind::Cancelled), None]);
    for (i, request) in requests.iter_mut().enumerate() {
        if kinds[i].is_none() {
            assert_eq!(request.position(), model.prompt.len());
            assert_same_in_pieces("beside failures", request.output().unwrap().values(), expected.view());
        } else {
            assert_eq!((request.position(), request.output().is_none()), (0, true), "request {i}");
        }
    }
    // The flag was for that call only.
    let again = requests[4].infer(Input::Ids(&model.prompt), Logits::Last).unwrap().values().to_owned();
    assert_same_in_pieces("after a cancelled call", again.view(), expected.view());
}

/// The one that is refused has the larger output, so that its memory would be the one to take.
#[test]
fn a_request_of_another_engine_is_refused_and_lends_no_memory() {
    let model = Model::open("llama_256");
    let engines = [(); 2].map(|()| Engine::new(device::options()).unwrap());
    let mut requests = engines.each_ref().map(|engine| {
        let shard = engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap();
        request(&shard, 0)
    });
    let idle = engines.each_ref().map(Engine::memory_used);
    for (request, logits) in requests.iter_mut().zip([Logits::Last, Logits::All]) {
        let _ = request.infer(Input::Ids(&model.prompt), logits).unwrap();
    }
    let before = engines[0].memory_used();
    let steps = requests.iter_mut().map(|request| Step { request, input: Input::Ids(&[1]), logits: Logits::Last });
    let outcomes: Vec<_> = infer_batch(&mut steps.collect::<Vec<_>>()).into_iter().map(Result::err).collect();
    assert!(outcomes[0].is_none());
    assert_eq!(outcomes[1].as_ref().unwrap().kind(), ErrorKind::InvalidArgument);
    // With stock operators the first decode step makes places for itself that stay.
    if device::native_operators() {
        assert_eq!(engines[0].memory_used(), before, "one row of logits, as in the call before");
    }
    assert_eq!(engines[1].memory_used(), idle[1], "a failed call leaves no output");
    assert!(requests[1].output().is_none());
    drop(requests);
    for (engine, idle) in engines.iter().zip(idle) {
        assert!(engine.memory_used() < idle, "of what the requests took nothing is left");
    }
}

#[test]
fn cancelling_one_in_the_middle_of_a_run_leaves_the_others_their_bits() {
    let model = Model::open("mistral_window");
    let shard = model.shard(0, model.layers - 1);
    let alone = model.whole().run(&model.prompt, Logits::All);
    let mut requests: Vec<Request> = (0..3).map(|_| request(&shard, 0)).collect();
    let handle = requests[1].cancel_handle();
    let (go, mut hits) = (AtomicBool::new(true), 0);
    std::thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            while go.load(Ordering::Relaxed) {
                handle.cancel().unwrap();
                std::thread::yield_now();
            }
        });
        for _ in 0..200 {
            for request in &mut requests {
                request.truncate(0).unwrap();
            }
            let mut steps: Vec<Step> = requests
                .iter_mut()
                .map(|request| Step { request, input: Input::Ids(&model.prompt), logits: Logits::All })
                .collect();
            let outcomes = infer_batch(&mut steps);
            assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
            hits += usize::from(outcomes[1].as_ref().is_err_and(|e| e.kind() == ErrorKind::Cancelled));
            for i in [0, 2] {
                assert_same("beside a cancelled one", requests[i].output().unwrap().values(), alone.view());
            }
        }
        go.store(false, Ordering::Relaxed);
        canceller.join().unwrap();
    });
    assert!(hits > 0, "no call was cancelled");
}
