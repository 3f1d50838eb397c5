//! Every key of config.json is honoured, refused by name, or changes nothing in transformers either.
//! `tools/goldens/make_config_goldens.py` makes the answers.

mod verdicts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::common::root;
use ndarray::Array2;
use ortshard::{Engine, EngineOptions, Error, ErrorKind, Input, Logits, Request, RequestOptions, Result, ShardSpec};
use safetensors::SafeTensors;
use serde_json::{Map, Value};
use verdicts::{CLEAR, REFUSED};

fn folder() -> PathBuf {
    root().join("tests/models/configs")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The families that have answers.
fn families() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The cases of one family, an engine, and a place for its folders.
struct Setup {
    family: String,
    golden: Value,
    answers: Vec<u8>,
    prompt: Vec<i64>,
    engine: Engine,
    scratch: tempfile::TempDir,
}

impl Setup {
    fn new(family: &str) -> Self {
        let golden = read(&folder().join(family).join("answers.json"));
        let prompt = golden["prompt"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let answers = std::fs::read(folder().join(family).join("logits.safetensors")).unwrap();
        let (engine, scratch) = (Engine::new(EngineOptions::default()).unwrap(), tempfile::tempdir().unwrap());
        Self { family: family.to_owned(), golden, answers, prompt, engine, scratch }
    }

    /// What all families are asked about, and what this one is. What has a `text_config` is asked about that in cases of its own.
    fn cases(&self) -> Vec<Value> {
        let nested = self.golden["base"].get("text_config").is_some();
        let common = read(&folder().join("cases.json"));
        let common =
            common["cases"].as_array().unwrap().iter().filter(|case| !(nested && case["key"] == "text_config"));
        common.chain(self.golden["cases"].as_array().unwrap()).cloned().collect()
    }

    fn base(&self) -> Map<String, Value> {
        self.golden["base"].as_object().unwrap().clone()
    }

    /// The logits of a folder with this config.json.
    fn logits(&self, config: &[u8]) -> Result<Array2<f32>> {
        let folder_of_case = tempfile::tempdir_in(&self.scratch).unwrap();
        let path = folder_of_case.path();
        std::fs::copy(folder().join(&self.family).join("model.safetensors"), path.join("model.safetensors")).unwrap();
        std::fs::write(path.join("config.json"), config).unwrap();
        let spec = ShardSpec::layers(path.to_str().unwrap(), 0, ShardSpec::LAST);
        let mut request = Request::new(&self.engine.ensure_shard(&spec, None)?, RequestOptions::default())?;
        Ok(request.infer(Input::Ids(&self.prompt), Logits::All)?.values().to_owned())
    }

    /// How far `ours` are from transformers' logits `name`, as a share of the largest.
    fn distance(&self, name: &str, ours: &Array2<f32>) -> f32 {
        let answers = SafeTensors::deserialize(&self.answers).unwrap();
        let theirs = answers.tensor(name).unwrap();
        assert_eq!(theirs.shape(), ours.shape());
        let theirs = theirs.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let (off, scale) = ours.iter().zip(theirs).fold((0.0_f32, 0.0_f32), |(off, scale), (ours, theirs)| {
            (off.max((ours - theirs).abs()), scale.max(theirs.abs()))
        });
        off / scale
    }
}

#[test]
fn every_key_has_a_case() {
    for family in families() {
        let setup = Setup::new(&family);
        let cases = setup.cases();
        let tried: BTreeSet<&str> = cases.iter().map(|case| case["key"].as_str().unwrap()).collect();
        for (version, keys) in setup.golden["keys"].as_object().unwrap() {
            for key in keys.as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
                assert!(tried.contains(key), "{family}: transformers {version} reads {key}, which no case tries");
            }
        }
    }
}

#[test]
fn every_case() {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut unlisted: BTreeSet<&str> = REFUSED.iter().chain(CLEAR).copied().collect();
    for family in families() {
        let setup = Setup::new(&family);
        for case in setup.cases() {
            count += 1;
            wrong.extend(verdict(&setup, &case, &mut unlisted));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(unlisted.is_empty(), "listed for nothing: {unlisted:?}");
}

/// What is wrong with what this library makes of a case, if something is. A list's entry that it needs is no longer `unlisted`.
fn verdict(setup: &Setup, case: &Value, unlisted: &mut BTreeSet<&str>) -> Option<String> {
    let (set, drop) = (case["set"].as_object().unwrap(), case["drop"].as_array().unwrap());
    let name = case["name"].as_str().unwrap();
    let theirs = &setup.golden[setup.golden["oracle"].as_str().unwrap()][name];
    let mut config = setup.base();
    config.extend(set.clone());
    config.retain(|key, _| !drop.contains(&Value::from(key.as_str())));
    let ours = setup.logits(Value::Object(config).to_string().as_bytes());

    let full = format!("{}: {name}", setup.family);
    let mut listed = |list: &[&'static str]| {
        let entry = list.iter().find(|entry| **entry == full || **entry == name);
        entry.is_some_and(|entry| {
            unlisted.remove(entry);
            true
        })
    };
    // Names a key of the case, or the tensor that does not fit it.
    let named = |error: &Error| {
        let message = error.chain();
        let mut keys = set.keys().map(String::as_str).chain(drop.iter().map(|key| key.as_str().unwrap()));
        let sound = matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Malformed | ErrorKind::NotFound);
        sound && (message.contains(": tensor `") || keys.any(|key| message.contains(key)))
    };
    match (&ours, theirs.as_str()) {
        (Ok(ours), Some(theirs)) => {
            let off = setup.distance(theirs, ours);
            (off > 1e-4).then(|| format!("{full}: {off} off"))
        }
        (Ok(_), None) if listed(CLEAR) => None,
        (Err(error), None) if named(error) => None,
        (Err(error), Some(_)) if named(error) && listed(REFUSED) => None,
        (Ok(_), None) => Some(format!("{full}: runs, transformers says {theirs}")),
        (Err(error), _) => Some(format!("{full}: {}, transformers says {theirs}", error.chain())),
    }
}

/// Python writes numbers that JSON does not have; where nobody reads them, they do not matter.
#[test]
fn numbers_that_are_not_finite() {
    let setup = Setup::new("llama");
    let config = Value::Object(setup.base()).to_string();
    let with = |more: &str| setup.logits(config.replacen('{', &format!("{{{more}, "), 1).as_bytes());
    let unread = with(r#""limits": [0.0, Infinity, -Infinity], "jitter": NaN, "far": 1e400"#).unwrap();
    let plain = setup.logits(config.as_bytes()).unwrap();
    assert_eq!(unread, plain);

    for number in ["NaN", "Infinity", "-Infinity", "1e999", r#"{"__float__": "NaN"}"#] {
        let config = config.replace("\"rms_norm_eps\":1e-6", &format!("\"rms_norm_eps\": {number}"));
        let error = setup.logits(config.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let shown = if number.starts_with('{') { "NaN" } else { number };
        assert!(error.chain().ends_with(&format!("config.json: rms_norm_eps is {shown}, not a number")), "{error:?}");
    }
}

#[test]
fn what_is_no_json_says_what_to_do() {
    let setup = Setup::new("llama");
    let refusal = |content: &[u8]| {
        let error = setup.logits(content).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        error.chain()
    };
    let config = Value::Object(setup.base()).to_string();
    let marked = refusal(&[b"\xef\xbb\xbf", config.as_bytes()].concat());
    assert!(
        marked.contains("config.json starts with a byte order mark: save the file as UTF-8 without it"),
        "{marked}"
    );
    let pointer = refusal(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    assert!(pointer.contains("config.json` is a Git LFS pointer") && pointer.contains("git lfs pull"), "{pointer}");
}

/// Which model is meant, and which could be, as messages say it: the families that transformers was asked about, and no other.
#[test]
fn another_model_is_named() {
    let setup = Setup::new("llama");
    let refusal = |model_type: Option<&str>, architectures: &[&str]| {
        let mut config = setup.base();
        config.remove("model_type");
        config.extend(model_type.map(|name| ("model_type".to_owned(), name.into())));
        config.insert("architectures".to_owned(), architectures.into());
        let error = setup.logits(Value::Object(config).to_string().as_bytes()).unwrap_err();
        (error.kind(), error.chain())
    };
    let supported = families().join(", ");
    let (kind, message) = refusal(Some("gpt2"), &["GPT2LMHeadModel"]);
    assert_eq!(kind, ErrorKind::Unsupported);
    let wanted =
        format!("model_type `gpt2` (architectures: GPT2LMHeadModel) is not supported (supported: {supported})");
    assert!(message.ends_with(&wanted), "{message}");
    let (kind, message) = refusal(None, &["GPT2LMHeadModel"]);
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("GPT2LMHeadModel") && message.ends_with(&supported), "{message}");
    let (kind, message) = refusal(None, &[]);
    assert_eq!(kind, ErrorKind::Malformed);
    assert!(
        message.ends_with(&format!("model_type and architectures are missing; write model_type: one of {supported}")),
        "{message}"
    );
}
