//! Every key of config.json is honoured, refused by name, or changes nothing in transformers either.
//! `tools/goldens/make_config_goldens.py` makes the answers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::common::root;
use ndarray::Array2;
use ortshard::{Engine, EngineOptions, Error, ErrorKind, Input, Logits, Request, RequestOptions, Result, ShardSpec};
use safetensors::SafeTensors;
use serde_json::{Map, Value};

/// Cases that transformers computes, and this library refuses by name. `family: case`, the family where it is one alone.
const REFUSED: &[&str] = &[
    // No kernel has these.
    "hidden_act 'gelu'",
    "hidden_act 'relu'",
    "hidden_act 'gelu_pytorch_tanh'",
    "hidden_activation 'quick_gelu'",
    "hidden_activation 'tanh'",
    // Not read where layer_types decides, but the key means attention that no layer here has.
    "attention_chunk_size 4",
    // Eager attention looks back alone, and other implementations on to what follows.
    "gemma2: use_bidirectional_attention True",
    // They change nothing in this family, where others are not what they were.
    "gemma2: attribute_map {'hidden_act': 'other_act'}",
    "gemma2: attribute_map {'rms_norm_eps': 'pad_token_id'}",
    "qwen3_moe: per_layer_config {'1': {'intermediate_size': 16}}",
    // A cap of nothing or below it, and the root of a number that has none or is no float32.
    "attn_logit_softcapping 0.0",
    "attn_logit_softcapping -1.0",
    "final_logit_softcapping 0.0",
    "final_logit_softcapping -1.0",
    "query_pre_attn_scalar 1000000000000000000000000000000",
    "query_pre_attn_scalar -4",
    // Two numbers of experts, of which the last one written counts; none for a token, where there are some.
    "qwen3_moe: num_local_experts 0",
    "num_experts_per_tok 0",
    // Numbers that Python takes for others: 0 for none, true for 1, -1 for none; and a layer before the first.
    "num_experts -1",
    "decoder_sparse_step -1",
    "decoder_sparse_step -2",
    "mlp_only_layers [-1]",
    "mistral: head_dim 0",
    "llama: sliding_window True",
    "max_window_layers -1 with {'sliding_window': 5, 'use_sliding_window': True}",
];

/// Cases that transformers refuses, and this library runs, since they can mean one thing only.
const CLEAR: &[&str] = &[
    // Then architectures decides.
    "no model_type",
    "model_type None",
    // A whole number is one, however it is written.
    "vocab_size 40.0",
    "hidden_size 16.0",
    "intermediate_size 24.0",
    "num_hidden_layers 3.0",
    "num_attention_heads 2.0",
    "num_key_value_heads 1.0",
    "head_dim 8.0",
    "max_position_embeddings 64.0",
    "sliding_window 5.0",
    "max_window_layers 1.0 with {'sliding_window': 5, 'use_sliding_window': True}",
    "num_experts 4.0",
    "no num_experts with {'num_local_experts': 4.0}",
    "num_experts_per_tok 2.0",
    "moe_intermediate_size 8.0",
    "decoder_sparse_step 2.0",
    "mlp_only_layers [1.0]",
    // And any number may have a fraction or none where it is no count.
    "rms_norm_eps 1",
    "rms_norm_eps 0",
    "attn_logit_softcapping 1",
    "final_logit_softcapping 1",
    "query_pre_attn_scalar 4.0",
    "query_pre_attn_scalar 2.5",
    // Heads are as wide as in all families.
    "ministral: no head_dim",
    "ministral: head_dim None",
    "qwen2: head_dim None",
    "qwen3_moe: head_dim None",
    // What is not said is not so.
    "tie_word_embeddings None",
    "attention_bias None",
    "mlp_bias None",
    "use_sliding_window None with {'sliding_window': 5, 'max_window_layers': 1}",
    "norm_topk_prob None",
    // No layer slides, so none needs a window.
    "mistral: layer_types None",
    "mistral: layer_types ['full_attention', 'full_attention', 'full_attention']",
    "mistral: layer_types ['attention', 'attention', 'attention']",
    // How Python code hands over what it computed.
    "return_dict False",
    "sub_configs {}",
    // No other names than those of the keys; and how attention is computed, where the answer is the same.
    "qwen3_moe: attribute_map {}",
    "gemma2: _attn_implementation 'sdpa'",
];

fn folder() -> PathBuf {
    root().join("tests/models/configs")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

/// The cases, an engine, and a place for the folders of both.
struct Setup {
    golden: Value,
    answers: Vec<u8>,
    prompt: Vec<i64>,
    engine: Engine,
    scratch: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let golden = read("cases.json");
        let prompt = golden["prompt"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let answers = std::fs::read(folder().join("logits.safetensors")).unwrap();
        let (engine, scratch) = (Engine::new(EngineOptions::default()).unwrap(), tempfile::tempdir().unwrap());
        Self { golden, answers, prompt, engine, scratch }
    }

    fn base(&self, family: &str) -> Map<String, Value> {
        self.golden["bases"][family].as_object().unwrap().clone()
    }

    /// The logits of a folder with this config.json.
    fn logits(&self, name: &str, config: &[u8]) -> Result<Array2<f32>> {
        let path = self.scratch.path().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::copy(folder().join("model.safetensors"), path.join("model.safetensors")).unwrap();
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
    let cases = read("cases.json");
    let tried: BTreeSet<&str> =
        cases["cases"].as_array().unwrap().iter().map(|case| case["key"].as_str().unwrap()).collect();
    for (family, versions) in read("keys.json").as_object().unwrap() {
        for (version, keys) in versions.as_object().unwrap() {
            for key in keys.as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
                assert!(tried.contains(key), "{family}: transformers {version} reads {key}, which no case tries");
            }
        }
    }
}

#[test]
fn every_case() {
    let setup = Setup::new();
    let oracle = setup.golden["oracle"].as_str().unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    let mut unlisted: BTreeSet<&str> = REFUSED.iter().chain(CLEAR).copied().collect();
    for case in setup.golden["cases"].as_array().unwrap() {
        let (set, drop) = (case["set"].as_object().unwrap(), case["drop"].as_array().unwrap());
        for (family, theirs) in case[oracle].as_object().unwrap() {
            let mut config = setup.base(family);
            config.extend(set.clone());
            config.retain(|key, _| !drop.contains(&Value::from(key.as_str())));
            let ours = setup.logits(&count.to_string(), Value::Object(config).to_string().as_bytes());
            count += 1;

            let name = format!("{family}: {}", case["name"].as_str().unwrap());
            let mut listed = |list: &[&'static str]| {
                let entry = list.iter().find(|entry| name == **entry || name == format!("{family}: {entry}"));
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
                    if off > 1e-4 {
                        wrong.push(format!("{name}: {off} off"));
                    }
                }
                (Ok(_), None) if listed(CLEAR) => {}
                (Err(error), None) if named(error) => {}
                (Err(error), Some(_)) if named(error) && listed(REFUSED) => {}
                (Ok(_), None) => wrong.push(format!("{name}: runs, transformers says {theirs}")),
                (Err(error), _) => wrong.push(format!("{name}: {}, transformers says {theirs}", error.chain())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(unlisted.is_empty(), "listed for nothing: {unlisted:?}");
}

/// Python writes numbers that JSON does not have; where nobody reads them, they do not matter.
#[test]
fn numbers_that_are_not_finite() {
    let setup = Setup::new();
    let config = Value::Object(setup.base("llama")).to_string();
    let with = |name: &str, more: &str| setup.logits(name, config.replacen('{', &format!("{{{more}, "), 1).as_bytes());
    let unread = with("unread", r#""limits": [0.0, Infinity, -Infinity], "jitter": NaN, "far": 1e400"#).unwrap();
    let plain = setup.logits("plain", config.as_bytes()).unwrap();
    assert_eq!(unread, plain);

    for number in ["NaN", "Infinity", "-Infinity", "1e999", r#"{"__float__": "NaN"}"#] {
        let config = config.replace("\"rms_norm_eps\":1e-6", &format!("\"rms_norm_eps\": {number}"));
        let error = setup.logits(&format!("read{}", number.len()), config.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        let shown = if number.starts_with('{') { "NaN" } else { number };
        assert!(error.chain().ends_with(&format!("config.json: rms_norm_eps is {shown}, not a number")), "{error:?}");
    }
}

#[test]
fn what_is_no_json_says_what_to_do() {
    let setup = Setup::new();
    let refusal = |name: &str, content: &[u8]| {
        let error = setup.logits(name, content).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        error.chain()
    };
    let config = Value::Object(setup.base("llama")).to_string();
    let marked = refusal("mark", &[b"\xef\xbb\xbf", config.as_bytes()].concat());
    assert!(
        marked.contains("config.json starts with a byte order mark: save the file as UTF-8 without it"),
        "{marked}"
    );
    let pointer = refusal("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    assert!(pointer.contains("config.json` is a Git LFS pointer") && pointer.contains("git lfs pull"), "{pointer}");
}

/// Which model is meant, as messages say it.
#[test]
fn another_model_is_named() {
    let setup = Setup::new();
    let refusal = |name: &str, model_type: Option<&str>, architectures: &[&str]| {
        let mut config = setup.base("llama");
        config.remove("model_type");
        config.extend(model_type.map(|name| ("model_type".to_owned(), name.into())));
        config.insert("architectures".to_owned(), architectures.into());
        let error = setup.logits(name, Value::Object(config).to_string().as_bytes()).unwrap_err();
        (error.kind(), error.chain())
    };
    let supported = "gemma2, llama, mistral, ministral, qwen2, qwen3, qwen3_moe";
    let (kind, message) = refusal("both", Some("gpt2"), &["GPT2LMHeadModel"]);
    assert_eq!(kind, ErrorKind::Unsupported);
    let wanted =
        format!("model_type `gpt2` (architectures: GPT2LMHeadModel) is not supported (supported: {supported})");
    assert!(message.ends_with(&wanted), "{message}");
    let (kind, message) = refusal("class", None, &["GPT2LMHeadModel"]);
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(message.contains("GPT2LMHeadModel") && message.ends_with(supported), "{message}");
    let (kind, message) = refusal("neither", None, &[]);
    assert_eq!(kind, ErrorKind::Malformed);
    assert!(
        message.ends_with(&format!("model_type and architectures are missing; write model_type: one of {supported}")),
        "{message}"
    );
}
