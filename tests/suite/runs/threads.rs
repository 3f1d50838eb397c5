//! Many threads share a shard: requests, swaps and cancellations run at once, and handles are dropped in any order on any
//! thread. `make threads` runs these under `ThreadSanitizer`.

use std::sync::Arc;

use crate::common::{Model, Pipeline, argmax, assert_same, device, root};
use ndarray::Array2;
use ortshard::{
    Engine, EngineOptions, ErrorKind, Grammar, GrammarConstraint, Input, Logits, Request, RequestOptions, Shard,
    ShardSpec, Tokenizer,
};

fn engine(release_first: bool) -> Engine {
    Engine::new(EngineOptions { release_first, ..device::options() }).unwrap()
}

fn whole(model: &Model) -> ShardSpec {
    ShardSpec::whole(model.path.to_str().unwrap())
}

fn request(shard: &Arc<Shard>) -> Request {
    Request::new(shard, RequestOptions::default()).unwrap()
}

fn answer(shard: &Arc<Shard>, prompt: &[i64]) -> Array2<f32> {
    request(shard).infer(Input::Ids(prompt), Logits::All).unwrap().values().to_owned()
}

#[test]
fn four_threads_with_four_requests_each_give_what_one_gives_alone() {
    for model in Model::those_that_run(&["qwen3_tied", "mistral_window"]) {
        let alone = model.whole().greedy(&model.prompt, 8);
        let shard = model.shard(0, model.layers - 1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut requests: Vec<_> = (0..4).map(|_| Pipeline { requests: vec![request(&shard)] }).collect();
                    let mut logits: Vec<_> = requests.iter_mut().map(|r| r.run(&model.prompt, Logits::Last)).collect();
                    for id in &alone {
                        for (request, logits) in requests.iter_mut().zip(&mut logits) {
                            assert_eq!(argmax(logits.row(0).as_slice().unwrap()), *id, "{}", model.name);
                            *logits = request.run(&[*id], Logits::Last);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn swaps_while_requests_run() {
    let (model, other) = (Model::open("llama_256"), Model::open("mistral_window"));
    for release_first in [false, true] {
        let engine = engine(release_first);
        let shard = engine.ensure_shard(&whole(&model), None).unwrap();
        let expected = answer(&shard, &model.prompt);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        let request = Request::new(&shard, RequestOptions::default());
                        let result = request.and_then(|mut request| {
                            let output = request.infer(Input::Ids(&model.prompt), Logits::All)?;
                            assert_same("under swaps", output.values(), expected.view());
                            Ok(())
                        });
                        // Beside the new shard the old one goes on; in its place it becomes stale, never wrong.
                        let kind = result.map_err(|error| error.kind());
                        assert!(kind.is_ok() || (release_first && kind == Err(ErrorKind::StaleShard)), "{kind:?}");
                    }
                });
            }
            for turn in 0..40 {
                engine.ensure_shard(&whole(if turn % 2 == 0 { &other } else { &model }), None).unwrap();
            }
        });
        let again = engine.ensure_shard(&whole(&model), None).unwrap();
        assert_same("after swaps", answer(&again, &model.prompt).view(), expected.view());
    }
}

#[test]
fn cancelled_from_another_thread_a_request_is_where_it_was() {
    let model = Model::open("mistral_window");
    let shard = model.shard(0, model.layers - 1);
    let expected = answer(&shard, &model.prompt);
    let mut request = request(&shard);
    let handle = request.cancel_handle();
    std::thread::scope(|scope| {
        let running = scope.spawn(move || {
            loop {
                match request.infer(Input::Ids(&model.prompt), Logits::All).map(|_| ()) {
                    Ok(()) => request.truncate(0).unwrap(),
                    Err(error) => break (error.kind(), request),
                }
            }
        });
        handle.cancel().unwrap();
        let (kind, mut request) = running.join().unwrap();
        assert_eq!((kind, request.position()), (ErrorKind::Cancelled, 0));
        let again = request.infer(Input::Ids(&Model::open("mistral_window").prompt), Logits::All).unwrap();
        assert_same("after", again.values(), expected.view());
    });
}

#[test]
fn handles_are_dropped_in_any_order_on_any_thread() {
    let model = Model::open("llama_256");
    // All 24 orders, the next thread only when the one before has ended.
    for order in 0..24 {
        let engine = engine(false);
        let shard = engine.ensure_shard(&whole(&model), None).unwrap();
        let (one, mut two) = (request(&shard), request(&shard));
        let prompt = &model.prompt;
        let mut work: Vec<Box<dyn FnOnce() + Send>> = vec![
            Box::new(move || drop(engine)),
            Box::new(move || drop(shard)),
            Box::new(move || drop(one)),
            Box::new(move || {
                let _ = two.infer(Input::Ids(prompt), Logits::Last).unwrap();
            }),
        ];
        for choice in [order / 6, order / 2 % 3, order % 2, 0] {
            let next = work.remove(choice);
            std::thread::scope(|scope| scope.spawn(next).join()).unwrap();
        }
    }
}

/// A text under a grammar, of tokens that a hash chooses among those that may come.
fn text(mut constraint: GrammarConstraint, seed: usize) -> Vec<u32> {
    let mut ids = Vec::new();
    for step in 0..60 {
        let mut logits = [0.0; 480];
        if constraint.mask(&mut logits).is_err() {
            break;
        }
        let may: Vec<u32> = (0..).zip(&logits).filter(|(_, logit)| **logit == 0.0).map(|(id, _)| id).collect();
        let id = may[(seed * 7919 + step * 104_729) % may.len()];
        constraint.accept(id).unwrap();
        ids.push(id);
    }
    ids
}

#[test]
fn texts_of_one_compiled_grammar_grow_in_many_threads() {
    let tokenizer = Arc::new(Tokenizer::open(&root().join("tests/tokenizers/gpt2")).unwrap());
    let grammar = Grammar::JsonSchema(r#"{"items": {"properties": {"a": {"type": "number"}, "b": {}}}}"#.to_owned());
    let compile =
        || GrammarConstraint::new(&tokenizer, &grammar, &[tokenizer.token_to_id("<|eot|>").unwrap()]).unwrap();
    let alone: Vec<_> = (0..8).map(|seed| text(compile(), seed)).collect();
    let shared = compile();
    std::thread::scope(|scope| {
        for (seed, alone) in alone.iter().enumerate() {
            let shared = shared.clone();
            scope.spawn(move || assert_eq!(text(shared, seed), *alone));
        }
        // While others are compiled.
        scope.spawn(|| (0..4).for_each(|seed| assert_eq!(text(compile(), seed), alone[seed])));
    });
    assert!(alone.iter().any(|ids| ids.len() > 20));
}
