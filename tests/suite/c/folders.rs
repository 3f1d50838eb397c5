//! Folders for the C tests: a tokenizer with everything around it, and models with one thing wrong each.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::root;
use crate::common::device;
use crate::common::synthetic::Shape;

/// A context whose KV cache no machine has the memory for; off this library's operators, which need no table of all positions,
/// one whose cache takes gigabytes.
fn long_context() -> u64 {
    if device::native_operators() { 1 << 31 } else { 1 << 22 }
}

/// A text and its ids by [`tokenizer`].
pub(super) fn sample_text() -> (String, Vec<i64>) {
    let golden: Value = read_json(&root().join("tests/tokenizers/qwen/golden.json"));
    let sample = golden["encode"].as_array().unwrap().iter().find(|sample| sample["text"] == "Hello world").unwrap();
    let ids = sample["plain"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    (sample["text"].as_str().unwrap().to_owned(), ids)
}

/// A byte-level tokenizer, two end-of-sequence ids and a small chat template.
pub(super) fn tokenizer(scratch: &Path) -> PathBuf {
    let folder = scratch.join("tokenizer");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(root().join("tests/tokenizers/qwen/tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("generation_config.json"), r#"{"eos_token_id": [5, 7]}"#).unwrap();
    std::fs::write(
        folder.join("chat_template.jinja"),
        "{% for m in messages %}{% if m.role == 'nobody' %}{{ raise_exception('who is nobody?') }}{% endif %}\
         <{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    )
    .unwrap();
    folder
}

/// A small model with room for 10,000 tokens.
pub(super) fn long(scratch: &Path) -> PathBuf {
    let folder = scratch.join("long");
    std::fs::create_dir_all(&folder).unwrap();
    let positions = 10_000;
    Shape { layers: 1, hidden: 64, inner: 64, heads: 2, kv_heads: 2, vocabulary: 64, positions }.write(&folder);
    folder
}

/// Copies of `model`, each broken in the way its name says.
pub(super) fn models(scratch: &Path, model: &Path) -> PathBuf {
    let folder = scratch.join("broken");
    if !model.join("model.safetensors").exists() {
        return folder;
    }
    let copy = |name: &str| {
        let copy = folder.join(name);
        std::fs::create_dir_all(&copy).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(model.join(file), copy.join(file)).unwrap();
        }
        copy
    };
    std::fs::remove_file(copy("no_config").join("config.json")).unwrap();
    std::fs::write(copy("broken_config").join("config.json"), "{\"model_type\": \"llama\", ").unwrap();
    edit_json(&copy("other_architecture").join("config.json"), |config| {
        config["architectures"] = json!(["no_such_architecture"]);
        config["model_type"] = json!("no_such_architecture");
    });
    std::fs::remove_file(copy("no_weights").join("model.safetensors")).unwrap();
    let truncated = copy("truncated_weights").join("model.safetensors");
    let bytes = std::fs::read(&truncated).unwrap();
    std::fs::write(&truncated, &bytes[..bytes.len() - 100]).unwrap();
    edit_json(&copy("long_context").join("config.json"), |config| {
        config["max_position_embeddings"] = json!(long_context());
    });
    edit_header(&copy("missing_tensor").join("model.safetensors"), |header| {
        // Some families call it something else; the programs that look at broken folders are not run on those.
        if let Some(tensor) = header.as_object_mut().unwrap().remove("model.norm.weight") {
            header["model.other.weight"] = tensor;
        }
    });
    edit_header(&copy("wrong_shape").join("model.safetensors"), |header| {
        let shape = &mut header["model.norm.weight"]["shape"];
        *shape = json!([shape[0], 1]);
    });
    hostile_weights(&copy);
    hostile_indexes(&copy);
    hostile_configs(&copy);
    folder
}

/// Weight files as nobody writes them by mistake.
fn hostile_weights(copy: &impl Fn(&str) -> PathBuf) {
    let header = |name: &str, tensor: &str, key: &str, value: Value| {
        edit_header(&copy(name).join("model.safetensors"), |header| header[tensor][key] = value);
    };
    let bytes = |name: &str, content: &[u8]| std::fs::write(copy(name).join("model.safetensors"), content).unwrap();
    let head = |length: u64, text: &[u8]| [&length.to_le_bytes(), text].concat();
    bytes("weights_empty", b"");
    bytes("weights_header_endless", &head(u64::MAX, b"{}"));
    bytes("weights_header_long", &head(1 << 40, b"{}"));
    bytes("weights_header_not_json", &head(8, b"{{{{{{{{"));
    bytes("weights_header_not_utf8", &head(8, b"{\"\xff\xfe\"}  "));
    bytes("weights_header_deep", &head(100_000, "[".repeat(100_000).as_bytes()));
    header("weights_beyond", "model.norm.weight", "data_offsets", json!([1_u64 << 62, (1_u64 << 62) + 80]));
    header("weights_backwards", "model.norm.weight", "data_offsets", json!([118_960, 118_880]));
    header("weights_overlap", "model.norm.weight", "data_offsets", json!([0, 80]));
    header("weights_negative", "model.norm.weight", "data_offsets", json!([-80, 0]));
    header("weights_overflow", "model.norm.weight", "shape", json!([1_u64 << 33, 1_u64 << 33]));
    header("weights_dtype", "model.norm.weight", "dtype", json!("I16"));
    let secret = copy("secret").join("model.safetensors");
    let link = copy("weights_link").join("model.safetensors");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(secret, link).unwrap();
}

/// Indexes that name what no model may name.
fn hostile_indexes(copy: &impl Fn(&str) -> PathBuf) {
    // Beside a file of all weights an index would not be looked at.
    let bytes = |name: &str, content: &[u8]| {
        let folder = copy(name);
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("model.safetensors.index.json"), content).unwrap();
    };
    let index = |name: &str, text: &str| bytes(name, text.as_bytes());
    let all_in = |file: Value| {
        let bytes = std::fs::read(copy("secret").join("model.safetensors")).unwrap();
        let (header, _) = split(&bytes);
        let names = header.as_object().unwrap().keys();
        json!({ "weight_map": names.map(|name| (name.clone(), file.clone())).collect::<serde_json::Map<_, _>>() })
            .to_string()
    };
    index("index_up", &all_in(json!("../secret/model.safetensors")));
    index("index_absolute", &all_in(json!("/etc/passwd")));
    index("index_number", &all_in(json!(7)));
    index("index_folder", &all_in(json!("..")));
    index("index_missing", &all_in(json!("nowhere.safetensors")));
    index("index_not_json", "{\"weight_map\": ");
    bytes("index_not_utf8", b"{\"weight_map\": {\"\xff\": 1}}");
    index("index_list", "{\"weight_map\": []}");
    index("index_deep", &"{\"weight_map\":".repeat(100_000));
    index("index_empty", "{\"weight_map\": {}}");
    let secret = copy("secret").join("model.safetensors");
    let link = copy("index_link").join("link.safetensors");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(secret, link).unwrap();
    index("index_link", &all_in(json!("link.safetensors")));
}

/// Numbers that would end the process in code that trusts them, and text that is no config at all.
fn hostile_configs(copy: &impl Fn(&str) -> PathBuf) {
    let number = |name: &str, key: &str, value: Value| {
        edit_json(&copy(name).join("config.json"), |config| config[key] = value);
    };
    number("config_layers", "num_hidden_layers", json!(1_000_000_000));
    number("config_kv_heads", "num_key_value_heads", json!(1_u64 << 40));
    number("config_heads", "num_attention_heads", json!(0));
    number("config_width", "hidden_size", json!(-40));
    number("config_head_dim", "head_dim", json!(u64::MAX));
    number("config_vocabulary", "vocab_size", json!(1e300));
    number("config_intermediate", "intermediate_size", json!("72"));
    number("config_positions", "max_position_embeddings", json!(1_u64 << 63));
    number("config_window", "sliding_window", json!(-1));
    number("config_theta", "rope_parameters", json!({"rope_type": "default", "rope_theta": 0}));
    number("config_epsilon", "rms_norm_eps", json!(-1e-6));
    number("config_rope", "rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e6, "factor": -1}));
    let text = |name: &str, content: &[u8]| std::fs::write(copy(name).join("config.json"), content).unwrap();
    text("config_deep", "[".repeat(100_000).as_bytes());
    text("config_not_utf8", b"{\"architectures\": [\"\xff\xfe\"]}");
    text("config_list", b"[]");
    text("config_empty", b"");
    let secret = copy("secret").join("config.json");
    let link = copy("config_link").join("config.json");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(secret, link).unwrap();
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = read_json(path);
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// A safetensors file is the length of its JSON header as 8 bytes, the header, the data.
fn edit_header(path: &Path, edit: impl FnOnce(&mut Value)) {
    let bytes = std::fs::read(path).unwrap();
    let (mut header, data) = split(&bytes);
    edit(&mut header);
    let header = header.to_string().into_bytes();
    let mut edited = (header.len() as u64).to_le_bytes().to_vec();
    edited.extend_from_slice(&header);
    edited.extend_from_slice(data);
    std::fs::write(path, edited).unwrap();
}

fn split(file: &[u8]) -> (Value, &[u8]) {
    let (header, data) = file[8..].split_at(u64::from_le_bytes(file[..8].try_into().unwrap()) as usize);
    (serde_json::from_slice(header).unwrap(), data)
}
