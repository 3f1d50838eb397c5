//! Folders for the C tests: a tokenizer with everything around it, and models with one thing wrong each.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::root;
use crate::common::synthetic::Shape;

/// A context whose KV cache no machine has the memory for.
const LONG: u64 = 1 << 31;

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
    edit_json(&copy("long_context").join("config.json"), |config| config["max_position_embeddings"] = json!(LONG));
    edit_header(&copy("missing_tensor").join("model.safetensors"), |header| {
        let tensor = header.as_object_mut().unwrap().remove("model.norm.weight").unwrap();
        header["model.other.weight"] = tensor;
    });
    edit_header(&copy("wrong_shape").join("model.safetensors"), |header| {
        let shape = &mut header["model.norm.weight"]["shape"];
        *shape = json!([shape[0], 1]);
    });
    folder
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
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    edit(&mut header);
    let header = header.to_string().into_bytes();
    let mut edited = (header.len() as u64).to_le_bytes().to_vec();
    edited.extend_from_slice(&header);
    edited.extend_from_slice(&bytes[8 + length..]);
    std::fs::write(path, edited).unwrap();
}
