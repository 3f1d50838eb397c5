//! From config.json to the graph of a range of layers.
//!
//! [`ModelConfig`] holds the few numbers every decoder shares, range-checked. Each family is one file that reads like its
//! paper: what its config keys default to, and what one block computes. It stands in the list of `families`, and nowhere else.

mod activation;
mod boundary;
mod config;
mod experts;
mod families;
mod family;
mod fields;
mod fp8;
mod latent;
mod layers;
mod mamba2;
mod per_layer;
mod plain;
mod range;
mod rope;
mod shared_rows;
mod spellings;
mod text;
mod unsupported;

pub(crate) use boundary::{Boundary, boundary, check_cuts, cut_around, may_end_at};
pub(crate) use config::{ModelConfig, StoredDtype};
pub(crate) use families::ARCHITECTURES;
pub(crate) use family::Encoding;
pub(crate) use range::Range;
pub(crate) use rope::Rope;
pub(crate) use spellings::STACKED_EXPERTS;
#[cfg(test)]
pub(crate) use text::WRAPPERS;

use crate::error::{Result, bail, err};
use crate::graph::{Builder, Graph, Input, Linear, Output, Parts, Role, Value, Weight};
use crate::json;
use families::MINISTRAL;
use family::Architecture;
#[cfg(not(test))]
use family::{Family, Layer};
#[cfg(test)]
pub(crate) use family::{Family, Layer};
use fields::Fields;

/// The architecture that transformers' `AutoModelForCausalLM` takes: that of `model_type`, whatever `architectures` says.
/// Some programs write no `model_type`; then `architectures` decides.
fn architecture(f: Fields) -> Result<&'static Architecture> {
    let classes = f.texts("architectures")?.unwrap_or_default();
    let families = ARCHITECTURES.iter().map(|a| a.model_type);
    let mut known: Vec<_> = families.chain(text::WRAPPERS.iter().map(|w| w.model_type)).collect();
    known.sort_unstable();
    let (known, given) = (known.join(", "), classes.join(", "));
    if f.get("model_type").is_some() {
        let model_type = f.text("model_type")?.unwrap_or_default();
        if model_type == "mistral" && f.has("layer_types") {
            return Ok(&MINISTRAL);
        }
        // Kimi K2 has its own name for it, and a file of code that transformers does not need.
        let model_type = if model_type == "kimi_k2" { "deepseek_v3" } else { model_type };
        return ARCHITECTURES.iter().find(|a| a.model_type == model_type).ok_or_else(|| {
            let name = f.name("model_type");
            err!(Unsupported, "{name} `{model_type}` (architectures: {given}) is not supported (supported: {known})")
        });
    }
    let Some(class) = classes.first() else {
        bail!(Malformed, "{} and architectures are missing; write model_type: one of {known}", f.name("model_type"));
    };
    ARCHITECTURES.iter().find(|a| a.name == *class).ok_or_else(|| {
        let name = f.name("model_type");
        err!(
            Unsupported,
            "{name} is missing, and architectures ({given}) is not supported; supported as model_type: {known}"
        )
    })
}

/// The tensor of the embedding in most families.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The tensor of a head that is not the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";
const HEAD_BIAS: &str = "lm_head.bias";

/// The graph of layers `range` of the model: the embedding in front of the first, norm and output head behind the last.
pub(crate) fn graph(config: &ModelConfig, range: Range) -> Graph {
    let mut g = Builder::new();
    let family = &*config.family;
    let table = |name: &str| Weight::new(name, [config.vocab_size, config.hidden_size]);
    let (input, mut x) = if range.is_first() {
        let x = g.embed(table(config.names.embedding));
        (Input::Ids, family.embedded(&mut g, config, x))
    } else {
        enter(&mut g, &boundary(config, range.start - 1))
    };
    for index in range.start..=range.end {
        x = family.block(&mut g, config, Layer { index, module: config.names.layers, blocks: config.blocks }, x);
    }
    if !range.is_last() {
        g.carry(Role::HiddenStates, x);
        family.leave(&mut g, config, range);
        let output = leave(&mut g, &boundary(config, range.end), &input);
        return g.finish(input, output);
    }
    let x = g.rows(x);
    let x = family.final_norm(&mut g, config, x);
    let head = Linear {
        weight: table(if config.tie_word_embeddings { config.names.embedding } else { HEAD }),
        bias: config.head_bias.then(|| Weight::new(HEAD_BIAS, [config.vocab_size])),
    };
    let logits = g.linear(x, head);
    let logits = family.logits(&mut g, config, logits);
    g.finish(input, Output::Logits(logits))
}

/// What comes in by `boundary`; and its hidden states.
fn enter(g: &mut Builder, boundary: &Boundary) -> (Input, Value) {
    let mut parts = Vec::new();
    for (role, width) in boundary.parts.iter() {
        let value = g.input(*width);
        g.carry(*role, value);
        parts.push((*role, value));
    }
    let hidden = parts.first().map_or(Value::default(), |(_, value)| *value);
    (Input::Parts(parts.into_iter().collect()), hidden)
}

/// What goes out by `boundary`.
fn leave(g: &mut Builder, boundary: &Boundary, input: &Input) -> Output {
    let mut parts = Vec::new();
    for (role, _) in boundary.parts.iter() {
        let Some(value) = g.carried(*role) else { continue };
        // What comes in is nothing that a graph can give as it is.
        let comes_in = matches!(input, Input::Parts(parts) if parts.iter().any(|(_, part)| *part == value));
        parts.push((*role, if comes_in { g.scale(value, 1.0) } else { value }));
    }
    Output::Parts(parts.into_iter().collect::<Parts>())
}

/// Reads config.json.
pub(crate) fn read_config(content: &[u8]) -> Result<ModelConfig> {
    let value = json::parse(content, "config.json")?;
    let whole = Fields::new(&value, "config.json")?;
    let text = text::part(whole)?;
    let fields = text.as_ref().map_or(whole, |config| whole.within(text::CONFIG, config));
    let architecture = architecture(fields)?;
    let mut config = ModelConfig::read(fields, architecture)?;
    config.family = (architecture.family)(fields, &mut config)?;
    config.check()?;
    if config.rms_norm_eps.is_nan() {
        config.rms_norm_eps = config::norm_eps(fields, "rms_norm_eps", 1e-6)?;
    }
    if config.ropes.is_empty() {
        config.ropes = vec![Rope::new(fields, config.head_dim, config.max_positions, config.rope)?];
    }
    config.check_ropes()?;
    Ok(config)
}
