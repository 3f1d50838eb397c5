//! From config.json to the graph of a range of layers.
//!
//! [`ModelConfig`] holds the few numbers every decoder shares, range-checked. Each architecture is one file that
//! reads like its paper: what its config keys default to, and what one block computes.

mod config;
mod fields;
mod layers;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod rope;
mod unsupported;

pub(crate) use config::{ModelConfig, StoredDtype};
pub(crate) use rope::Rope;

use crate::error::{Result, bail, err};
use crate::graph::{Attention, Builder, Graph, HeadNorm, Input, Linear, Output, Value, Weight};
use crate::json;
use fields::Fields;

/// What one model family does its own way.
struct Architecture {
    /// `model_type` in config.json.
    model_type: &'static str,
    /// The name of its class in transformers.
    name: &'static str,
    /// Reads the keys this family treats in its own way.
    configure: fn(Fields, &mut ModelConfig) -> Result<()>,
    /// Layer `index` applied to `x`.
    block: fn(&mut Builder, &ModelConfig, Range, usize, Value) -> Value,
}

static ARCHITECTURES: &[Architecture] =
    &[llama::LLAMA, mistral::MISTRAL, mistral::MINISTRAL, qwen2::QWEN2, qwen3::QWEN3];

/// The architecture of the class `name`.
fn named(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.name == name)
}

/// The architecture that transformers' `AutoModelForCausalLM` takes: that of `model_type`, whatever `architectures` says.
/// Some programs write no `model_type`; then `architectures` decides.
fn architecture(f: Fields) -> Result<&'static Architecture> {
    let classes = f.texts("architectures")?.unwrap_or_default();
    let known: Vec<_> = ARCHITECTURES.iter().map(|a| a.model_type).collect();
    let (known, given) = (known.join(", "), classes.join(", "));
    if f.get("model_type").is_some() {
        let model_type = f.text("model_type")?.unwrap_or_default();
        if model_type == "mistral" && f.has("layer_types") {
            return Ok(&mistral::MINISTRAL);
        }
        return ARCHITECTURES.iter().find(|a| a.model_type == model_type).ok_or_else(|| {
            let name = f.name("model_type");
            err!(Unsupported, "{name} `{model_type}` (architectures: {given}) is not supported (supported: {known})")
        });
    }
    let Some(class) = classes.first() else {
        bail!(Malformed, "{} and architectures are missing; write model_type: one of {known}", f.name("model_type"));
    };
    named(class).ok_or_else(|| {
        let name = f.name("model_type");
        err!(
            Unsupported,
            "{name} is missing, and architectures ({given}) is not supported; supported as model_type: {known}"
        )
    })
}

/// A contiguous range of layers, `end` **inclusive**.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub start: usize,
    pub end: usize,
    pub layers: usize,
}

impl Range {
    /// The range, if the model has it.
    pub(crate) fn new(start: usize, end: usize, layers: usize) -> Result<Self> {
        if start > end {
            bail!(OutOfRange, "first_layer {start} is after last_layer {end}");
        }
        if end >= layers {
            bail!(OutOfRange, "last_layer {end} is not below the model's {layers} layers (last_layer is inclusive)");
        }
        Ok(Self { start, end, layers })
    }

    /// Whether the shard takes token ids.
    pub(crate) fn is_first(self) -> bool {
        self.start == 0
    }

    /// Whether the shard gives logits.
    pub(crate) fn is_last(self) -> bool {
        self.end + 1 == self.layers
    }

    /// Number of layers.
    pub(crate) fn len(self) -> usize {
        self.end - self.start + 1
    }
}

/// The tensor of the embedding.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The tensor of a head that is not the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// The graph of layers `range` of the model: the embedding in front of the first, norm and head behind the last.
pub(crate) fn graph(config: &ModelConfig, range: Range) -> Result<Graph> {
    let Some(architecture) = named(&config.architecture) else {
        bail!(Internal, "no architecture {}", config.architecture);
    };
    let mut g = Builder::new();
    let table = |name: &str| Weight::new(name, [config.vocab_size, config.hidden_size]);
    let (input, mut x) = if range.is_first() {
        (Input::Ids, g.embed(table(EMBEDDING)))
    } else {
        let x = g.input(config.hidden_size);
        (Input::Hidden(x), x)
    };
    for layer in range.start..=range.end {
        x = (architecture.block)(&mut g, config, range, layer, x);
    }
    if !range.is_last() {
        return Ok(g.finish(input, Output::Hidden(x)));
    }
    let x = g.rows(x);
    let x = g.rms_norm(x, "model.norm.weight", config.rms_norm_eps);
    let head = Linear { weight: table(if config.tie_word_embeddings { EMBEDDING } else { HEAD }), bias: None };
    let logits = g.linear(x, head);
    Ok(g.finish(input, Output::Logits(logits)))
}

/// Reads config.json.
pub(crate) fn read_config(content: &[u8]) -> Result<ModelConfig> {
    let value = json::parse(content, "config.json")?;
    let fields = Fields::new(&value, "config.json")?;
    let architecture = architecture(fields)?;
    let mut config = ModelConfig::read(fields, architecture.name)?;
    (architecture.configure)(fields, &mut config)?;
    config.check()?;
    config.rope = Rope::new(fields, config.head_dim, config.max_positions)?;
    Ok(config)
}

/// The attention every family here shares; `head_norm` names the per-head norms of those that have them.
fn attention(config: &ModelConfig, range: Range, layer: usize, head_norm: Option<HeadNorm>) -> Attention {
    Attention {
        layer,
        cache: layer - range.start,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        rotary_pairs: config.rope.pairs(),
        scale: 1.0 / (config.head_dim as f32).sqrt(),
        window: config.windows.get(layer).copied().flatten(),
        head_norm,
    }
}
