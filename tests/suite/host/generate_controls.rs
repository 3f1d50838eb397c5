//! Every control of `generate` reaches the library, and whatever is wrong on its command line is refused by name.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use super::generate::{Generate, INTERRUPTED, ids};
use crate::c;
use crate::common::{Model, process};
use ortshard::{Bias, Finish, Generation, GenerationOptions, Request, RequestOptions, SamplerOptions};
use serde_json::Value;

const MODEL: &str = "llama_gqa";

/// How many ids are generated.
const COUNT: usize = 24;

/// What the library is asked for, beside what is always asked for.
type Change<'a> = Box<dyn Fn(&mut GenerationOptions) + 'a>;

/// What the library generates after the model's prompt under these options.
fn generated(model: &Model, change: impl Fn(&mut GenerationOptions)) -> (Vec<i64>, Finish) {
    let sampling = SamplerOptions { temperature: 1.5, top_k: 0, eos: vec![2], ..SamplerOptions::default() };
    let mut options = GenerationOptions { sampling, max_new_tokens: COUNT, ..GenerationOptions::default() };
    change(&mut options);
    let requests = vec![Request::new(&model.shard(0, model.layers - 1), RequestOptions::default()).unwrap()];
    let mut generation = Generation::new(requests, None, options).unwrap();
    generation.append_ids(&model.prompt.iter().map(|id| *id as u32).collect::<Vec<_>>()).unwrap();
    let mut ids = Vec::new();
    loop {
        let step = generation.step().unwrap();
        ids.extend(step.id.map(i64::from));
        if let Some(finish) = step.finish {
            return (ids, finish);
        }
    }
}

#[test]
fn every_control_is_the_librarys() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt, n) = (model.path.to_str().unwrap(), c::list(&model.prompt), COUNT.to_string());
    let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", &n, "--temperature", "1.5", "--top-k", "0"];
    let run = |arguments: &[&str]| {
        let answer = generate.json(&[&base, arguments].concat());
        (ids(&answer["ids"]), answer["finish"].as_str().unwrap().to_owned())
    };
    let plain = run(&[]);
    let (first, second) = (plain.0[0], plain.0[1]);
    let (end, pair) = (plain.0[5].to_string(), format!("{first},{second}=-inf"));
    let one = |f: fn(&mut SamplerOptions)| move |o: &mut GenerationOptions| f(&mut o.sampling);
    let cases: Vec<(Vec<&str>, Change)> = vec![
        (vec!["--temperature", "0"], Box::new(one(|s| s.temperature = 0.0))),
        (vec!["--seed", "99"], Box::new(one(|s| s.seed = 99))),
        (vec!["--top-k", "2"], Box::new(one(|s| s.top_k = 2))),
        (vec!["--top-p", "0.3"], Box::new(one(|s| s.top_p = 0.3))),
        (vec!["--min-p", "0.5"], Box::new(one(|s| s.min_p = 0.5))),
        (vec!["--typical-p", "0.3"], Box::new(one(|s| s.typical_p = 0.3))),
        (vec!["--top-n-sigma", "1"], Box::new(one(|s| s.top_n_sigma = 1.0))),
        (vec!["--repetition-penalty", "5"], Box::new(one(|s| s.repetition_penalty = 5.0))),
        (vec!["--presence-penalty", "2"], Box::new(one(|s| s.presence_penalty = 2.0))),
        (vec!["--frequency-penalty", "-2"], Box::new(one(|s| s.frequency_penalty = -2.0))),
        (
            vec!["--frequency-penalty", "-2", "--penalty-window", "3"],
            Box::new(one(|s| (s.frequency_penalty, s.penalty_window) = (-2.0, 3))),
        ),
        (vec!["--no-repeat-ngram", "1"], Box::new(one(|s| s.no_repeat_ngram = 1))),
        (
            vec!["--bias", "7=30.5", "--bias", "8=30.25"],
            Box::new(one(|s| s.biases = vec![Bias { ids: vec![7], bias: 30.5 }, Bias { ids: vec![8], bias: 30.25 }])),
        ),
        (
            vec!["--bias", &pair],
            Box::new(move |o: &mut GenerationOptions| {
                o.sampling.biases = vec![Bias { ids: vec![first as u32, second as u32], bias: f32::NEG_INFINITY }];
            }),
        ),
        (vec!["--banned", "2,3,4,5,6,7,8,9"], Box::new(one(|s| s.banned = (2..10).collect()))),
        (vec!["--forced", "9,8,7"], Box::new(one(|s| s.forced = vec![9, 8, 7]))),
        (vec!["--eos", &end], Box::new(|o: &mut GenerationOptions| o.sampling.eos = vec![end.parse().unwrap()])),
        (
            vec!["--eos", &end, "--min-tokens", "10"],
            Box::new(|o: &mut GenerationOptions| {
                (o.sampling.eos, o.sampling.min_new_tokens) = (vec![end.parse().unwrap()], 10);
            }),
        ),
        (
            vec!["--ignore-eos", "--temperature", "0"],
            Box::new(|o: &mut GenerationOptions| {
                (o.ignore_eos, o.sampling.temperature, o.sampling.eos) = (true, 0.0, Vec::new());
            }),
        ),
    ];
    assert_eq!(plain.0, generated(&model, |_| ()).0);
    for (arguments, change) in cases {
        let (wanted, finish) = generated(&model, change);
        let finish = if finish == Finish::Eos { "eos" } else { "length" };
        assert_eq!(run(&arguments), (wanted, finish.to_owned()), "{arguments:?}");
        assert_ne!(run(&arguments), plain, "{arguments:?} changes nothing here");
    }
}

/// The logits that it writes say which tokens are the most probable, and how probable.
#[test]
fn probabilities_are_those_of_the_logits() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let file = generate.setup.folder.join("logprobs.f32");
    let (path, prompt) = (model.path.to_str().unwrap(), c::list(&model.prompt));
    let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", "1", "--logprobs", "3", "--forced", "11"];
    let answer = generate.json(&[&base[..], &["--logits", file.to_str().unwrap()]].concat());
    let bytes = std::fs::read(file).unwrap();
    let logits = bytes.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().unwrap())));
    let logits: Vec<f64> = logits.collect();
    let all = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let near = |told: &Value, id: usize| (told.as_f64().unwrap() - (logits[id] - all)).abs() < 1e-4;
    let [token] = &answer["logprobs"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert!(token["id"] == 11 && near(&token["logprob"], 11), "{token}");
    let best = token["best"].as_array().unwrap();
    assert_eq!(best.len(), 3);
    for (told, id) in best.iter().zip(order) {
        assert!(told["id"] == id && near(&told["logprob"], id), "{told} {id}");
    }
    let printed = generate.program.output(&base);
    assert_eq!(serde_json::from_str::<Value>(printed.trim_end()).unwrap(), *token);
}

#[test]
fn stop_strings_end_a_story() {
    let generate = Generate::get();
    let (stories, golden) = (c::root().join("models/stories"), story());
    let (prompt, text) = (golden["prompt"].as_str().unwrap(), golden["text"].as_str().unwrap());
    let base = ["--model", stories.to_str().unwrap(), "--prompt", prompt, "--max-tokens", "60"];
    let stop = "had seen a lantern";
    let (before, _) = text.split_once(stop).unwrap();
    let stops = ["--stop", "never said", "--stop", stop];
    let answer = generate.json(&[&base[..], &stops].concat());
    assert_eq!((answer["text"].as_str(), answer["finish"].as_str()), (Some(before), Some("stop")));
    assert_eq!(answer["stop"], stop);
    let kept = generate.program.output(&[&base[..], &stops, &["--include-stop"]].concat());
    assert_eq!(kept, format!("{before}{stop}\n"));
}

/// The text matches the grammar, and ends by itself where that may end.
#[cfg(feature = "grammar")]
#[test]
fn a_grammar_is_kept_to() {
    let generate = Generate::get();
    let stories = c::root().join("models/stories");
    let base = ["--model", stories.to_str().unwrap(), "--prompt", "Once upon a time"];
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let schema = file("schema.json", r#"{"enum": ["lantern", "oak tree"]}"#);
    let grammar = file("two_animals.lark", "start: animal \" and \" animal\nanimal: \"fox\" | \"cat\"\n");
    for (arguments, may_come) in [
        (["--regex", "(yes|no){2}"], &["yesyes", "yesno", "noyes", "nono"][..]),
        (["--json-schema", &schema], &["\"lantern\"", "\"oak tree\""]),
        (["--grammar", &grammar], &["fox and fox", "fox and cat", "cat and fox", "cat and cat"]),
    ] {
        let answer = generate.json(&[&base[..], &arguments].concat());
        assert_eq!(answer["finish"], "eos", "{answer}");
        assert!(may_come.contains(&answer["text"].as_str().unwrap().trim()), "{answer}");
    }
    let (status, message) = generate.failure(&[&base[..], &["--regex", "("]].concat());
    assert!(status == 1 && message.contains("ORTSHARD_ERROR_INVALID_ARGUMENT"), "{message}");
}

#[test]
fn the_standard_input_is_a_prompt() {
    let generate = Generate::get();
    let (stories, golden) = (c::root().join("models/stories"), story());
    let (prompt, text) = (golden["prompt"].as_str().unwrap(), golden["text"].as_str().unwrap());
    let n = golden["greedy_ids"].as_array().unwrap().len().to_string();
    let arguments = ["--model", stories.to_str().unwrap(), "--stdin", "--max-tokens", &n];
    assert_eq!(with_input(generate, &arguments, prompt.as_bytes()), (0, format!("{text}\n"), String::new()));
    let (status, _, message) = with_input(generate, &arguments, b"Once\0upon");
    assert!(status == 1 && message.contains("NUL"), "{message}");
}

/// Exit status, stdout, and stderr without figures.
fn with_input(generate: &Generate, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = generate.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = process::end(child, INTERRUPTED).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let told: String = text(output.stderr).lines().filter(|line| !line.starts_with("load ")).collect();
    (output.status.code().unwrap(), text(output.stdout), told)
}

fn story() -> Value {
    let golden = std::fs::read(c::root().join("tests/models/stories_golden.json")).unwrap();
    serde_json::from_slice::<Value>(&golden).unwrap()[0].take()
}

#[test]
fn tokens_are_chosen_as_the_publisher_says_but_for_what_is_said() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(model.path.join(name), folder.path().join(name)).unwrap();
    }
    let published = r#"{"do_sample": true, "temperature": 1.5, "top_k": 7, "top_p": 0.9, "eos_token_id": 2}"#;
    std::fs::write(folder.path().join("generation_config.json"), published).unwrap();
    let (path, prompt) = (folder.path().to_str().unwrap(), c::list(&model.prompt));
    let run = |arguments: &[&str]| {
        let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", "24", "--ignore-eos"];
        ids(&generate.json(&[&base, arguments].concat())["ids"])
    };
    let explicit = ["--temperature", "1.5", "--top-k", "7", "--top-p", "0.9"];
    assert_eq!(run(&["--published-sampling"]), run(&explicit));
    assert_ne!(run(&["--published-sampling"]), run(&[]));
    for more in [&["--seed", "5"][..], &["--top-k", "2"], &["--banned", "1,2,3,4,5"], &["--temperature", "0"]] {
        assert_eq!(run(&[&["--published-sampling"], more].concat()), run(&[&explicit, more].concat()), "{more:?}");
    }
}

/// All options that help lists, with what it calls their values.
fn listed(generate: &Generate) -> Vec<(String, Option<String>)> {
    let help = generate.program.output(&["--help"]);
    let options = help.lines().filter_map(|line| line.strip_prefix("  --"));
    let listed: Vec<_> = options
        .map(|line| {
            let mut words = line[..20].split_whitespace();
            (format!("--{}", words.next().unwrap()), words.next().map(str::to_owned))
        })
        .collect();
    assert!(listed.len() > 40, "{listed:?}");
    listed
}

#[test]
fn each_option_refuses_what_it_cannot_be_by_name() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let base = ["--model", model.path.to_str().unwrap(), "--prompt-ids", "1"];
    let refused = |arguments: &[&str], name: &str| {
        let (status, message) = generate.failure(&[&base, arguments].concat());
        assert!(status == 2 && message.starts_with("generate: ") && message.contains(name), "{arguments:?}: {message}");
    };
    for (name, value) in listed(generate) {
        match value.as_deref() {
            None => refused(&[&format!("{name}=1")], &name),
            Some("TEXT" | "FILE" | "MODEL" | "R" | "RE") => refused(&[&name], &name),
            Some(_) => {
                refused(&[&name], &name);
                refused(&[&name, "?"], &name);
                refused(&[&format!("{name}=")], &name);
            }
        }
    }
    for (name, values) in [
        ("--top-p", &["-0.1", "1.1", "nan"][..]),
        ("--min-p", &["1.5"]),
        ("--typical-p", &["-1"]),
        ("--top-n-sigma", &["-1", "inf"]),
        ("--repetition-penalty", &["-1"]),
        ("--presence-penalty", &["2.5"]),
        ("--frequency-penalty", &["-2.5"]),
        ("--bias", &["7", "=1", "7=", "7=x", "7,=1"]),
        ("--stop", &[""]),
        ("--seed", &["18446744073709551616", "-1"]),
        ("--max-tokens", &["2147483648"]),
    ] {
        for value in values {
            refused(&[name, value], name);
        }
    }
    refused(&["--wrong"], "--wrong");
    // What contradicts itself: the library's words have the names of the controls.
    refused(&["--banned", "5", "--forced", "5"], "banned");
    refused(&["--bias", "5=1", "--bias", "5=2"], "biases");
    refused(&["--bias", "5=nan"], "biases");
    refused(&["--eos", "5", "--min-tokens", "1", "--forced", "5"], "forced");
    refused(&["--eos", "5", "--ignore-eos"], "--ignore-eos");
    refused(&["--include-stop"], "--include-stop");
    refused(&["--regex", "a", "--grammar", "none"], "--grammar");
    refused(&["--json-schema", "/nonexistent"], "--json-schema");
    refused(&["--regex", "a", "--ignore-eos"], "--regex");
    refused(&["--stdin"], "--stdin");
    refused(&["--chat"], "--chat");
    refused(&["--system", "x"], "--system");
}

/// With `--json` an error is one object on stderr, and stdout has nothing.
#[test]
fn errors_are_objects_where_json_is_wanted() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let path = model.path.to_str().unwrap();
    let error = |arguments: &[&str]| {
        let (status, message) = generate.failure(arguments);
        assert_eq!(message.lines().count(), 1, "{message}");
        let error = serde_json::from_str::<Value>(&message).unwrap()["error"].take();
        assert_eq!(error["exit"], status);
        error
    };
    let wrong = error(&["--model", path, "--seed", "x\"y", "--json"]);
    assert!(wrong["exit"] == 2 && wrong["message"].as_str().unwrap().contains("--seed"), "{wrong}");
    assert_eq!(wrong.get("status"), None);
    let missing = error(&["--json", "--model", "/nonexistent", "--prompt-ids", "1"]);
    assert_eq!((&missing["exit"], &missing["status"]), (&Value::from(1), &Value::from("ORTSHARD_ERROR_NOT_FOUND")));
    assert!(missing["message"].as_str().unwrap().contains("/nonexistent"));
    let memory = error(&["--json", "--model", path, "--prompt-ids", "1", "--memory-limit", "1K"]);
    assert_eq!(memory["status"], "ORTSHARD_ERROR_OUT_OF_MEMORY");
    assert_eq!((&memory["site"], &memory["device"]), (&Value::from("load"), &Value::from("cpu")));
    assert!(memory["requested_bytes"].as_u64().unwrap() > 0);
}
