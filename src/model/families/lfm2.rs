//! LFM2 and LFM2-MoE (Liquid AI, 2025): short gated convolutions in place of most attention layers, and norms on the heads of the
//! others. In LFM2-MoE all but the first layers have experts.

use std::sync::Arc;

use super::config::norm_eps;
use super::experts::{self, Experts};
use super::family::Encoding;
use super::layers::kinds;
use super::spellings::{LFM2 as NAMES, LFM2_UNBIASED};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::{Activation, ConvShape, Norm, Score};

pub(super) const LFM2: Architecture = Architecture {
    model_type: "lfm2",
    name: "Lfm2ForCausalLM",
    covers: "LFM2 (350M, 700M, 1.2B, 2.6B), LFM2.5",
    honours: &[],
    family,
};

pub(super) const LFM2_MOE: Architecture = Architecture {
    model_type: "lfm2_moe",
    name: "Lfm2MoeForCausalLM",
    covers: "LFM2-8B-A1B",
    honours: &[],
    family: moe_family,
};

const CONV: &str = "conv";
const ATTENTION: &str = "full_attention";

#[derive(Debug)]
struct Lfm2 {
    /// Whether each layer is a convolution.
    convolutions: Vec<bool>,
    /// `conv_L_cache`: tokens that a convolution sees.
    taps: usize,
    /// `conv_bias`: on the convolution and the projections around it.
    bias: bool,
    /// Experts, and the first layer that has some.
    experts: Option<(Experts, usize)>,
}

/// Published files have older names of some keys beside or in place of those that transformers has now.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "intermediate_size", |c| &mut c.intermediate_size, 12_288)?;
    if f.has("block_ff_dim") {
        c.intermediate_size = f.required("block_ff_dim", 1..=1 << 20)?;
    }
    if f.flag("block_auto_adjust_ff_dim")?.unwrap_or(true) {
        adjust(f, c)?;
    }
    let convolutions = if let Some(kinds) = kinds(f, c.layers, &[CONV, ATTENTION, "attention"])? {
        kinds.iter().map(|kind| *kind == 0).collect()
    } else {
        let attend = f.integers("full_attn_idxs", 0..=1 << 20)?;
        (0..c.layers).map(|layer| attend.as_ref().is_some_and(|attend| !attend.contains(&layer))).collect()
    };
    configure(f, c, convolutions, None)
}

/// The MLP's inner width is two thirds of what config.json says, times a factor, and then rounded up.
fn adjust(f: Fields, c: &mut ModelConfig) -> Result<()> {
    let mut inner = (2 * c.intermediate_size) as f64 / 3.0;
    let multiplier = f.positive_or_null("block_ffn_dim_multiplier", 1e3)?;
    if multiplier.is_some() || !f.has("block_ffn_dim_multiplier") {
        inner = multiplier.unwrap_or(1.0) * inner.trunc();
        let multiple = f.integer("block_multiple_of", 1..=1 << 20)?.unwrap_or(256);
        inner = (inner as usize).next_multiple_of(multiple) as f64;
    }
    c.intermediate_size = inner as usize;
    if !(1..=1 << 20).contains(&c.intermediate_size) {
        return Err(f.wrong("block_ffn_dim_multiplier", "such that it gives an inner width of 1 to 1048576"));
    }
    Ok(())
}

/// Two dense layers, then experts that the sigmoids of the router's logits and a bias choose.
fn moe_family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    let count = experts::count(f, ["num_experts"; 2], 32, 1)?;
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], 4, count)?;
    let inner = f.integer("moe_intermediate_size", 1..=experts::MAX_NUMBER)?.unwrap_or(1792);
    let spellings = if f.flag("use_expert_bias")?.unwrap_or(true) { &NAMES } else { &LFM2_UNBIASED };
    let normalise = f.flag("norm_topk_prob")?.unwrap_or(true);
    c.set_default(f, "intermediate_size", |c| &mut c.intermediate_size, 7168)?;
    let experts = Experts {
        score: Score::Sigmoid,
        sum_offset: 1e-6,
        scale: experts::factor(f, "routed_scaling_factor", 1.0)?,
        ..Experts::by_softmax(spellings, [count, top_k, inner], normalise)
    };
    let first = f.integer("num_dense_layers", 0..=1 << 20)?.unwrap_or(2);
    let Some(kinds) = kinds(f, c.layers, &[CONV, ATTENTION, "attention"])? else {
        return Err(f.wrong("layer_types", "a list that says which layers are convolutions"));
    };
    configure(f, c, kinds.iter().map(|kind| *kind == 0).collect(), Some((experts, first)))
}

/// What both have in common.
fn configure(
    f: Fields,
    c: &mut ModelConfig,
    convolutions: Vec<bool>,
    experts: Option<(Experts, usize)>,
) -> Result<Arc<dyn Family>> {
    c.rms_norm_eps = norm_eps(f, "norm_eps", 1e-5)?;
    c.tie_word_embeddings = f.flag("tie_embedding")?.or(f.flag("tie_word_embeddings")?).unwrap_or(true);
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 8)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 128_000)?;
    c.rope.theta = 1_000_000.0;
    let taps = f.integer("conv_L_cache", 2..=64)?.unwrap_or(3);
    let bias = f.flag("conv_bias")?.unwrap_or(false);
    Ok(Arc::new(Lfm2 { convolutions, taps, bias, experts }))
}

impl Lfm2 {
    /// `x + out(C * conv(B * x'))` with `[B, C, x'] = in(norm(x))`.
    fn convolution(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value, n: Value) -> Value {
        let hidden = c.hidden_size;
        let mixed = g.linear(n, layer.linear("conv.in_proj", hidden, 3 * hidden, self.bias));
        let shape = ConvShape {
            row: 3 * hidden,
            channels: hidden,
            taps: self.taps,
            x: 2 * hidden,
            before: Some(0),
            after: Some(hidden),
            activation: None,
        };
        let weight = layer.weight("conv.conv.weight", [hidden, 1, self.taps]).as_matrix();
        let bias = self.bias.then(|| layer.weight("conv.conv.bias", [hidden]));
        let mixed = g.short_conv(mixed, shape, weight, bias);
        g.linear_onto(x, mixed, layer.linear("conv.out_proj", hidden, hidden, self.bias))
    }

    /// `x + out(attention(q(n), k(n), v(n)))` with norms on every query and key head.
    fn attention(g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value, n: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.shape.head_norm = Some(Norm::rms(c.rms_norm_eps));
        attention.query_norm = Some(layer.weight("self_attn.q_layernorm.weight", [c.head_dim]));
        attention.key_norm = Some(layer.weight("self_attn.k_layernorm.weight", [c.head_dim]));
        let qkv = layer.qkv(g, c, n);
        let attended = g.attention(qkv, attention);
        g.linear_onto(x, attended, layer.linear("self_attn.out_proj", c.heads * c.head_dim, c.hidden_size, false))
    }
}

impl Family for Lfm2 {
    fn encode(&self, e: &mut Encoding) {
        e.number(self.convolutions.len());
        self.convolutions.iter().for_each(|is| e.number((*is).into()));
        e.number(self.taps);
        e.number(self.bias.into());
        if let Some((experts, first)) = &self.experts {
            experts.encode(e);
            e.number(*first);
        }
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let n = g.rms_norm(x, &layer.name("operator_norm.weight"), c.rms_norm_eps);
        let is_convolution = self.convolutions.get(layer.index).is_some_and(|is| *is);
        let x = if is_convolution { self.convolution(g, c, layer, x, n) } else { Self::attention(g, c, layer, x, n) };
        let n = g.rms_norm(x, &layer.name("ffn_norm.weight"), c.rms_norm_eps);
        if let Some((experts, _)) = self.experts.as_ref().filter(|(_, first)| layer.index >= *first) {
            return experts.onto(g, c, layer, x, n);
        }
        let linear = |part, input, out| layer.linear(part, input, out, false);
        let (hidden, inner) = (c.hidden_size, c.intermediate_size);
        let (gate, up) = (linear("feed_forward.w1", hidden, inner), linear("feed_forward.w3", hidden, inner));
        let gated = g.gated(n, gate, up, Activation::Silu);
        g.linear_onto(x, gated, linear("feed_forward.w2", inner, hidden))
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        g.rms_norm(x, "model.embedding_norm.weight", c.rms_norm_eps)
    }
}
