//! Phi-3, Phi-3.5, Phi-4 and Phi-4-mini (Abdin et al., 2024): Llama's block with one tensor for queries, keys and values and one for
//! gate and up, a part of each head rotated, and `LongRoPE`.

use std::sync::Arc;

use super::activation::{self, activation};
use super::family::Encoding;
use super::layers::{one_window, sliding_window_or_none};
use super::rope::{Kind, RopeDefaults};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Activation;

pub(super) const PHI3: Architecture = Architecture {
    model_type: "phi3",
    name: "Phi3ForCausalLM",
    covers: "Phi-3 mini and medium, Phi-3.5-mini, Phi-4, Phi-4-mini, Phi-4-reasoning, Phi-4-mini-reasoning",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Phi3 {
    activation: Activation,
}

/// The kinds of rotation; the two older names meant the third.
const KINDS: &[(&str, Kind)] =
    &[("default", Kind::Default), ("longrope", Kind::LongRope), ("su", Kind::LongRope), ("yarn", Kind::LongRope)];

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096)?;
    c.windows = one_window(f, c.layers, sliding_window_or_none(f)?)?;
    c.rope = RopeDefaults {
        // In this family transformers lets config.json say so.
        theta: f.positive("default_theta", 1e15)?.unwrap_or(10_000.0),
        partial: Some(1.0),
        original: Some(4096.0),
        kinds: KINDS,
        ..RopeDefaults::default()
    };
    Ok(Arc::new(Phi3 { activation: activation(f, "hidden_act", Activation::Silu)? }))
}

impl Family for Phi3 {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
    }

    /// `x + o(attention(q, k, v))` with `[q k v] = qkv(norm(x))`, then `x + down(activation(gate) * up)` with
    /// `[gate up] = gate_up(norm(x))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let (query, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let normed = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let fused = layer.linear("self_attn.qkv_proj", c.hidden_size, query + 2 * kv, false);
        let rows = [0..query, query..query + kv, query + kv..query + 2 * kv];
        let qkv = g.qkv(normed, rows.map(|rows| fused.rows(rows)));
        let attended = g.attention(qkv, layer.attention(c));
        let x = g.linear_onto(x, attended, layer.o_proj(c));

        let normed = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        let gated = layer.gated_fused(g, c, normed, self.activation);
        g.linear_onto(x, gated, layer.down_proj(c))
    }
}
