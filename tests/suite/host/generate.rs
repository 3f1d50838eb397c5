//! The example programs do the main job from end to end, as a user runs them.

#[cfg(feature = "download")]
#[allow(dead_code, reason = "the toy hub of the library's own tests")]
#[path = "../../../src/source/testing.rs"]
mod testing;

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::c::{self, Build, Program, Setup};
use crate::common::{Model, process, skipped};
use serde_json::Value;

/// Three layers, so that there is something to cut.
const MODEL: &str = "llama_gqa";

pub(super) struct Generate {
    pub(super) setup: Setup,
    pub(super) program: Program,
}

impl Generate {
    /// The compiled program; the tests here run side by side and share it.
    pub(super) fn get() -> &'static Self {
        static GENERATE: OnceLock<Generate> = OnceLock::new();
        GENERATE.get_or_init(|| {
            let setup = Setup::new(Build::Generate);
            let program = setup.compile_example("generate");
            Self { setup, program }
        })
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        json(&mut self.command(arguments))
    }

    /// Exit status and stderr of a call that fails.
    pub(super) fn failure(&self, arguments: &[&str]) -> (i32, String) {
        failure(&mut self.command(arguments))
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program.path);
        // A device that is not there would be told on stderr.
        command.args(arguments).env_remove("ORTSHARD_DEVICE");
        command
    }

    /// A call whose hub is at `endpoint` and has its cache in `home`.
    #[cfg(feature = "download")]
    fn with_hub(&self, endpoint: &str, home: &std::path::Path, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        let about_hubs = |name: &str| {
            ["HF_", "HUGGING", "TRANSFORMERS_"].iter().any(|begin| name.starts_with(begin))
                || ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].contains(&name.to_uppercase().as_str())
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_hubs)) {
            command.env_remove(name);
        }
        command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint);
        command
    }
}

fn json(command: &mut Command) -> Value {
    let output = c::succeed(command.arg("--json"), "generate");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains('\r'), "progress without a terminal");
    serde_json::from_str(&printed).unwrap()
}

fn failure(command: &mut Command) -> (i32, String) {
    let output = process::output(command);
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

pub(super) fn ids(value: &Value) -> Vec<i64> {
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

/// Layers that share a KV cache stay together: shards are cut where the model can be cut.
#[test]
fn shards_of_a_model_with_few_cuts() {
    let (generate, model) = (Generate::get(), Model::open("gemma4_shared"));
    let (path, prompt, n) = (model.path.to_str().unwrap(), c::list(&model.prompt), model.greedy.len().to_string());
    let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", &n, "--ignore-eos"];
    let answer = generate.json(&[&base[..], &["--shards", "2"]].concat());
    assert_eq!((ids(&answer["ids"]), answer["shards"].to_string()), (model.greedy, "[[0,0],[1,4]]".to_owned()));
    let (code, refused) = generate.failure(&[&base[..], &["--shards", "3"]].concat());
    assert!(code == 2 && refused.contains("fewer places where it can be cut"), "{refused}");
}

/// Of a text that crosses the border between short and long ones the model makes what transformers makes, though it is run in pieces.
#[test]
fn a_text_grows_long() {
    let (generate, model) = (Generate::get(), Model::open("phi3_longrope_16"));
    let golden: Value = serde_json::from_slice(&std::fs::read(model.path.join("golden.json")).unwrap()).unwrap();
    for what in ["crossing", "long"] {
        let [prompt, greedy] = ["prompt_ids", "greedy_ids"].map(|key| ids(&golden[what][key]));
        let (path, prompt, n) = (model.path.to_str().unwrap(), c::list(&prompt), greedy.len().to_string());
        let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", &n, "--ignore-eos"];
        for more in [&[][..], &["--shards", "2"], &["--shards", "2", "--no-cache"]] {
            let answer = generate.json(&[&base, more].concat());
            assert_eq!(ids(&answer["ids"]), greedy, "{what} {more:?}");
        }
    }
}

#[test]
fn every_precision_generates_and_the_cut_does_not_matter() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt) = (model.path.to_str().unwrap(), c::list(&model.prompt));
    for precision in ["int8", "int4-fine", "int4"] {
        let run = |shards| {
            let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", "6", "--ignore-eos"];
            ids(&generate.json(&[&base[..], &["--precision", precision, "--shards", shards]].concat())["ids"])
        };
        let whole = run("1");
        assert_eq!((whole.len(), run("3")), (6, whole));
    }
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
        &["--model", path, "--prompt-ids", "1", "--split", ""],
        &["--model", path, "--prompt-ids", "1", "--split="],
        &["--model", path, "--prompt-ids", "1", "--json=1"],
        &["--model", path, "--prompt-ids", ""],
        &["--model", path, "--prompt-ids", "1", "--temperature", "-1"],
        &["--model", path, "--prompt-ids", "1", "--temperature", "inf"],
        &["--model", path, "--prompt-ids", "1", "--temperature", "1e39"],
        &["--model", path, "--prompt-ids", "1", "--temperature", "nan"],
        &["--model", path, "--prompt-ids", "1", "--device", "abacus"],
        &["--model", path, "--prompt-ids", "1", "--memory-limit", ""],
        &["--model", path, "--prompt-ids", "1", "--memory-limit", "-1"],
        &["--model", path, "--prompt-ids", "1", "--memory-limit", "M"],
        &["--model", path, "--prompt-ids", "1", "--memory-limit", "5MB"],
        &["--model", path, "--prompt-ids", "1", "--memory-limit", "5X"],
        &["--model", path, "--prompt-ids", "1", "--memory-limit", "16777216T"],
        &["--model", path, "--prompt-ids", "1", "--revision"],
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
        (&["--model", path, "--prompt-ids", "1", "--revision", "main"], "no revisions"),
        (&["--model", "no/such/name", "--prompt-ids", "1"], ": no folder `no/such/name` is here"),
    ] {
        let (status, message) = generate.failure(arguments);
        let named = message.starts_with("generate: ORTSHARD_ERROR_");
        assert!(status == 1 && named && message.contains(words), "{message}");
    }
    let help = generate.program.output(&["--help"]);
    assert!(help.starts_with("usage: generate --model MODEL"));
}

/// What works otherwise than asked is told beside the text.
#[test]
fn a_device_that_is_missing_is_told() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let arguments = ["--model", model.path.to_str().unwrap(), "--prompt-ids", "1,2", "--max-tokens", "3"];
    for (device, told) in [("cuda:99", "cuda:99"), ("cpu", "")] {
        let output = process::output(generate.command(&arguments).env("ORTSHARD_DEVICE", device));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && message.contains(told), "{message}");
        assert_eq!(message.contains("using cpu"), !told.is_empty(), "{message}");
    }
}

/// Output that is lost is no success, whatever the output was to be.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let stories = c::root().join("models/stories");
    let ids = ["--model", model.path.to_str().unwrap(), "--prompt-ids", "1,2", "--max-tokens", "3"];
    let text = ["--model", stories.to_str().unwrap(), "--prompt", "Once", "--max-tokens", "3"];
    let json = [&ids[..], &["--json"]].concat();
    let nothing = [&ids[..4], &["--max-tokens", "0"]].concat();
    let two_shards = generate.setup.compile_example("two_shards");
    let devices = generate.setup.compile_example("devices");
    for (program, arguments) in [
        (&generate.program, &ids[..]),
        (&generate.program, &text),
        (&generate.program, &json),
        (&generate.program, &nothing),
        (&generate.program, &["--help"]),
        (&generate.program, &["-h"]),
        (&generate.program, &["--version"]),
        (&two_shards, &[ids[1], "0", "1", "2"]),
        (&devices, &[]),
    ] {
        let quoted = [&[program.path.to_str().unwrap()], arguments]
            .concat()
            .iter()
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>();
        for to in ["> /dev/full", ">&-"] {
            let output = process::output(Command::new("sh").args(["-c", &format!("{} {to}", quoted.join(" "))]));
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {to}: {message}");
            assert!(message.contains("cannot write the output: "), "{arguments:?} {to}: {message}");
        }
    }
}

#[test]
fn options_may_be_written_in_other_ways() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let path = model.path.to_str().unwrap();
    let written =
        [&format!("--model={path}")[..], &format!("--prompt-ids={}", c::list(&model.prompt)), "--max-tokens=4"];
    assert_eq!(ids(&generate.json(&[&written[..], &["--ignore-eos"]].concat())["ids"]), model.greedy[..4]);
    assert_eq!(
        generate.program.output(&["--version"]),
        format!("generate, with ortshard {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(generate.program.output(&["-h"]), generate.program.output(&["--help"]));
}

#[test]
fn a_memory_limit_is_kept_and_running_out_is_explained() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt, n) = (model.path.to_str().unwrap(), c::list(&model.prompt), model.greedy.len().to_string());
    let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", &n, "--ignore-eos"];
    for limit in ["100M", "102400K", "1T", "104857600", "0"] {
        let answer = generate.json(&[&base, &["--memory-limit", limit][..]].concat());
        assert_eq!(ids(&answer["ids"]), model.greedy);
    }
    let out_of_memory = |arguments: &[&str], site: &str, advice: &str| {
        let (status, message) = generate.failure(&[&base, arguments].concat());
        assert_eq!(status, 1);
        let mut lines = message.lines();
        let error = lines.next().unwrap();
        assert!(
            error.starts_with("generate: ORTSHARD_ERROR_OUT_OF_MEMORY: ") && error.contains("memory_limit"),
            "{error}"
        );
        let where_and_what = lines.next().unwrap();
        assert!(where_and_what.starts_with(&format!("generate: site {site}, device cpu, ")), "{where_and_what}");
        assert!(where_and_what.contains(" bytes asked for. ") && where_and_what.contains(advice), "{where_and_what}");
    };
    out_of_memory(&["--memory-limit", "1K"], "load", "--memory-limit");
    // The weights and a run's memory fit, found by halving; 200 tokens of KV cache do not.
    let fits = |limit: u64, more: &[&str]| {
        let limit = limit.to_string();
        process::output(&mut generate.command(&[&base, more, &["--memory-limit", &limit][..]].concat()))
            .status
            .success()
    };
    let (mut low, mut high) = (0, 100 << 20);
    while high - low > 64 {
        let middle = u64::midpoint(low, high);
        if fits(middle, &[]) { high = middle } else { low = middle }
    }
    let limit = high.to_string();
    out_of_memory(&["--memory-limit", &limit, "--max-tokens", "200"], "KV cache", "--no-cache");
}

#[test]
fn without_a_cache_the_ids_are_the_same() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let (path, prompt, n) = (model.path.to_str().unwrap(), c::list(&model.prompt), model.greedy.len().to_string());
    let base = ["--model", path, "--prompt-ids", &prompt, "--max-tokens", &n, "--ignore-eos", "--no-cache"];
    for cut in [&[][..], &["--shards", "2"]] {
        assert_eq!(ids(&generate.json(&[&base, cut].concat())["ids"]), model.greedy);
    }
}

/// A model of the hub by name: fetched once, then used without a network.
#[cfg(feature = "download")]
#[test]
fn a_hub_id_is_fetched_and_then_runs_offline() {
    let generate = Generate::get();
    let stories = c::root().join("models/stories");
    let files =
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let contents: Vec<_> = files.iter().map(|name| (*name, std::fs::read(stories.join(name)).unwrap())).collect();
    let contents: Vec<(&'static str, &[u8])> = contents.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    let hub = testing::Model::new(&contents).serve();
    let home = tempfile::tempdir().unwrap();
    let base = ["--model", "org/toy", "--prompt", "Once upon a time", "--max-tokens", "12"];
    let wanted = json(&mut generate.command(&[&["--model", stories.to_str().unwrap()], &base[2..]].concat()));

    let offline = [&base[..], &["--offline"]].concat();
    let (status, message) = failure(&mut generate.with_hub(&hub.endpoint(), home.path(), &offline));
    assert!(status == 1 && message.starts_with("generate: ORTSHARD_ERROR_OFFLINE: "), "{message}");
    assert!(message.contains("Missing: config.json.") && message.contains("`hf download org/toy`"), "{message}");
    assert_eq!(hub.connections(), 0);

    let fetched = json(&mut generate.with_hub(&hub.endpoint(), home.path(), &[&base[..], &["--shards", "2"]].concat()));
    assert_eq!((&fetched["ids"], &fetched["text"]), (&wanted["ids"], &wanted["text"]));
    for name in files {
        let gets = hub.gets(&format!("/{name}"));
        // Large files are redirected once.
        assert_eq!(gets.len(), 1 + usize::from(name == "model.safetensors"), "{name}: {gets:?}");
    }
    let connections = hub.connections();
    for revision in ["main", testing::COMMIT] {
        let arguments = [&offline[..], &["--revision", revision]].concat();
        let cached = json(&mut generate.with_hub(&hub.endpoint(), home.path(), &arguments));
        assert_eq!((&cached["ids"], &cached["text"]), (&wanted["ids"], &wanted["text"]));
    }
    let mut by_variables = generate.with_hub(&hub.endpoint(), home.path(), &base);
    by_variables.env("HF_HOME", "${BASE}/.").env("BASE", home.path()).env("TRANSFORMERS_OFFLINE", "1");
    assert_eq!(json(&mut by_variables)["text"], wanted["text"]);

    assert_eq!(hub.connections(), connections, "a socket was opened");
    let snapshot = home.path().join("hub/models--org--toy/snapshots").join(testing::COMMIT);
    // Ids need no tokenizer, also where it is not known whether the model has one.
    let (tokenizer, aside) = (snapshot.join("tokenizer.json"), home.path().join("aside"));
    std::fs::rename(&tokenizer, &aside).unwrap();
    let prompt = c::list(&ids(&wanted["prompt_ids"]));
    let by_ids = ["--model", "org/toy", "--offline", "--max-tokens", "12", "--prompt-ids", &prompt];
    let from_ids = json(&mut generate.with_hub(&hub.endpoint(), home.path(), &by_ids));
    assert_eq!((&from_ids["ids"], from_ids["text"].as_str()), (&wanted["ids"], Some("")));
    std::fs::rename(&aside, &tokenizer).unwrap();

    std::fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    let (status, message) = failure(&mut generate.with_hub(&hub.endpoint(), home.path(), &offline));
    assert!(status == 1 && message.contains("Missing: model.safetensors."), "{message}");
    let arguments = [&offline[..], &["--revision", "v2"]].concat();
    let (status, message) = failure(&mut generate.with_hub(&hub.endpoint(), home.path(), &arguments));
    assert!(status == 1 && message.contains("revision v2") && message.contains("config.json"), "{message}");
}

/// Ctrl-C while a file stalls on its way.
#[cfg(feature = "download")]
#[test]
fn an_interrupt_ends_a_download() {
    let generate = Generate::get();
    let config = std::fs::read(c::root().join("models/stories/config.json")).unwrap();
    let hub = testing::Model::new(&[("config.json", &config), ("model.safetensors", &[0; 4096])]);
    let (asked, has_asked) = std::sync::mpsc::channel();
    let server = testing::Server::start(move |request, _| {
        let reply = hub.answer(request);
        if !request.is_get("model.safetensors") || reply.status != 200 {
            return reply;
        }
        asked.send(()).unwrap();
        reply.cut(100).stall(60_000)
    });
    let home = tempfile::tempdir().unwrap();
    let arguments = ["--model", "org/toy", "--prompt-ids", "1"];
    let mut command = generate.with_hub(&server.endpoint(), home.path(), &arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let in_time = has_asked.recv_timeout(INTERRUPTED);
    interrupt(child.id());
    let output = process::end(child, INTERRUPTED).unwrap();
    assert!(in_time.is_ok(), "nothing was asked for: {output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.as_str()), (Some(130), "generate: interrupted\n"));
    assert!(output.stdout.is_empty());
}

/// More than enough for what a person who interrupts would wait for.
pub(super) const INTERRUPTED: Duration = Duration::from_secs(50);

pub(super) fn interrupt(process: u32) {
    c::succeed(Command::new("kill").args(["-INT", &process.to_string()]), "kill");
}

/// Ctrl-C after the first ids: it stops, and prints what there is. There would be a million more.
#[test]
fn an_interrupt_ends_generation() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model.path.join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(model.path.join("config.json")).unwrap();
    let config = config.replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 2000000");
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let path = folder.path().to_str().unwrap();
    let arguments = ["--model", path, "--prompt-ids", "1,2,3", "--max-tokens", "1000000", "--ignore-eos"];
    let mut command = generate.command(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    // Byte by byte, so that the rest is left where it is.
    let (mut first, mut byte) = (Vec::new(), [0]);
    while !first.ends_with(b",") && child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
        first.push(byte[0]);
    }
    interrupt(child.id());
    let output = process::end(child, INTERRUPTED).unwrap();
    assert_eq!(output.status.code(), Some(130));
    let ids = String::from_utf8([first, output.stdout].concat()).unwrap();
    assert!(ids.trim_end().split(',').all(|id| id.parse::<u32>().is_ok()), "{ids}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("tokens/s"));
}

/// On a terminal loading shows what it does, and leaves no trace of it.
#[test]
fn a_terminal_shows_progress() {
    let (generate, model) = (Generate::get(), Model::open(MODEL));
    let terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let (path, program) = (model.path.to_str().unwrap(), generate.program.path.to_str().unwrap());
    let arguments =
        ["-c", terminal, program, "--model", path, "--prompt-ids", "1", "--max-tokens", "1", "--ignore-eos"];
    if !c::is_installed("python3") {
        skipped("python3 is not installed, so there was no terminal to draw on");
        return;
    }
    let output = c::succeed(Command::new("python3").args(arguments).args(["--split", "0"]), "generate on a terminal");
    let shown = String::from_utf8(output.stdout).unwrap();
    for words in
        ["model reads config", "layers 0 to 0 maps weights [", "layers 1 to 2 is ready [####################] 100% "]
    {
        assert!(shown.contains(words), "{shown:?}");
    }
    let left = shown.rsplit("\r\u{1b}[K").next().unwrap();
    assert!(left.contains("tokens/s") && !left.contains('['), "{left:?}");
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

#[test]
fn devices() {
    let program = Setup::new(Build::Devices).compile_example("devices");
    assert!(program.output(&[]).starts_with("cpu:0  "));
    let call = |device| failure(Command::new(&program.path).arg(device));
    assert!(matches!(call("abacus"), (1, message) if message.contains("abacus is none of cpu, cuda, cuda:N, coreml")));
    assert!(matches!(call("cuda:31"), (2, message) if message.contains("device cuda:31 cannot be used")));
}

/// The program that the header shows compiles as it stands, and runs.
#[test]
fn the_example_in_the_header() {
    let setup = Setup::new(Build::HeaderExample);
    let program = setup.compile_source("header_example", &c::header_example());
    let printed = program.output(&[Model::open(MODEL).path.to_str().unwrap()]);
    assert_eq!(printed.split_whitespace().count(), 20, "{printed}");
}
