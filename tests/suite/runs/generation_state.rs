//! A generation goes on from its exported state as if it had never stopped, in another process too, and so does a fork; a state is
//! refused where it does not belong, and changes nothing then.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::common::process::child;
use crate::common::{Model, device, root};
use ortshard::{
    Constraint, Engine, ErrorKind, Finish, Generation, GenerationOptions, Grammar, Request, RequestOptions, Result,
    SamplerOptions, ShardSpec, Tokenizer,
};

const GRAMMAR: &str = r#"\{"animal": "(fox|bear)", "is_big": (true|false), "says": "[a-z ]{5,30}", "legs": 4\}"#;

/// After so many steps a generation is copied.
const STEPS: [usize; 4] = [0, 1, 7, 18];

/// Requests on the model that speaks, cut after its first layer or not.
fn requests(is_cut: bool) -> Vec<Request> {
    let folder = root().join("models/stories");
    let model = folder.to_str().unwrap();
    let specs = if is_cut {
        vec![ShardSpec::layers(model, 0, 0), ShardSpec::layers(model, 1, ShardSpec::LAST)]
    } else {
        vec![ShardSpec::whole(model)]
    };
    let request = |spec: &ShardSpec| {
        let shard = Engine::new(device::options()).unwrap().ensure_shard(spec, None).unwrap();
        Request::new(&shard, RequestOptions { capacity: 400, ..RequestOptions::default() }).unwrap()
    };
    specs.iter().map(request).collect()
}

fn generation(is_cut: bool, options: GenerationOptions) -> Generation {
    let tokenizer = Arc::new(Tokenizer::open(&root().join("models/stories")).unwrap());
    Generation::new(requests(is_cut), Some(tokenizer), options).unwrap()
}

/// One that draws, one that looks back and holds text back, one under a grammar, and one under a grammar that looks back.
fn cases() -> [GenerationOptions; 4] {
    let sampling = SamplerOptions { temperature: 1.2, top_k: 0, seed: 7, ..SamplerOptions::default() };
    let looks_back = SamplerOptions {
        repetition_penalty: 1.3,
        frequency_penalty: 0.3,
        penalty_window: 6,
        no_repeat_ngram: 4,
        min_new_tokens: 3,
        ..sampling.clone()
    };
    let plain = GenerationOptions { sampling, max_new_tokens: 24, ..GenerationOptions::default() };
    let stop = ["a very long stop string", "the end of it", ". The", "\n\n"].map(str::to_owned).to_vec();
    let grammar = Some(Grammar::Regex(GRAMMAR.to_owned()));
    [
        plain.clone(),
        GenerationOptions { sampling: looks_back.clone(), stop: stop.clone(), include_stop: true, ..plain.clone() },
        GenerationOptions { grammar: grammar.clone(), max_new_tokens: 150, ..plain.clone() },
        GenerationOptions {
            sampling: SamplerOptions { no_repeat_ngram: 0, min_new_tokens: 0, ..looks_back },
            grammar,
            stop,
            max_new_tokens: 150,
            ..plain
        },
    ]
}

/// What steps give: each token, the text that it makes certain, and why the text ends.
type Given = (Option<u32>, String, Option<Finish>);

fn step(generation: &mut Generation) -> Given {
    let step = generation.step().unwrap();
    (step.id, step.text.to_owned(), step.finish)
}

/// All that comes, and what comes after one more prompt.
fn rest(generation: &mut Generation) -> Vec<Given> {
    let mut given = Vec::new();
    for turn in 0..2 {
        while given.last().is_none_or(|(_, _, finish): &Given| finish.is_none()) {
            given.push(step(generation));
        }
        if turn == 0 {
            generation.append_text(" And then he said", false).unwrap();
            given.push(step(generation));
        }
    }
    given
}

fn begun(is_cut: bool, options: &GenerationOptions, steps: usize) -> Generation {
    let mut generation = generation(is_cut, options.clone());
    generation.append_text("Once upon a time there was a little", true).unwrap();
    for _ in 0..steps {
        step(&mut generation);
    }
    generation
}

#[test]
fn a_fork_and_another_process_go_on_as_the_original_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = String::new();
    for (case, options) in cases().iter().enumerate() {
        for steps in STEPS {
            let is_cut = steps % 2 == 0;
            let mut original = begun(is_cut, options, steps);
            if steps == 0 {
                original.prefill(3).unwrap();
            }
            let state = original.export_state().unwrap();
            assert_eq!(state.len(), original.state_size().unwrap());
            std::fs::write(folder.path().join(format!("{case} {steps}")), state).unwrap();
            let mut fork = original.fork().unwrap();
            let given = rest(&mut original);
            assert_eq!(rest(&mut fork), given, "a fork, case {case}, {steps} steps");
            writeln!(wanted, "{given:?}").unwrap();
        }
    }
    let folder = folder.path();
    child(module_path!(), "child_goes_on", &[("STATES", folder.to_str().unwrap())]);
    assert_eq!(std::fs::read_to_string(folder.join("given")).unwrap(), wanted);
}

#[test]
#[ignore = "a child's part"]
fn child_goes_on() {
    let folder = std::path::PathBuf::from(std::env::var("STATES").unwrap());
    let mut given = String::new();
    for (case, options) in cases().iter().enumerate() {
        for steps in STEPS {
            let state = std::fs::read(folder.join(format!("{case} {steps}"))).unwrap();
            // Into one that has made steps of its own, too, and with what changes no token.
            let options = GenerationOptions { keep_logits: steps == 7, ..options.clone() };
            let mut generation = begun(steps % 2 == 0, &options, if steps == 18 { 5 } else { 0 });
            generation.import_state(&state).unwrap();
            assert_eq!(generation.export_state().unwrap(), state);
            writeln!(given, "{:?}", rest(&mut generation)).unwrap();
        }
    }
    std::fs::write(folder.join("given"), given).unwrap();
}

/// The rest of a text whose steps come without a pause.
fn undisturbed(options: &GenerationOptions, steps: usize) -> Vec<Given> {
    rest(&mut begun(false, options, steps))
}

#[test]
fn a_state_that_does_not_belong_is_refused_by_name_and_changes_nothing() {
    let [plain, looks_back, under_grammar, _] = cases();
    let state = begun(false, &plain, 4).export_state().unwrap();
    let under = begun(false, &under_grammar, 9).export_state().unwrap();
    let refuses = |options: &GenerationOptions, state: &[u8], kind: ErrorKind, words: &str| {
        let mut generation = begun(false, options, 6);
        let error = generation.import_state(state).unwrap_err();
        assert!(error.kind() == kind && error.chain().contains(words), "{}, not {words}", error.chain());
        assert_eq!(rest(&mut generation), undisturbed(options, 6), "after {words}");
    };
    let belongs = ErrorKind::InvalidArgument;
    refuses(&plain, &under, belongs, "another max_new_tokens");
    let longer = GenerationOptions { max_new_tokens: 150, ..plain.clone() };
    refuses(&longer, &under, belongs, "exported under a grammar, and here is none");
    let other = Grammar::JsonSchema(r#"{"type": "boolean"}"#.to_owned());
    refuses(&GenerationOptions { grammar: Some(other), ..under_grammar.clone() }, &under, belongs, "another grammar");
    let short = GenerationOptions { max_new_tokens: 24, ..under_grammar.clone() };
    refuses(&short, &state, belongs, "exported without a grammar, and here is one");
    refuses(&looks_back, &state, belongs, "another repetition_penalty");
    let seed = SamplerOptions { seed: 8, ..plain.sampling.clone() };
    refuses(&GenerationOptions { sampling: seed, ..plain.clone() }, &state, belongs, "another seed");
    refuses(&GenerationOptions { stop: vec!["x".to_owned()], ..plain.clone() }, &state, belongs, "another stop");
    refuses(&plain, b"", ErrorKind::Malformed, "too few");
    refuses(&plain, &[7; 100], ErrorKind::Malformed, "no exported generation");
    let request = requests(false)[0].export_state().unwrap();
    refuses(&plain, &request, ErrorKind::Malformed, "no exported generation");
    let mut newer = state.clone();
    newer[8] = 99;
    refuses(&plain, &newer, ErrorKind::Unsupported, "version 99");

    // Cut otherwise, and another model or tokenizer.
    let mut cut = begun(true, &plain, 6);
    let error = cut.import_state(&state).unwrap_err();
    assert!(error.chain().contains("of 1 shards, and here are 2"), "{}", error.chain());
    assert_eq!(rest(&mut cut), undisturbed(&plain, 6));
    let tokenizer = Arc::new(Tokenizer::open(&root().join("tests/tokenizers/llama2")).unwrap());
    let options = GenerationOptions { ignore_eos: true, ..plain.clone() };
    let mut other = Generation::new(requests(false), Some(tokenizer), options).unwrap();
    assert!(other.import_state(&state).unwrap_err().chain().contains("another tokenizer"));
    let ids_only = |name: &str| {
        let options = GenerationOptions { ignore_eos: true, ..GenerationOptions::default() };
        Generation::new(Model::open(name).whole().requests, None, options).unwrap()
    };
    let mut other = ids_only("qwen3_16");
    let error = other.import_state(&ids_only("llama_256").export_state().unwrap()).unwrap_err();
    assert!(error.chain().contains("another model"), "{}", error.chain());
}

#[test]
fn no_damaged_byte_is_taken_in() {
    let [_, _, options, _] = cases();
    let state = begun(true, &options, 9).export_state().unwrap();
    let mut generation = begun(true, &options, 2);
    let before = generation.export_state().unwrap();
    let places = (0..state.len()).filter(|place| *place < 1500 || place % 611 == 0 || state.len() - place < 100);
    for place in places {
        let mut damaged = state.clone();
        damaged[place] ^= 1 << (place % 8);
        let kind = generation.import_state(&damaged).unwrap_err().kind();
        assert!([ErrorKind::Malformed, ErrorKind::Unsupported].contains(&kind), "byte {place}");
    }
    for length in (0..state.len()).step_by(997) {
        assert_eq!(
            generation.import_state(&state[..length]).unwrap_err().kind(),
            ErrorKind::Malformed,
            "{length} bytes"
        );
    }
    assert_eq!(generation.export_state().unwrap(), before);
    generation.import_state(&state).unwrap();
}

/// A program's own rule, which cannot be copied.
#[derive(Debug)]
struct Own;

impl Constraint for Own {
    fn mask(&mut self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn advance(&mut self, _: u32) {}
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let [plain, ..] = cases();
    let mut generation = begun(false, &plain, 1);
    generation.set_constraint(Some(Box::new(Own)));
    for error in [generation.fork().map(drop), generation.export_state().map(drop)] {
        let error = error.unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.to_string().contains("constraint"), "{error}");
    }
    // Nor what keeps nothing that could be exported.
    let folder = root().join("models/stories");
    let shard = Engine::new(device::options()).unwrap();
    let shard = shard.ensure_shard(&ShardSpec::whole(folder.to_str().unwrap()), None).unwrap();
    let request = Request::new(&shard, RequestOptions { no_cache: true, ..RequestOptions::default() }).unwrap();
    let generation = Generation::new(vec![request], None, GenerationOptions { ignore_eos: true, ..plain }).unwrap();
    assert_eq!(generation.export_state().unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(generation.state_size().unwrap_err().kind(), ErrorKind::InvalidState);
    assert!(generation.fork().is_ok());
}
