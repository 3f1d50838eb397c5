//! Gemma 4 (Gemma team, 2026): Gemma 3 with norms on values, wider heads in the layers without a window, and a factor that each layer
//! has learned. The small models add per-layer embeddings and layers that read the keys and values of an earlier one; another one, a
//! layer of experts beside each MLP.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value as Json, json};

use super::activation::{self, activation};
use super::config::{MAX_HEAD_DIM, MAX_HEADS, MAX_POSITIONS, MAX_WIDTH};
use super::experts::{Experts, MAX_EXPERTS, MAX_NUMBER};
use super::family::Encoding;
use super::layers::layer_types;
use super::per_layer::{self, PerLayer};
use super::rope::{KINDS_WITH_PROPORTIONAL, Rope, RopeDefaults};
use super::shared_rows::SharedRows;
use super::spellings;
use super::{Architecture, Boundary, Family, Fields, Layer, ModelConfig, Range};
use crate::error::{Result, bail, err};
use crate::graph::{Builder, Role, Value};
use crate::kernels::{Activation, Norm, Window};

pub(super) const GEMMA4: Architecture = Architecture {
    model_type: "gemma4_text",
    name: "Gemma4ForCausalLM",
    covers: "Gemma 4, text-only",
    honours: &["per_layer_config"],
    family,
};

/// Where the rotations stand in [`ModelConfig::ropes`].
const FULL: usize = 0;
const SLIDING: usize = 1;
/// What config.json calls both kinds of layers.
const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

#[derive(Debug)]
struct Gemma4 {
    activation: Activation,
    /// Of the layers without a window. The model's own numbers are those of the others.
    full: Heads,
    /// Whether those layers have values, and not keys alone, which are the values as well.
    has_values: bool,
    shared: SharedRows,
    /// Whether the MLP is twice as wide in layers that read another one's keys and values.
    doubles: bool,
    per_layer: Option<PerLayer>,
    experts: Option<Experts>,
    /// `final_logit_softcapping`.
    logit_cap: Option<f32>,
}

/// What the keys and values of a layer look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heads {
    kv_heads: usize,
    head_dim: usize,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    if !matches!(f.text_or_null("use_bidirectional_attention")?, None | Some("vision")) {
        return Err(f.unsupported("use_bidirectional_attention", "a token attends to those before it alone"));
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 256)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);

    let slides = slides(f, c.layers)?;
    let window = Window::Sliding(f.integer("sliding_window", 1..=MAX_POSITIONS)?.unwrap_or(512));
    c.windows = slides.iter().map(|slides| slides.then_some(window)).collect();
    let keys_are_values = f.flag("attention_k_eq_v")?.unwrap_or(false);
    let full = full_heads(f, c, &slides, keys_are_values)?;
    c.ropes = vec![rope(f, c, FULL, full.head_dim, &slides)?, rope(f, c, SLIDING, c.head_dim, &slides)?];
    Ok(Arc::new(Gemma4 {
        activation: activation(f, "hidden_activation", Activation::GeluTanh)?,
        full,
        has_values: !keys_are_values,
        shared: SharedRows::read(f, &slides, 0)?,
        doubles: f.flag("use_double_wide_mlp")?.unwrap_or(false),
        per_layer: per_layer(f, c)?,
        experts: experts_of(f)?,
        logit_cap: f.positive_or_null("final_logit_softcapping", 1e9)?.map(|cap| cap as f32),
    }))
}

/// Whether each layer has a window: five of six by default, and the last one never.
fn slides(f: Fields, layers: usize) -> Result<Vec<bool>> {
    let given = layer_types(f, layers)?;
    let mut slides = given.unwrap_or_else(|| (1..=layers).map(|layer| !layer.is_multiple_of(6)).collect());
    if let Some(last) = slides.last_mut().filter(|last| **last) {
        log::warn!("{}: the last layer has no window, as in transformers", f.name("layer_types"));
        *last = false;
    }
    Ok(slides)
}

/// The heads of layers without a window: under keys of their own, as published, or layer by layer, as transformers 5 writes them.
fn full_heads(f: Fields, c: &ModelConfig, slides: &[bool], keys_are_values: bool) -> Result<Heads> {
    const EACH: &str = "per_layer_config";
    const KV_HEADS: &str = "num_global_key_value_heads";
    let own = Heads { kv_heads: c.kv_heads, head_dim: c.head_dim };
    if !f.has(EACH) {
        let head_dim = f.integer("global_head_dim", 1..=MAX_HEAD_DIM)?.unwrap_or(512);
        // Others have as many as the layers with a window, whatever is written.
        let kv_heads = if keys_are_values { f.integer_or_null(KV_HEADS, 1..=MAX_HEADS)? } else { None };
        let full = Heads { kv_heads: kv_heads.unwrap_or(c.kv_heads), head_dim };
        check_heads(f, c, full, ["global_head_dim", KV_HEADS])?;
        return Ok(full);
    }
    let mut each = vec![own; slides.len()];
    let given = f.object(EACH)?;
    for (name, _) in given.iter().flat_map(Fields::iter) {
        let place = name.parse().ok().and_then(|index: usize| each.get_mut(index));
        let (Some(heads), Some(layer)) = (place, given.map_or(Ok(None), |given| given.object(name))?) else {
            return Err(f.wrong(EACH, &format!("an object with the numbers of some of {} layers", slides.len())));
        };
        if let Some((key, _)) = layer.iter().find(|(key, _)| !matches!(&***key, "head_dim" | "num_key_value_heads")) {
            return Err(layer.unsupported(key, "layers may differ in head_dim and num_key_value_heads"));
        }
        heads.head_dim = layer.integer("head_dim", 1..=MAX_HEAD_DIM)?.unwrap_or(own.head_dim);
        heads.kv_heads = layer.integer("num_key_value_heads", 1..=MAX_HEADS)?.unwrap_or(own.kv_heads);
    }
    let of = |kind: bool| each.iter().zip(slides).filter(move |(_, slides)| **slides == kind).map(|(heads, _)| *heads);
    let full = of(false).next().unwrap_or(own);
    if of(true).any(|heads| heads != own) || of(false).any(|heads| heads != full) {
        return Err(
            f.unsupported(EACH, "all layers without a window are alike, and the others as the model's own numbers")
        );
    }
    check_heads(f, c, full, [EACH; 2])?;
    Ok(full)
}

fn check_heads(f: Fields, c: &ModelConfig, heads: Heads, [dim, kv]: [&str; 2]) -> Result<()> {
    if !heads.head_dim.is_multiple_of(2) || (c.heads * heads.head_dim) as u64 > MAX_WIDTH {
        bail!(Malformed, "{}: heads of {} values are odd or too wide", f.name(dim), heads.head_dim);
    }
    if heads.kv_heads != c.kv_heads && !c.heads.is_multiple_of(heads.kv_heads) {
        bail!(Malformed, "{}: {} does not divide num_attention_heads {}", f.name(kv), heads.kv_heads, c.heads);
    }
    Ok(())
}

/// The rotation of the layers of one kind. Where config.json has none at all, a quarter of each head without a window is rotated.
fn rope(f: Fields, c: &ModelConfig, kind: usize, head_dim: usize, slides: &[bool]) -> Result<Rope> {
    static DEFAULTS: LazyLock<[Map<String, Json>; 2]> = LazyLock::new(|| {
        let full = json!({"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6});
        let sliding = json!({"rope_type": "default", "rope_theta": 1e4});
        [full, sliding].map(|object| object.as_object().cloned().unwrap_or_default())
    });
    const KEY: &str = "rope_parameters";
    if f.has("rope_scaling") {
        return Err(f.unsupported("rope_scaling", "each kind of layer has its own, in rope_parameters"));
    }
    let all = f.object(KEY)?;
    let own = all.map_or(Ok(None), |all| all.object(KINDS[kind]))?;
    let is_needed = slides.contains(&(kind == SLIDING));
    if all.is_some() && is_needed && !own.is_some_and(|own| own.has("rope_theta")) {
        bail!(Malformed, "{}.{} has no rope_theta", f.name(KEY), KINDS[kind]);
    }
    let defaults = RopeDefaults {
        kinds: KINDS_WITH_PROPORTIONAL,
        object: Some(&DEFAULTS[kind]).filter(|_| own.is_none()),
        ..RopeDefaults::default()
    };
    Rope::of_layers(f, KINDS[kind], head_dim, c.max_positions, defaults)
}

/// The per-layer embeddings, in the small models.
fn per_layer(f: Fields, c: &ModelConfig) -> Result<Option<PerLayer>> {
    let per_layer = PerLayer::read(f, c, false)?;
    if let Some(PerLayer { vocabulary, .. }) = per_layer
        && vocabulary < c.vocab_size
    {
        let (name, all) = (f.name(per_layer::ROWS), c.vocab_size);
        bail!(Unsupported, "{name} is {vocabulary}: some of vocab_size {all} tokens would have no row");
    }
    Ok(per_layer)
}

/// The experts beside each MLP, if there are some.
fn experts_of(f: Fields) -> Result<Option<Experts>> {
    if f.flag("enable_moe_block")? != Some(true) {
        return Ok(None);
    }
    let wanted = |key, found: Option<usize>| {
        found.ok_or_else(|| err!(Malformed, "{} is missing, which enable_moe_block wants", f.name(key)))
    };
    let count = wanted("num_experts", f.integer("num_experts", 1..=MAX_EXPERTS)?)?;
    let top_k = wanted("top_k_experts", f.integer("top_k_experts", 1..=MAX_NUMBER)?)?;
    if top_k > count {
        bail!(Malformed, "{} is {top_k}, more than the {count} experts that a layer has", f.name("top_k_experts"));
    }
    let inner = wanted("moe_intermediate_size", f.integer("moe_intermediate_size", 1..=MAX_NUMBER)?)?;
    let activation = activation(f, "hidden_activation", Activation::GeluTanh)?;
    let experts = Experts::by_softmax(&spellings::GEMMA4, [count, top_k, inner], true);
    Ok(Some(Experts { sum_offset: 0.0, activation, ..experts }))
}

impl Gemma4 {
    /// The model's numbers as they are for `layer`.
    fn config_of(&self, c: &ModelConfig, layer: Layer) -> ModelConfig {
        let mut own = c.clone();
        if c.windows[layer.index].is_none() {
            (own.kv_heads, own.head_dim) = (self.full.kv_heads, self.full.head_dim);
        }
        if self.doubles && self.shared.is_reader(layer) {
            own.intermediate_size *= 2;
        }
        own
    }

    /// `x + norm(attention(norm(x)))`.
    fn attention(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let is_full = c.windows[layer.index].is_none();
        let mut attention = layer.attention_with_head_norms(c);
        attention.rope = if is_full { FULL } else { SLIDING };
        attention.border = c.ropes[attention.rope].border();
        attention.shape.rotary_pairs = c.ropes[attention.rope].pairs();
        attention.shape.scale = 1.0;
        let normed = norm(g, c, layer, "input_layernorm", x);
        let attended = self.shared.attended(g, c, layer, attention, normed, self.has_values || !is_full);
        let attended = g.linear(attended, layer.o_proj(c));
        let attended = norm(g, c, layer, "post_attention_layernorm", attended);
        g.add(x, attended, 1.0)
    }

    /// `x + norm(mlp(norm(x)))`, or `x + norm(norm(mlp(norm(x))) + norm(experts(x)))`.
    fn feed_forward(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let normed = norm(g, c, layer, "pre_feedforward_layernorm", x);
        let gated = layer.gated(g, c, normed, self.activation);
        let mut y = g.linear(gated, layer.down_proj(c));
        if let Some(experts) = &self.experts {
            let dense = norm(g, c, layer, "post_feedforward_layernorm_1", y);
            let routed = routed(g, c, layer, experts, x);
            y = g.add(dense, routed, 1.0);
        }
        let y = norm(g, c, layer, "post_feedforward_layernorm", y);
        g.add(x, y, 1.0)
    }
}

impl Family for Gemma4 {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
        for number in [self.full.kv_heads, self.full.head_dim, self.has_values.into(), self.doubles.into()] {
            e.number(number);
        }
        self.shared.encode(e);
        e.float(self.logit_cap.unwrap_or(0.0));
        e.number(self.per_layer.is_some().into());
        self.per_layer.iter().for_each(|per_layer| per_layer.encode(e));
        e.number(self.experts.is_some().into());
        self.experts.iter().for_each(|experts| experts.encode(e));
    }

    /// Times the root of its width.
    fn embedded(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        let x = g.scale(x, (c.hidden_size as f64).sqrt() as f32);
        if let Some(per_layer) = &self.per_layer {
            per_layer.embed(g, c, x);
        }
        x
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let c = &self.config_of(c, layer);
        let x = self.attention(g, c, layer, x);
        let mut x = self.feed_forward(g, c, layer, x);
        if let Some(per_layer) = &self.per_layer {
            let y = per_layer.gated(g, c, layer, x, self.activation);
            x = g.add(x, y, 1.0);
        }
        g.scale_columns(x, layer.weight("layer_scalar", [1]))
    }

    fn boundary(&self, c: &ModelConfig, layer: usize) -> Boundary {
        let hidden = (Role::HiddenStates, c.hidden_size);
        let inputs = self.per_layer.as_ref().map(|it| (Role::PerLayerInputs, it.width_behind(c, layer)));
        let parts = std::iter::once(hidden).chain(inputs).collect();
        Boundary { parts, refused: self.shared.refused_behind(layer) }
    }

    fn leave(&self, g: &mut Builder, c: &ModelConfig, range: Range) {
        if let Some(per_layer) = &self.per_layer {
            per_layer.leave(g, c, range);
        }
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        self.logit_cap.map_or(logits, |cap| g.soft_cap(logits, cap))
    }
}

/// What experts make of `x`; the router reads it under a norm of its own.
fn routed(g: &mut Builder, c: &ModelConfig, layer: Layer, experts: &Experts, x: Value) -> Value {
    let scale = layer.weight("router.scale", [c.hidden_size]);
    let scored = g.norm(x, Norm::rms(c.rms_norm_eps), Some(scale), None);
    let scored = g.scale(scored, (c.hidden_size as f64).powf(-0.5) as f32);
    let normed = norm(g, c, layer, "pre_feedforward_layernorm_2", x);
    let y = experts.routed(g, c, layer, scored, normed, None);
    norm(g, c, layer, "post_feedforward_layernorm_2", y)
}

/// The norm `part` of a layer.
fn norm(g: &mut Builder, c: &ModelConfig, layer: Layer, part: &str, x: Value) -> Value {
    g.rms_norm(x, &layer.name(&format!("{part}.weight")), c.rms_norm_eps)
}
