//! A model that rotates short and long texts in two ways gives transformers' answers on both sides of the border, in every cut; and a
//! request that would cross the border is told so before anything changes.

use serde_json::Value;

use crate::common::{Model, Pipeline, argmax, assert_close, assert_same, device};
use ortshard::{
    Engine, EngineOptions, ErrorKind, Input, Logits, Request, RequestOptions, Sampler, SamplerOptions, ShardSpec, Step,
    infer_batch, infer_chain, next_token,
};

const LONG: RequestOptions = RequestOptions {
    capacity: 0,
    prefill_chunk: 0,
    no_cache: false,
    long_context: true,
    snapshot_interval: 0,
    snapshot_bytes: 0,
};

/// The models, and the tokens that a short text may have in each.
fn models() -> Vec<(Model, usize)> {
    [("phi3_longrope", 100), ("phi3_longrope_16", 80)]
        .into_iter()
        .filter(|_| device::native_operators())
        .map(|(name, border)| (Model::open(name), border))
        .collect()
}

/// A prompt of the model beside its usual one, and the ids that transformers generates from it.
fn more(model: &Model, what: &str) -> (Vec<i64>, Vec<i64>) {
    let golden: Value = serde_json::from_slice(&std::fs::read(model.path.join("golden.json")).unwrap()).unwrap();
    let ids = |key: &str| golden[what][key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    (ids("prompt_ids"), ids("greedy_ids"))
}

/// Every cut in two, and single layers.
fn cuts(model: &Model) -> Vec<Vec<u32>> {
    let singles: Vec<u32> = (0..model.layers - 1).collect();
    [vec![]].into_iter().chain((0..model.layers - 1).map(|cut| vec![cut])).chain([singles]).collect()
}

fn all(pipeline: &mut Pipeline) -> Vec<&mut Request> {
    pipeline.requests.iter_mut().collect()
}

#[test]
fn a_shard_tells_where_the_border_is() {
    for (model, border) in models() {
        assert_eq!(model.shard(1, 1).info().short_context as usize, border);
    }
    assert_eq!(Model::open("llama_256").shard(0, 0).info().short_context, 0);
}

/// However its tokens come: in one call, cut into chunks, or in calls of requests that are told.
#[test]
fn a_long_prompt_is_what_transformers_makes_of_it() {
    for (model, _) in models() {
        let (prompt, greedy) = more(&model, "long");
        let whole = model.whole().run(&prompt, Logits::All);
        assert_close(&model.name, whole.view(), model.golden("long.logits").view());
        for cuts in cuts(&model) {
            let what = format!("{} cut after {cuts:?}", model.name);
            assert_eq!(model.pipeline(&cuts).greedy(&prompt, greedy.len()), greedy, "{what}");
            let chunked = RequestOptions { prefill_chunk: 7, ..RequestOptions::default() };
            let mut pipeline = model.pipeline_with(&cuts, chunked);
            assert_same(&what, pipeline.run(&prompt, Logits::All).view(), whole.view());
            let mut pipeline = model.pipeline_with(&cuts, LONG);
            for (index, piece) in prompt.chunks(9).enumerate() {
                let logits = pipeline.run(piece, Logits::All);
                let rows = whole.slice(ndarray::s![9 * index..9 * index + piece.len(), ..]);
                assert_same(&what, logits.view(), rows);
            }
        }
    }
}

/// As `generate` of transformers, which computes everything anew when the text crosses the border.
#[test]
fn a_text_that_grows_long_is_run_again() {
    for (model, border) in models() {
        let (prompt, greedy) = more(&model, "crossing");
        for cuts in cuts(&model) {
            let what = format!("{} cut after {cuts:?}", model.name);
            let (mut text, mut pipeline) = (prompt.clone(), model.pipeline(&cuts));
            let mut requests = all(&mut pipeline);
            let mut logits = infer_chain(&mut requests, Input::Ids(&prompt), Logits::Last).unwrap().values().to_owned();
            let mut crossed = 0;
            for expected in &greedy {
                let id = argmax(logits.row(0).as_slice().unwrap());
                assert_eq!(id, *expected, "{what} at {}", text.len());
                text.push(id);
                let outcome = infer_chain(&mut requests, Input::Ids(&[id]), Logits::Last);
                logits = match outcome.map(|output| output.values().to_owned()) {
                    Ok(logits) => logits,
                    Err(error) => {
                        assert_eq!(
                            (error.kind(), text.len()),
                            (ErrorKind::OutOfRange, border + 1),
                            "{}",
                            error.chain()
                        );
                        assert!(error.to_string().contains("truncate to 0 and run all tokens again"), "{error}");
                        crossed += 1;
                        for request in &mut requests {
                            assert_eq!(request.position(), border, "{what}");
                            request.truncate(0).unwrap();
                        }
                        infer_chain(&mut requests, Input::Ids(&text), Logits::Last).unwrap().values().to_owned()
                    }
                };
            }
            assert_eq!(crossed, 1, "{what}");
        }
    }
}

/// It has nothing that was computed for a short text. Where its input was, it is as others are.
#[test]
fn a_request_without_cache_computes_anew_by_itself() {
    let off = RequestOptions { no_cache: true, ..RequestOptions::default() };
    for (model, border) in models() {
        let (prompt, greedy) = more(&model, "crossing");
        assert_eq!(model.pipeline_with(&[], off).greedy(&prompt, greedy.len()), greedy, "{}", model.name);

        let mut chain = model.pipeline_with(&[0], off);
        let mut requests = all(&mut chain);
        let text = [&prompt[..], &greedy[..border - prompt.len()]].concat();
        let _ = infer_chain(&mut requests, Input::Ids(&text), Logits::Last).unwrap();
        let error = infer_chain(&mut requests, Input::Ids(&[1]), Logits::Last).unwrap_err();
        assert!(requests.iter().all(|request| request.position() == border));
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{}", error.chain());
        let error = requests[1].infer(Input::Hidden(model.golden("hidden.0").view()), Logits::Last).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfRange, "{}", error.chain());
    }
}

/// The first run of an empty request decides anew, whatever the request was before; what is refused changes nothing.
#[test]
fn the_first_run_decides() {
    for (model, border) in models() {
        let (prompt, _) = more(&model, "long");
        let short = &prompt[..border];
        let shard = model.shard(0, model.layers - 1);
        let logits = |request: &mut Request, ids: &[i64]| {
            request.infer(Input::Ids(ids), Logits::Last).unwrap().values().to_owned()
        };
        let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
        let (of_short, of_long) = (logits(&mut request, short), {
            request.truncate(0).unwrap();
            logits(&mut request, &prompt)
        });
        // It stays long while there is something behind it.
        request.truncate(1).unwrap();
        assert_same(&model.name, logits(&mut request, &prompt[1..]).view(), of_long.view());
        request.truncate(0).unwrap();
        assert_same(&model.name, logits(&mut request, short).view(), of_short.view());
        for tokens in [1, 20] {
            let error = request.infer(Input::Ids(&prompt[..tokens]), Logits::Last).unwrap_err();
            assert_eq!((error.kind(), request.position()), (ErrorKind::OutOfRange, border), "{}", error.chain());
        }
        // A short text in a request that is told to be long, and not as one that is not.
        let told = logits(&mut Request::new(&shard, LONG).unwrap(), short);
        assert_ne!(told, of_short);
        let cancelled = request.cancel_handle();
        request.truncate(0).unwrap();
        cancelled.cancel().unwrap();
        assert_eq!(request.infer(Input::Ids(&prompt), Logits::Last).unwrap_err().kind(), ErrorKind::Cancelled);
        assert_same(&model.name, logits(&mut request, short).view(), of_short.view());
    }
}

#[test]
fn forks_and_states_stay_what_they_are() {
    for (model, border) in models() {
        let (prompt, _) = more(&model, "long");
        let shard = model.shard(0, model.layers - 1);
        let next = |request: &mut Request| request.infer(Input::Ids(&[7]), Logits::Last).map(|o| o.values().to_owned());
        for tokens in [border, prompt.len()] {
            let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
            let _ = request.infer(Input::Ids(&prompt[..tokens]), Logits::None).unwrap();
            let state = request.export_state().unwrap();
            assert_eq!(state.len(), request.state_size(0).unwrap());
            // Whatever it was told and was before.
            let mut other = Request::new(&shard, LONG).unwrap();
            let _ = other.infer(Input::Ids(&[1, 2]), Logits::None).unwrap();
            other.import_state(&state).unwrap();
            let mut fork = request.fork().unwrap();
            match next(&mut request) {
                Ok(expected) => {
                    assert!(tokens > border);
                    assert_same("fork", next(&mut fork).unwrap().view(), expected.view());
                    assert_same("state", next(&mut other).unwrap().view(), expected.view());
                }
                Err(error) => {
                    assert_eq!((error.kind(), tokens), (ErrorKind::OutOfRange, border));
                    assert_eq!(next(&mut fork).unwrap_err().kind(), ErrorKind::OutOfRange);
                    assert_eq!(next(&mut other).unwrap_err().kind(), ErrorKind::OutOfRange);
                    // The option is the request's own.
                    other.truncate(0).unwrap();
                    let _ = other.infer(Input::Ids(&[1]), Logits::None).unwrap();
                    assert!(other.infer(Input::Ids(&prompt), Logits::None).is_ok());
                }
            }
        }
    }
}

#[test]
fn short_and_long_texts_run_in_one_batch() {
    for (model, border) in models() {
        let (prompt, _) = more(&model, "long");
        let shard = model.shard(0, model.layers - 1);
        let texts = [&prompt[..border], &prompt[..], &prompt[..3], &prompt[..=border]];
        let alone = texts.map(|ids| {
            let mut request = Request::new(&shard, RequestOptions::default()).unwrap();
            request.infer(Input::Ids(ids), Logits::Last).unwrap().values().to_owned()
        });
        let mut requests = texts.map(|_| Request::new(&shard, RequestOptions::default()).unwrap());
        let mut run = |inputs: [&[i64]; 4]| {
            let steps = requests.iter_mut().zip(inputs);
            let mut steps: Vec<Step> =
                steps.map(|(request, ids)| Step { request, input: Input::Ids(ids), logits: Logits::Last }).collect();
            let outcomes = infer_batch(&mut steps);
            let given = requests.iter().map(|request| request.output().map(|output| output.values().to_owned()));
            outcomes.into_iter().map(|outcome| outcome.map_err(|error| error.kind())).zip(given).collect::<Vec<_>>()
        };
        for ((outcome, given), expected) in run(texts).into_iter().zip(alone) {
            outcome.unwrap();
            assert_same(&model.name, given.unwrap().view(), expected.view());
        }
        let outcomes: Vec<_> = run([&[5]; 4]).into_iter().map(|(outcome, _)| outcome).collect();
        assert_eq!(outcomes, [Err(ErrorKind::OutOfRange), Ok(()), Ok(()), Ok(())]);
    }
}

/// Shards on which the text is not the same would give nonsense.
#[test]
fn the_requests_of_a_chain_agree() {
    for (model, border) in models() {
        let (prompt, _) = more(&model, "long");
        let shards = [model.shard(0, 0), model.shard(1, model.layers - 1)];
        let mut front = Request::new(&shards[0], RequestOptions::default()).unwrap();
        let mut back = Request::new(&shards[1], LONG).unwrap();
        let mut greedy = Sampler::new(SamplerOptions { temperature: 0.0, ..SamplerOptions::default() }).unwrap();
        let error = next_token(&mut [&mut front, &mut back], Input::Ids(&prompt[..3]), &mut greedy).unwrap_err();
        assert_eq!((error.kind(), front.position(), back.position()), (ErrorKind::InvalidArgument, 0, 0));
        assert!(error.to_string().contains("long_context"), "{error}");
        // A long text is long for both.
        assert!(next_token(&mut [&mut front, &mut back], Input::Ids(&prompt), &mut greedy).is_ok());
        for request in [&mut front, &mut back] {
            request.truncate(border).unwrap();
        }
        assert!(next_token(&mut [&mut front, &mut back], Input::Ids(&[3]), &mut greedy).is_ok());
    }
}

/// Stock operators have one table of angles for all requests.
#[test]
fn stock_operators_refuse_it_by_name() {
    if !device::native_operators() || !device::tells_where_nodes_run() {
        return;
    }
    let model = Model::open("phi3_longrope_16");
    let engine = Engine::new(EngineOptions { stock_operators: true, ..EngineOptions::default() }).unwrap();
    let error = engine.ensure_shard(&ShardSpec::whole(model.path.to_str().unwrap()), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.chain().contains("in long texts (longrope)"), "{}", error.chain());
}
