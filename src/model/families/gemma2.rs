//! Gemma 2 (Gemma team, 2024): norms on both sides of attention and MLP, soft caps on scores and logits, and a window on every
//! other layer.

use std::sync::Arc;

use super::activation::{self, activation};
use super::family::Encoding;
use super::layers::{sliding_window, windows};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Attention, Builder, Value, Weight};
use crate::kernels::{Activation, Norm};

pub(super) const GEMMA2: Architecture =
    Architecture { model_type: "gemma2", name: "Gemma2ForCausalLM", covers: "Gemma 2", honours: &[], family };

/// What Gemma 2 and 3 compute alike.
#[derive(Debug)]
pub(super) struct Gemma {
    activation: Activation,
    /// `query_pre_attn_scalar`: scores are divided by its root.
    scalar: f32,
    /// `attn_logit_softcapping`.
    attention_cap: Option<f32>,
    /// `final_logit_softcapping`.
    logit_cap: Option<f32>,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 8192)?;
    c.windows = windows(f, c.layers, sliding_window(f, 4096)?, |layer| layer % 2 == 0)?;
    let cap = |key, default| if f.has(key) { f.positive_or_null(key, 1e9) } else { Ok(Some(default)) };
    let (attention, logits) = (cap("attn_logit_softcapping", 50.0)?, cap("final_logit_softcapping", 30.0)?);
    Ok(Arc::new(Gemma::read(f, c, attention, logits)?))
}

impl Gemma {
    /// The keys that Gemma 2 and 3 read alike, beside these caps.
    pub(super) fn read(f: Fields, c: &mut ModelConfig, attention: Option<f64>, logits: Option<f64>) -> Result<Self> {
        if f.flag("use_bidirectional_attention")? == Some(true) {
            return Err(f.unsupported("use_bidirectional_attention", "a token attends to those before it alone"));
        }
        c.set_default(f, "head_dim", |c| &mut c.head_dim, 256)?;
        c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
        c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
        let bias = f.flag("attention_bias")?.unwrap_or(false);
        (c.qkv_bias, c.o_bias) = (bias, bias);
        Ok(Self {
            activation: activation(f, "hidden_activation", Activation::GeluTanh)?,
            scalar: f.positive("query_pre_attn_scalar", 1e9)?.unwrap_or(256.0) as f32,
            attention_cap: attention.map(|cap| cap as f32),
            logit_cap: logits.map(|cap| cap as f32),
        })
    }

    /// `x + norm(attention(norm(x)))`, then `x + norm(mlp(norm(x)))`; the scale and the cap of `attention` are set here.
    pub(super) fn block_with(
        &self,
        g: &mut Builder,
        c: &ModelConfig,
        layer: Layer,
        mut attention: Attention,
        x: Value,
    ) -> Value {
        attention.shape.scale = 1.0 / self.scalar.sqrt();
        attention.shape.soft_cap = self.attention_cap;

        let normed = row_norm(g, c, x, layer.name("input_layernorm.weight"));
        let qkv = layer.qkv(g, c, normed);
        let attended = g.attention(qkv, attention);
        let attended = g.linear(attended, layer.o_proj(c));
        let attended = row_norm(g, c, attended, layer.name("post_attention_layernorm.weight"));
        let x = g.add(x, attended, 1.0);

        let normed = row_norm(g, c, x, layer.name("pre_feedforward_layernorm.weight"));
        let gated = layer.gated(g, c, normed, self.activation);
        let down = g.linear(gated, layer.down_proj(c));
        let down = row_norm(g, c, down, layer.name("post_feedforward_layernorm.weight"));
        g.add(x, down, 1.0)
    }
}

impl Family for Gemma {
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

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        self.block_with(g, c, layer, layer.attention(c), x)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        row_norm(g, c, x, "model.norm.weight".into())
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        self.logit_cap.map_or(logits, |cap| g.soft_cap(logits, cap))
    }
}

/// Checkpoints have each scale's distance from one.
pub(super) fn norm(c: &ModelConfig) -> Norm {
    Norm { offset: 1.0, ..Norm::rms(c.rms_norm_eps) }
}

fn row_norm(g: &mut Builder, c: &ModelConfig, x: Value, name: String) -> Value {
    g.norm(x, norm(c), Some(Weight::new(name, [c.hidden_size])), None)
}
