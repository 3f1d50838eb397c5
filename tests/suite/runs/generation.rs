//! A generation gives the ids that running and sampling give, on one shard, on every cut and in a batch; its text is the tokenizer's
//! up to a stop string; and a step that fails loses nothing.

use crate::common::{Model, device, root};
use ortshard::{
    Bias, Constraint, Engine, EngineOptions, ErrorKind, Finish, Generation, GenerationOptions, Logits, Request,
    RequestOptions, Result, Sampler, SamplerOptions, ShardSpec, StopStrings, step_batch,
};

fn ids(prompt: &[i64]) -> Vec<u32> {
    prompt.iter().map(|id| *id as u32).collect()
}

/// A greedy rule, one that draws, and one that looks back at what was chosen.
fn rules() -> [SamplerOptions; 3] {
    let draws = SamplerOptions { temperature: 1.5, top_k: 0, top_p: 0.9, seed: 42, ..SamplerOptions::default() };
    let looks_back = SamplerOptions {
        repetition_penalty: 1.2,
        frequency_penalty: 0.5,
        no_repeat_ngram: 2,
        biases: vec![Bias { ids: vec![3], bias: 1.5 }],
        ..draws.clone()
    };
    [SamplerOptions::greedy(), draws, looks_back]
}

fn options(sampling: &SamplerOptions, count: usize) -> GenerationOptions {
    GenerationOptions {
        sampling: sampling.clone(),
        max_new_tokens: count,
        ignore_eos: true,
        ..GenerationOptions::default()
    }
}

/// All ids that the generation gives, and why it ends.
fn pull(generation: &mut Generation) -> (Vec<i64>, Finish) {
    let mut ids = Vec::new();
    loop {
        let step = generation.step().unwrap();
        ids.extend(step.id.map(i64::from));
        if let Some(finish) = step.finish {
            return (ids, finish);
        }
    }
}

/// `count` ids after the prompt, each sampled from logits that came to this process.
fn by_hand(model: &Model, sampling: &SamplerOptions, count: usize) -> Vec<i64> {
    let mut pipeline = model.whole();
    let mut sampler = Sampler::new(sampling.clone()).unwrap();
    sampler.accept(&ids(&model.prompt)).unwrap();
    let (mut input, mut chosen) = (model.prompt.clone(), Vec::new());
    while chosen.len() < count {
        let logits = pipeline.run(&input, Logits::Last);
        let id = i64::from(sampler.sample(logits.row(0).to_slice().unwrap()).unwrap());
        chosen.push(id);
        input = vec![id];
    }
    chosen
}

#[test]
fn its_ids_are_those_of_running_and_sampling_on_every_cut_and_in_a_batch() {
    let models = Model::those_that_run(&["qwen3_16", "llama_gqa", "gemma2_plain"]);
    assert!(!models.is_empty());
    for model in models {
        let wanted: Vec<Vec<i64>> = rules().iter().map(|rule| by_hand(&model, rule, 16)).collect();
        assert_eq!(wanted[0], model.greedy[..16]);
        let cuts = (1..model.layers).map(|last| vec![last - 1]).chain([vec![], (0..model.layers - 1).collect()]);
        for cut in cuts.filter(|cut| device::native_operators() || cut.is_empty()) {
            for (rule, wanted) in rules().iter().zip(&wanted) {
                let what = format!("{} cut after {cut:?}", model.name);
                let requests = model.pipeline(&cut).requests;
                let mut generation = Generation::new(requests, None, options(rule, 16)).unwrap();
                let (first, rest) = model.prompt.split_at(2);
                generation.append_ids(&ids(first)).unwrap();
                generation.append_ids(&ids(rest)).unwrap();
                while generation.prefill(3).unwrap() > 1 {}
                assert_eq!(pull(&mut generation), (wanted.clone(), Finish::Length), "{what}");
                assert_eq!(generation.position(), model.prompt.len() + 15, "{what}");
            }
        }
        // On one shard, each with a rule of its own, and one on a chain among them.
        let shard = model.shard(0, model.layers - 1);
        let request = || vec![Request::new(&shard, RequestOptions::default()).unwrap()];
        let requests = [request(), request(), model.pipeline(&[0]).requests, request()];
        let mut batch: Vec<Generation> = requests
            .into_iter()
            .zip([0, 1, 2, 2])
            .map(|(requests, rule)| {
                let mut generation = Generation::new(requests, None, options(&rules()[rule], 16)).unwrap();
                generation.append_ids(&ids(&model.prompt)).unwrap();
                generation
            })
            .collect();
        let mut given = vec![Vec::new(); batch.len()];
        // One more than it takes: those that have ended give nothing.
        for _ in 0..17 {
            let outcomes = step_batch(&mut batch.iter_mut().collect::<Vec<_>>());
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            for (given, generation) in given.iter_mut().zip(&batch) {
                given.extend(generation.generated().id.map(i64::from));
            }
        }
        for (given, rule) in given.iter().zip([0, 1, 2, 2]).filter(|_| device::native_operators()) {
            assert_eq!(*given, wanted[rule], "{} in a batch", model.name);
        }
    }
}

#[test]
fn it_ends_where_it_should() {
    let model = Model::open("llama_gqa");
    let end = model.greedy[5] as u32;
    let first = model.greedy.iter().position(|id| *id as u32 == end).unwrap();
    let generation = |options: GenerationOptions, capacity: usize| {
        let shard = model.shard(0, model.layers - 1);
        let request = RequestOptions { capacity: capacity as u32, ..RequestOptions::default() };
        let mut generation = Generation::new(vec![Request::new(&shard, request).unwrap()], None, options).unwrap();
        generation.append_ids(&ids(&model.prompt)).unwrap();
        generation
    };
    let greedy = SamplerOptions::greedy();
    // One of several; one that the vocabulary does not have never comes.
    let with_end = SamplerOptions { eos: vec![1 << 20, end], ..greedy.clone() };
    let ended = pull(&mut generation(GenerationOptions { sampling: with_end.clone(), ..Default::default() }, 0));
    assert_eq!(ended, (model.greedy[..=first].to_vec(), Finish::Eos));
    // Not before its time: another token comes in its place.
    let later = SamplerOptions { min_new_tokens: 9, ..with_end };
    let (given, _) =
        pull(&mut generation(GenerationOptions { sampling: later, max_new_tokens: 12, ..Default::default() }, 0));
    assert!(given.len() >= 9 && !ids(&given[..9]).contains(&end), "{given:?}");
    // The prompt and 4 more can be run, and the last of these gives a fifth.
    let mut full = generation(options(&greedy, 0), model.prompt.len() + 4);
    assert_eq!(pull(&mut full), (model.greedy[..5].to_vec(), Finish::ContextFull));
    let error = full.append_ids(&[1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextFull);

    // Once more why, and no token.
    let step = full.step().unwrap();
    assert_eq!((step.id, step.finish, step.text), (None, Some(Finish::ContextFull), ""));

    // The next turn goes on behind the last token.
    let mut turns = generation(options(&greedy, 3), 0);
    assert_eq!(pull(&mut turns), (model.greedy[..3].to_vec(), Finish::Length));
    turns.append_ids(&[]).unwrap();
    assert_eq!(pull(&mut turns), (model.greedy[3..6].to_vec(), Finish::Length));
}

#[test]
fn cancelling_ends_the_text_and_the_next_turn_goes_on() {
    let model = Model::open("llama_gqa");
    let greedy = options(&SamplerOptions::greedy(), 6);
    let mut generation = Generation::new(model.whole().requests, None, greedy).unwrap();
    let cancel = generation.cancel_handle();
    generation.append_ids(&ids(&model.prompt)).unwrap();
    // The prompt has not been run.
    cancel.cancel().unwrap();
    let step = generation.step().unwrap();
    assert_eq!((step.id, step.finish), (None, Some(Finish::Cancelled)));
    assert_eq!(generation.position(), 0);
    // Nothing of it is lost, and a cancellation that comes too late is none.
    cancel.cancel().unwrap();
    generation.append_ids(&[]).unwrap();
    let first = generation.step().unwrap().id;
    assert_eq!(first, Some(model.greedy[0] as u32));
    std::thread::scope(|scope| scope.spawn(|| cancel.cancel().unwrap()).join().unwrap());
    assert_eq!(pull(&mut generation), (Vec::new(), Finish::Cancelled));
    generation.append_ids(&[]).unwrap();
    assert_eq!(pull(&mut generation), (model.greedy[1..7].to_vec(), Finish::Length));
}

#[test]
fn one_of_a_batch_is_cancelled_and_the_others_go_on() {
    let model = Model::open("llama_gqa");
    let shard = model.shard(0, model.layers - 1);
    let mut batch: Vec<Generation> = (0..3)
        .map(|_| {
            let request = Request::new(&shard, RequestOptions::default()).unwrap();
            let greedy = options(&SamplerOptions::greedy(), 6);
            let mut generation = Generation::new(vec![request], None, greedy).unwrap();
            generation.append_ids(&ids(&model.prompt)).unwrap();
            generation
        })
        .collect();
    for step in 0..6 {
        if step == 2 {
            batch[1].cancel_handle().cancel().unwrap();
        }
        let outcomes = step_batch(&mut batch.iter_mut().collect::<Vec<_>>());
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let wanted = Some(model.greedy[step] as u32);
        let given: Vec<_> = batch.iter().map(|generation| generation.generated().id).collect();
        assert_eq!(given, [wanted, wanted.filter(|_| step < 2), wanted]);
    }
    let finishes: Vec<_> = batch.iter().map(|generation| generation.generated().finish.unwrap()).collect();
    assert_eq!(finishes, [Finish::Length, Finish::Cancelled, Finish::Length]);
}

/// Cancelled while it runs: the prompt is long enough to be in the middle of it.
#[test]
fn a_run_in_progress_is_cancelled_and_nothing_of_the_prompt_is_lost() {
    let model = Model::open("llama_gqa");
    let prompt: Vec<u32> = (0..250).map(|i| i * 7 % 64).collect();
    let wanted = {
        let mut generation = Generation::new(model.whole().requests, None, options(&rules()[1], 3)).unwrap();
        generation.append_ids(&prompt).unwrap();
        pull(&mut generation)
    };
    for wait in [0, 200, 1000, 3000, 10_000] {
        let mut generation = Generation::new(model.whole().requests, None, options(&rules()[1], 3)).unwrap();
        generation.append_ids(&prompt).unwrap();
        let cancel = generation.cancel_handle();
        let mut given = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_micros(wait));
                cancel.cancel().unwrap();
            });
            pull(&mut generation)
        });
        while given.1 == Finish::Cancelled {
            generation.append_ids(&[]).unwrap();
            let left = 3 - given.0.len();
            let mut more = pull(&mut generation);
            more.0.truncate(left);
            given = ([given.0, more.0].concat(), more.1);
        }
        assert_eq!(given, wanted, "cancelled after {wait} us");
    }
}

/// The model that speaks.
fn stories(options: GenerationOptions) -> Generation {
    let folder = root().join("models/stories");
    let spec = ShardSpec::whole(folder.to_str().unwrap());
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let mut generation = Generation::open(&engine, &spec, RequestOptions::default(), options).unwrap();
    generation.append_text("Once upon a time", true).unwrap();
    generation
}

/// All text, the texts of the single steps, and why it ends.
fn tell(generation: &mut Generation) -> (String, Vec<String>, Finish) {
    let mut pieces = Vec::new();
    loop {
        let step = generation.step().unwrap();
        pieces.push(step.text.to_owned());
        if let Some(finish) = step.finish {
            return (pieces.concat(), pieces, finish);
        }
    }
}

#[test]
fn text_ends_before_a_stop_string_and_waits_for_nothing_else() {
    let greedy =
        GenerationOptions { sampling: SamplerOptions::greedy(), max_new_tokens: 60, ..GenerationOptions::default() };
    let (story, pieces, finish) = tell(&mut stories(greedy.clone()));
    assert!(finish == Finish::Length && story.len() > 100, "{story}");
    assert_eq!(tell(&mut stories(greedy.clone())).0, story);

    // From within one token to within another.
    let border = pieces[..20].concat().len();
    let begin = story.floor_char_boundary(border - 3);
    let stop = &story[begin..story.ceil_char_boundary(border + 4)];
    let place = story.find(stop).unwrap();
    for include_stop in [false, true] {
        let stops = GenerationOptions {
            stop: vec!["no such words".to_owned(), stop.to_owned()],
            include_stop,
            ..greedy.clone()
        };
        let (told, told_pieces, finish) = tell(&mut stories(stops));
        assert_eq!(told, story[..place + if include_stop { stop.len() } else { 0 }]);
        assert_eq!(finish, Finish::Stop(1));
        // What is held back is the beginning of a stop string, and nothing else.
        for count in 1..told_pieces.len() {
            let (told, all) = (told_pieces[..count].concat(), pieces[..count].concat());
            let held = all.strip_prefix(&told).unwrap();
            assert!(stop.starts_with(held) || "no such words".starts_with(held), "{held:?} waits for {stop:?}");
        }
    }
    let error = GenerationOptions { stop: vec![String::new()], ..greedy.clone() };
    let error = Generation::new(Model::open("llama_gqa").whole().requests, None, error).unwrap_err();
    assert!(error.to_string().contains("stop") && error.to_string().contains("tokenizer"), "{error}");
    let error = StopStrings::new(&[String::from("a"), String::new()], false).unwrap_err();
    assert!(error.to_string().contains("stop[1]"), "{error}");
}

#[test]
fn stop_strings_count_in_the_order_in_which_they_are_complete() {
    let told = |stops: &[&str], pieces: &[&str]| {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = StopStrings::new(&stops, false).unwrap();
        let mut given = Vec::new();
        for piece in pieces {
            filter.push(piece).unwrap();
            given.push(filter.given().to_owned());
        }
        (given, filter.found())
    };
    let pieces = |given: &[&str]| given.iter().map(|piece| (*piece).to_owned()).collect::<Vec<_>>();
    // "ab" is complete before "abc", however it is cut.
    assert_eq!(told(&["abc", "ab"], &["xabc"]), (pieces(&["x"]), Some(1)));
    assert_eq!(told(&["abc", "ab"], &["xa", "bc"]), (pieces(&["x", ""]), Some(1)));
    // Complete at once: the longest.
    assert_eq!(told(&["b", "aab"], &["aaab"]), (pieces(&["a"]), Some(1)));
    // Held back only as long as it can still become one.
    assert_eq!(told(&["aab"], &["a", "a", "a", "c", "b"]), (pieces(&["", "", "a", "aac", "b"]), None));
    assert_eq!(
        told(&["\u{1f30d}!"], &["\u{1f30d}", "\u{1f30d}", "?"]),
        (pieces(&["", "\u{1f30d}", "\u{1f30d}?"]), None)
    );
    assert_eq!(told(&["ab"], &["ab", "more"]), (pieces(&["", ""]), Some(0)));
}

/// The logarithms are those of the softmax of the logits that the model gives, and forced tokens are counted as any other.
#[test]
fn logprobs_are_of_the_logits_before_any_control() {
    let model = Model::open("llama_gqa");
    let sampling = SamplerOptions { forced: vec![7], banned: vec![model.greedy[0] as u32], ..SamplerOptions::greedy() };
    let told = GenerationOptions { logprobs: 3, keep_logits: true, ..options(&sampling, 4) };
    let mut generation = Generation::new(model.whole().requests, None, told).unwrap();
    generation.append_ids(&ids(&model.prompt)).unwrap();
    let mut given = Vec::new();
    for _ in 0..4 {
        let step = generation.step().unwrap();
        let (id, logprob, best) = (step.id.unwrap(), step.logprob.unwrap(), step.best.to_vec());
        given.push(id);
        let logits: Vec<f64> = generation.logits().iter().map(|logit| f64::from(*logit)).collect();
        let total = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        assert!((f64::from(logprob) - (logits[id as usize] - total)).abs() < 1e-5);
        let mut falling: Vec<(u32, f64)> = (0..).zip(logits).collect();
        falling.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for ((id, logprob), (wanted, logit)) in best.iter().zip(&falling) {
            assert!(id == wanted && (f64::from(*logprob) - (logit - total)).abs() < 1e-5);
        }
        assert_eq!(best.len(), 3);
    }
    assert_eq!(given[0], 7);
    // Whether anything is told changes no token.
    let mut silent = Generation::new(model.whole().requests, None, options(&sampling, 4)).unwrap();
    silent.append_ids(&ids(&model.prompt)).unwrap();
    assert_eq!(ids(&pull(&mut silent).0), given);
}

/// Even ids only, and 4 after 2.
#[derive(Debug)]
struct Even {
    last: u32,
    fails: bool,
}

impl Constraint for Even {
    fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        if std::mem::take(&mut self.fails) {
            return Err(ortshard::Error::new(ErrorKind::Io, "not now"));
        }
        logits.iter_mut().skip(1).step_by(2).for_each(|logit| *logit = f32::NEG_INFINITY);
        Ok(())
    }

    fn advance(&mut self, id: u32) {
        self.last = id;
    }

    fn next_token(&mut self) -> Option<u32> {
        (self.last == 2).then_some(4)
    }
}

#[test]
fn a_constraint_is_kept_to_and_a_step_that_fails_is_repeated() {
    let model = Model::open("llama_gqa");
    let rule = SamplerOptions { temperature: 3.0, top_k: 0, seed: 5, ..SamplerOptions::default() };
    let run = |fails: bool, logprobs: usize| {
        let told = GenerationOptions { logprobs, ..options(&rule, 40) };
        let mut generation = Generation::new(model.whole().requests, None, told).unwrap();
        generation.set_constraint(Some(Box::new(Even { last: 0, fails })));
        generation.append_ids(&ids(&model.prompt)).unwrap();
        if fails {
            assert_eq!(generation.step().unwrap_err().kind(), ErrorKind::Io);
            assert_eq!((generation.position(), generation.generated().id), (0, None));
        }
        ids(&pull(&mut generation).0)
    };
    let given = run(false, 0);
    assert!(given.len() == 40 && given.iter().all(|id| id % 2 == 0), "{given:?}");
    assert!(given.windows(2).all(|pair| pair[0] != 2 || pair[1] == 4), "{given:?}");
    assert_eq!(run(true, 0), given);
    assert_eq!(run(false, 2), given);
}

#[test]
fn what_cannot_be_meant_is_refused_by_both_names() {
    let model = Model::open("llama_gqa");
    let plain = || options(&SamplerOptions::greedy(), 4);
    let sampling = |sampling: SamplerOptions| GenerationOptions { sampling, ..plain() };
    for (options, kind, words) in [
        (
            sampling(SamplerOptions { min_new_tokens: 5, ..SamplerOptions::greedy() }),
            ErrorKind::InvalidArgument,
            &["min_new_tokens is 5", "max_new_tokens, which is 4"][..],
        ),
        (
            sampling(SamplerOptions { forced: vec![1; 5], ..SamplerOptions::greedy() }),
            ErrorKind::InvalidArgument,
            &["forced", "max_new_tokens"],
        ),
        (
            sampling(SamplerOptions { eos: vec![1], ..SamplerOptions::greedy() }),
            ErrorKind::InvalidArgument,
            &["ignore_eos", "eos names 1 tokens"],
        ),
        (
            sampling(SamplerOptions { banned: vec![1 << 20], ..SamplerOptions::greedy() }),
            ErrorKind::OutOfRange,
            &["banned names token 1048576"],
        ),
        (GenerationOptions { logprobs: 1 << 20, ..plain() }, ErrorKind::OutOfRange, &["logprobs"]),
    ] {
        let error = Generation::new(model.whole().requests, None, options).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }
    let error = |requests| Generation::new(requests, None, plain()).unwrap_err().to_string();
    assert!(error(Vec::new()).contains("no requests"));
    assert!(error(model.pipeline(&[0]).requests.split_off(1)).contains("starts at layer 1"));
    assert!(error(model.pipeline(&[0]).requests.drain(..1).collect()).contains("ends at layer 0"));
    let mut generation = Generation::new(model.whole().requests, None, plain()).unwrap();
    assert_eq!(generation.step().unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(generation.append_ids(&[1, 1 << 20]).unwrap_err().kind(), ErrorKind::OutOfRange);
    assert_eq!(generation.append_text("x", true).unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(generation.step().unwrap_err().kind(), ErrorKind::InvalidState, "nothing of a refused prompt is there");
    generation.append_ids(&ids(&model.prompt)).unwrap();
    generation.step().unwrap();
    assert_eq!(generation.append_ids(&[1]).unwrap_err().kind(), ErrorKind::InvalidState);
}
