//! Keys of config.json, of any family, with which transformers computes something else, and this library would not.
//!
//! All other keys that no code here reads are those with which transformers computes the same as without, which
//! tests/configs.rs shows.

use serde_json::Value;

use super::fields::Fields;
use crate::error::Result;

struct Key {
    name: &'static str,
    /// Whether the value is one that changes nothing.
    idle: fn(&Value) -> bool,
    why: &'static str,
}

const KEYS: &[Key] = &[
    Key { name: "quantization_config", idle: Value::is_null, why: "take the checkpoint that is not quantised" },
    Key { name: "is_causal", idle: |value| value == true, why: "a token attends to those before it alone" },
    Key { name: "attention_chunk_size", idle: Value::is_null, why: "no layer attends in chunks" },
    Key { name: "kv_sharing_modes", idle: Value::is_null, why: "each layer has its own keys and values" },
    Key { name: "per_layer_config", idle: is_empty, why: "all layers have one shape" },
    Key { name: "fusion_config", idle: is_empty, why: "each projection is a tensor of its own" },
    Key { name: "attribute_map", idle: is_empty, why: "write each key by its own name" },
    Key { name: "configuration_files", idle: is_empty, why: "copy the file that is meant over config.json" },
    Key { name: "text_config", idle: Value::is_null, why: TEXT_PART },
    Key { name: "decoder", idle: Value::is_null, why: TEXT_PART },
    Key { name: "generator", idle: Value::is_null, why: TEXT_PART },
];

const TEXT_PART: &str = "the language model must be a model of its own, with its config at the top level";

/// Refuses the first of these keys that is there, but for those that the family `honours`.
pub(super) fn refuse(f: Fields, honours: &[&str]) -> Result<()> {
    let stray = |(name, value): (&String, &Value)| KEYS.iter().find(|key| key.name == name && !(key.idle)(value));
    match f.iter().filter(|(name, _)| !honours.contains(&name.as_str())).find_map(stray) {
        Some(key) => Err(f.unsupported(key.name, key.why)),
        None => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}
