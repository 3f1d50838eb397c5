//! Gemma 2 (Gemma team, 2024): norms on both sides of attention and MLP, soft caps on scores and logits, and a window on every
//! other layer.

use std::sync::Arc;

use super::activation::{self, activation};
use super::family::Encoding;
use super::layers::{sliding_window, windows};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value, Weight};
use crate::kernels::{Activation, Norm};

pub(super) const GEMMA2: Architecture =
    Architecture { model_type: "gemma2", name: "Gemma2ForCausalLM", honours: &[], family };

#[derive(Debug)]
struct Gemma2 {
    activation: Activation,
    /// `query_pre_attn_scalar`: scores are divided by its root.
    scalar: f32,
    /// `attn_logit_softcapping`.
    attention_cap: Option<f32>,
    /// `final_logit_softcapping`.
    logit_cap: Option<f32>,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    if f.flag("use_bidirectional_attention")? == Some(true) {
        return Err(f.unsupported("use_bidirectional_attention", "a token attends to those before it alone"));
    }
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 256)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 8192)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.windows = windows(f, c.layers, sliding_window(f, 4096)?, |layer| layer % 2 == 0)?;
    let cap = |key, default| if f.has(key) { f.positive_or_null(key, 1e9) } else { Ok(Some(default)) };
    Ok(Arc::new(Gemma2 {
        activation: activation(f, "hidden_activation", Activation::GeluTanh)?,
        scalar: f.positive("query_pre_attn_scalar", 1e9)?.unwrap_or(256.0) as f32,
        attention_cap: cap("attn_logit_softcapping", 50.0)?.map(|cap| cap as f32),
        logit_cap: cap("final_logit_softcapping", 30.0)?.map(|cap| cap as f32),
    }))
}

impl Family for Gemma2 {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
        e.float(self.scalar);
        e.float(self.attention_cap.unwrap_or(0.0));
        e.float(self.logit_cap.unwrap_or(0.0));
    }

    /// Times the root of its width.
    fn embedded(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        g.scale(x, (c.hidden_size as f64).sqrt() as f32)
    }

    /// `x + norm(attention(norm(x)))`, then `x + norm(mlp(norm(x)))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.shape.scale = 1.0 / self.scalar.sqrt();
        attention.shape.soft_cap = self.attention_cap;

        let normed = norm(g, c, x, layer.name("input_layernorm.weight"));
        let qkv = layer.qkv(g, c, normed);
        let attended = g.attention(qkv, attention);
        let attended = g.linear(attended, layer.o_proj(c));
        let attended = norm(g, c, attended, layer.name("post_attention_layernorm.weight"));
        let x = g.add(x, attended, 1.0);

        let normed = norm(g, c, x, layer.name("pre_feedforward_layernorm.weight"));
        let gated = layer.gated(g, c, normed, self.activation);
        let down = g.linear(gated, layer.down_proj(c));
        let down = norm(g, c, down, layer.name("post_feedforward_layernorm.weight"));
        g.add(x, down, 1.0)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        norm(g, c, x, "model.norm.weight".into())
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        self.logit_cap.map_or(logits, |cap| g.soft_cap(logits, cap))
    }
}

/// Checkpoints have each scale's distance from one.
fn norm(g: &mut Builder, c: &ModelConfig, x: Value, name: String) -> Value {
    let norm = Norm { offset: 1.0, ..Norm::rms(c.rms_norm_eps) };
    g.norm(x, norm, Some(Weight::new(name, [c.hidden_size])), None)
}
