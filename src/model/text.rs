//! Text parts of larger models: image, audio and text in, text out. Of such a model the language model runs, as a text model.
//!
//! Its config.json is that of the larger model, and has the language model's own under `text_config`. What is missing there has the
//! value of that config's class, and published files leave much out. Of the top level the tied head counts, as below, and what
//! [`unsupported`] refuses. What prefixes the tensors' names have, [`weights`](crate::weights) knows.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::unsupported;
use crate::error::{Result, err};

/// The key that holds it.
pub(super) const CONFIG: &str = "text_config";
/// What [`unsupported`] refuses in a language model's config, and what does not count beside it.
const BESIDE: &[&str] = &[CONFIG, "attention_chunk_size", "attribute_map", "kv_sharing_modes"];
const TIED: &str = "tie_word_embeddings";

/// A larger model whose language model may be one of ours.
pub(crate) struct Wrapper {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// The name of its class in transformers.
    pub name: &'static str,
    /// The published models that it is.
    #[cfg_attr(not(test), expect(dead_code, reason = "the documents are made from it, by a test"))]
    pub covers: &'static str,
    /// The family of its language model.
    text: Text,
    /// Which keys say that the head is the embedding.
    tied: Tied,
    /// Keys of the language model's config that do not count here.
    idle: &'static [&'static str],
}

enum Text {
    /// Always this one.
    Always(&'static str),
    /// What `text_config.model_type` says, this one where it says nothing.
    Said(&'static str),
}

enum Tied {
    /// The top level's, with this default.
    Top(bool),
    /// The language model's own.
    Own,
    /// The top level's or the language model's own.
    Either,
}

use Text::{Always, Said};
use Tied::{Either, Own, Top};

/// Every wrapper.
pub(crate) static WRAPPERS: &[Wrapper] = &[
    Wrapper {
        model_type: "gemma3",
        name: "Gemma3ForConditionalGeneration",
        covers: "Gemma 3 (4B, 12B, 27B), MedGemma",
        text: Always("gemma3_text"),
        tied: Top(true),
        idle: &["final_logit_softcapping"],
    },
    Wrapper {
        model_type: "gemma3n",
        name: "Gemma3nForConditionalGeneration",
        covers: "Gemma 3n (E2B, E4B)",
        text: Always("gemma3n_text"),
        tied: Top(true),
        idle: &[],
    },
    Wrapper {
        model_type: "gemma4",
        name: "Gemma4ForConditionalGeneration",
        covers: "Gemma 4 (E2B, E4B, 26B-A4B, 31B)",
        text: Always("gemma4_text"),
        tied: Top(true),
        idle: &[],
    },
    Wrapper {
        model_type: "internvl",
        name: "InternVLForConditionalGeneration",
        covers: "InternVL 3 and 3.5 (the `-HF` models on Qwen2 and Qwen3)",
        text: Said("qwen2"),
        tied: Top(true),
        idle: &[],
    },
    Wrapper {
        model_type: "llama4",
        name: "Llama4ForConditionalGeneration",
        covers: "Llama 4 (Scout, Maverick)",
        text: Always("llama4_text"),
        tied: Own,
        idle: &[],
    },
    Wrapper {
        model_type: "llava",
        name: "LlavaForConditionalGeneration",
        covers: "LLaVA 1.5, Pixtral 12B as transformers has it",
        text: Said("llama"),
        tied: Either,
        idle: &[],
    },
    Wrapper {
        model_type: "mistral3",
        name: "Mistral3ForConditionalGeneration",
        covers: "Mistral Small 3.1 and 3.2, Ministral 3 (3B, 8B, 14B; in bfloat16)",
        text: Said("mistral"),
        tied: Top(true),
        idle: &[],
    },
    Wrapper {
        model_type: "qwen3_5",
        name: "Qwen3_5ForConditionalGeneration",
        covers: "Qwen3.5, Qwen3.6 and Qwen3.8 (0.8B to 27B)",
        text: Said("qwen3_5_text"),
        tied: Top(false),
        idle: &[],
    },
    Wrapper {
        model_type: "qwen3_5_moe",
        name: "Qwen3_5MoeForConditionalGeneration",
        covers: "Qwen3.5, Qwen3.6 and Qwen3.8 with experts (35B-A3B, 122B-A10B, 397B-A17B)",
        text: Said("qwen3_5_moe_text"),
        tied: Top(false),
        idle: &[],
    },
    Wrapper {
        model_type: "smolvlm",
        name: "SmolVLMForConditionalGeneration",
        covers: "SmolVLM 2",
        text: Said("llama"),
        tied: Top(false),
        idle: &[],
    },
];

/// What the class of a text config says where the file does not: `hidden_size`, `intermediate_size`, `num_hidden_layers`,
/// `num_attention_heads` and `vocab_size`. All other defaults are the families' own.
const DEFAULTS: &[(&str, [u32; 5])] = &[
    ("gemma3_text", [2304, 9216, 26, 8, 262_208]),
    ("gemma3n_text", [2048, 16_384, 35, 8, 262_400]),
    ("gemma4_text", [2304, 9216, 30, 8, 262_144]),
    ("llama", [4096, 11_008, 32, 32, 32_000]),
    ("llama4_text", [5120, 8192, 48, 40, 202_048]),
    ("ministral3", [4096, 14_336, 34, 32, 131_072]),
    ("mistral", [4096, 14_336, 32, 32, 32_000]),
    ("qwen2", [4096, 22_016, 32, 32, 151_936]),
    ("qwen3", [4096, 22_016, 32, 32, 151_936]),
    ("qwen3_5_text", [4096, 12_288, 32, 16, 248_320]),
];
const SHAPE: [&str; 5] = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"];

/// The wrapper that `model_type` names, or, where there is none, `architectures`.
fn wrapper(f: Fields) -> Result<Option<&'static Wrapper>> {
    if f.get("model_type").is_some() {
        let model_type = f.text("model_type")?;
        return Ok(WRAPPERS.iter().find(|wrapper| Some(wrapper.model_type) == model_type));
    }
    let classes = f.texts("architectures")?.unwrap_or_default();
    Ok(WRAPPERS.iter().find(|wrapper| classes.first() == Some(&wrapper.name)))
}

/// The config of the language model as one of its own, if `f` is that of a wrapper.
pub(super) fn part(f: Fields) -> Result<Option<Map<String, Value>>> {
    let Some(wrapper) = wrapper(f)? else { return Ok(None) };
    unsupported::refuse(f, BESIDE)?;
    if f.get("text_encoder").is_some() {
        return Err(f.unsupported("text_encoder", "the language model's config must be the only one of a text"));
    }
    let said = f.object(CONFIG)?.ok_or_else(|| err!(Malformed, "{} is missing", f.name(CONFIG)))?;
    let mut config: Map<String, Value> = said
        .iter()
        .filter(|(key, _)| !wrapper.idle.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    match wrapper.text {
        Always(family) => drop(config.insert("model_type".into(), family.into())),
        Said(family) if !said.has("model_type") => drop(config.insert("model_type".into(), family.into())),
        Said(_) => {}
    }
    let family = config.get("model_type").and_then(Value::as_str);
    if let Some((_, shape)) = DEFAULTS.iter().find(|(known, _)| Some(*known) == family) {
        for (key, default) in SHAPE.into_iter().zip(shape) {
            config.entry(key).or_insert_with(|| (*default).into());
        }
    }
    let tied = match wrapper.tied {
        Top(default) => f.flag(TIED)?.unwrap_or(default),
        Own => {
            f.flag(TIED)?;
            said.flag(TIED)? == Some(true)
        }
        Either => f.flag(TIED)? == Some(true) || said.flag(TIED)? == Some(true),
    };
    config.insert(TIED.into(), tied.into());
    for key in ["dtype", "torch_dtype"] {
        if let Some(dtype) = f.get(key) {
            config.insert(key.into(), dtype.clone());
        }
    }
    Ok(Some(config))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::DEFAULTS;

    /// `tools/goldens/make_config_goldens.py` asks transformers.
    #[test]
    fn defaults_are_those_of_the_classes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/configs/text_defaults.json");
        let classes: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for (family, shape) in DEFAULTS {
            assert_eq!(classes[family], serde_json::json!(shape), "{family}");
        }
    }
}
