//! The example programs, run as a user would: the main job from end to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod c;
mod common;

use std::process::Command;
use std::sync::OnceLock;

use c::{Build, Program, Setup};
use common::Model;
use serde_json::Value;

/// Three layers, so that there is something to cut.
const MODEL: &str = "llama_gqa";

struct Generate {
    setup: Setup,
    program: Program,
}

impl Generate {
    /// The compiled program; the tests here run side by side and share it.
    fn get() -> &'static Self {
        static GENERATE: OnceLock<Generate> = OnceLock::new();
        GENERATE.get_or_init(|| {
            let setup = Setup::new(Build::Generate);
            let program = setup.compile_example("generate");
            Self { setup, program }
        })
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.program.output(&[arguments, &["--json"]].concat());
        assert_eq!(printed.lines().count(), 1, "{printed}");
        serde_json::from_str(&printed).unwrap()
    }

    /// Exit status and stderr of a call that fails.
    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(&self.program.path).args(arguments).output().unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

#[test]
fn an_end_of_sequence_id_ends_it_even_without_a_tokenizer() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt) = (model.path.to_str().unwrap(), c::list(&model.prompt));
    // The model's config declares 2, which comes in the middle of the golden ids.
    let end = model.greedy.iter().position(|id| *id == 2).unwrap();
    let answer = generate.json(&["--model", path, "--prompt-ids", &prompt, "--max-tokens", "24"]);
    assert_eq!(ids(&answer["ids"]), model.greedy[..=end]);
}

#[test]
fn the_same_ids_from_every_cut() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt, n) = (model.path.to_str().unwrap(), c::list(&model.prompt), model.greedy.len().to_string());
    let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", &n, "--ignore-eos"];
    for (cut, shards) in [
        (&[][..], "[[0,2]]"),
        (&["--shards", "2"], "[[0,0],[1,2]]"),
        (&["--shards", "3"], "[[0,0],[1,1],[2,2]]"),
        (&["--split", "1"], "[[0,1],[2,2]]"),
        (&["--split", "0,1", "--threads", "1", "--device", "cpu", "--precision", "exact"], "[[0,0],[1,1],[2,2]]"),
    ] {
        let answer = generate.json(&[&base, cut].concat());
        assert_eq!(ids(&answer["prompt_ids"]), model.prompt);
        assert_eq!(ids(&answer["ids"]), model.greedy);
        assert_eq!(answer["shards"].to_string(), shards);
        assert_eq!((&answer["text"], &answer["device"]), (&Value::from(""), &Value::from("cpu")));
        assert!(answer["runtime"].as_str().unwrap().starts_with("1."));
        assert!(["load_s", "prefill_s", "decode_s"].iter().all(|key| answer[key].as_f64().unwrap() > 0.0));
        assert!(answer["peak_rss_bytes"].as_u64().unwrap() > 1 << 20);
    }
    let printed = generate.program.output(&base);
    assert_eq!(printed.trim_end(), c::list(&model.greedy));
}

#[test]
fn logits_are_written_as_floats() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let file = generate.setup.folder.join("logits.f32");
    let prompt = c::list(&model.prompt);
    let path = model.path.to_str().unwrap();
    let arguments = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", "1"];
    generate.json(&[&arguments[..], &["--logits", file.to_str().unwrap()]].concat());
    let bytes = std::fs::read(file).unwrap();
    let logits: Vec<f32> = bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
    assert_eq!(best as i64, model.greedy[0]);
}

#[test]
fn it_stops_where_the_model_ends() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let path = model.path.to_str().unwrap();
    // 256 positions: 250 are the prompt, 6 more can be taken in, and the last of them gives a seventh.
    let prompt = c::list(&vec![1; 250]);
    let answer = generate.json(&["--model", path, "--prompt-ids", &prompt, "--max-tokens", "1000", "--ignore-eos"]);
    assert_eq!(ids(&answer["ids"]).len(), 7);
    let prompt = c::list(&vec![1; 257]);
    let (status, message) = generate.failure(&["--model", path, "--prompt-ids", &prompt]);
    assert!(status == 1 && message.contains("257 tokens") && message.contains("at most 256"), "{message}");
}

#[test]
fn sampling_is_seeded() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt) = (model.path.to_str().unwrap(), c::list(&model.prompt));
    let sample = |seed| {
        let arguments =
            ["--model", path, "--prompt-ids", &prompt, "--temperature", "1.5", "--top-k", "0", "--ignore-eos"];
        ids(&generate.json(&[&arguments[..], &["--max-tokens", "16", "--seed", seed]].concat())["ids"])
    };
    assert_eq!(sample("7"), sample("7"));
    assert_ne!(sample("7"), sample("8"));
}

#[test]
fn mistakes_are_explained() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let path = model.path.to_str().unwrap();
    for arguments in [
        &[][..],
        &["--model", path],
        &["--model", path, "--prompt", "x", "--prompt-ids", "1"],
        &["--model", path, "--prompt-ids", "1,,2"],
        &["--model", path, "--prompt-ids", "1,"],
        &["--model", path, "--prompt-ids", "-1"],
        &["--model", path, "--prompt-ids", "1", "--shards", "0"],
        &["--model", path, "--prompt-ids", "1", "--shards", "4"],
        &["--model", path, "--prompt-ids", "1", "--split", "2"],
        &["--model", path, "--prompt-ids", "1", "--split", "1,0"],
        &["--model", path, "--prompt-ids", "1", "--temperature", "-1"],
        &["--model", path, "--prompt-ids", "1", "--device", "abacus"],
        &["--model", path, "--prompt-ids", "1", "--wrong", "1"],
        &["--model", path, "--prompt-ids", "1", "--seed"],
    ] {
        let (status, message) = generate.failure(arguments);
        assert!(status == 2 && message.starts_with("generate: ") && message.contains("--help"), "{message}");
    }
    for (arguments, words) in [
        (&["--model", "/nonexistent", "--prompt-ids", "1"][..], "/nonexistent"),
        (&["--model", path, "--prompt", "x"], "tokenizer.json"),
        (&["--model", path, "--prompt-ids", "99999"], "99999"),
        (&["--model", path, "--prompt-ids", "1", "--device", "cuda:1"], "cuda:1"),
    ] {
        let (status, message) = generate.failure(arguments);
        assert!(status == 1 && message.contains(words), "{message}");
    }
    let help = generate.program.output(&["--help"]);
    assert!(help.starts_with("usage: generate --model DIR"));
}

/// The trained demo model: text in, text out, and a story that ends by itself.
#[test]
fn stories() {
    let generate = Generate::get();
    let model = c::root().join("models/stories");
    let golden = std::fs::read(c::root().join("tests/models/stories_golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    for story in golden.as_array().unwrap() {
        let (prompt, text) = (story["prompt"].as_str().unwrap(), story["text"].as_str().unwrap());
        let wanted = ids(&story["greedy_ids"]);
        let n = wanted.len().to_string();
        let base = ["--model", model.to_str().unwrap(), "--prompt", prompt, "--max-tokens", &n];
        for cut in [&[][..], &["--shards", "3"]] {
            let answer = generate.json(&[&base, cut].concat());
            assert_eq!(answer["prompt_ids"], story["prompt_ids"]);
            assert_eq!(ids(&answer["ids"]), wanted);
            assert_eq!(answer["text"].as_str(), Some(text));
        }
        let printed = generate.program.output(&base);
        assert_eq!(printed.strip_suffix('\n'), Some(text));
    }
}

#[test]
fn two_shards() {
    let (setup, model) = (Setup::new(Build::TwoShards), Model::open(MODEL));
    let program = setup.compile_example("two_shards");
    let path = model.path.to_str().unwrap();
    let prompt: Vec<String> = model.prompt.iter().map(ToString::to_string).collect();
    let mut arguments = vec![path, "0"];
    arguments.extend(prompt.iter().map(String::as_str));
    let printed = program.output(&arguments);
    assert!(printed.trim_end().ends_with(&format!("next id {}", model.greedy[0])), "{printed}");
}

/// The program that the header shows compiles as it stands, and runs.
#[test]
fn the_example_in_the_header() {
    let setup = Setup::new(Build::HeaderExample);
    let program = setup.compile_source("header_example", &c::header_example());
    let printed = program.output(&[Model::open(MODEL).path.to_str().unwrap()]);
    assert_eq!(printed.split_whitespace().count(), 20, "{printed}");
}
