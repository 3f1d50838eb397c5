//! Granite 3 (IBM, 2024): Llama's block, with a factor on the embedding, on the scores, on what each half of a layer adds, and on the
//! logits.

use std::sync::Arc;

use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Activation;

pub(super) const GRANITE: Architecture = Architecture {
    model_type: "granite",
    name: "GraniteForCausalLM",
    covers: "Granite 3.0 to 3.3",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Granite {
    /// `embedding_multiplier`.
    embedding: f32,
    /// `attention_multiplier`: in place of `1 / sqrt(head_dim)`.
    scores: f32,
    /// `residual_multiplier`.
    residual: f32,
    /// `logits_scaling`: logits are divided by it.
    logits: f32,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    no_window(f, c)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    let factor = |key| match f.number(key)?.unwrap_or(1.0) {
        factor if (1e-9..=1e9).contains(&factor) => Ok(factor as f32),
        _ => Err(f.wrong(key, "between 1e-9 and 1e9")),
    };
    Ok(Arc::new(Granite {
        embedding: factor("embedding_multiplier")?,
        scores: factor("attention_multiplier")?,
        residual: factor("residual_multiplier")?,
        logits: factor("logits_scaling")?,
    }))
}

impl Family for Granite {
    fn encode(&self, e: &mut Encoding) {
        for factor in [self.embedding, self.scores, self.residual, self.logits] {
            e.float(factor);
        }
    }

    fn embedded(&self, g: &mut Builder, _: &ModelConfig, x: Value) -> Value {
        g.scale(x, self.embedding)
    }

    /// `x + residual * attention(norm(x))`, then `x + residual * mlp(norm(x))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.shape.scale = self.scores;

        let normed = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let qkv = layer.qkv(g, c, normed);
        let attended = g.attention(qkv, attention);
        let attended = g.linear(attended, layer.o_proj(c));
        let x = g.add(x, attended, self.residual);

        let normed = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        let gated = layer.gated(g, c, normed, Activation::Silu);
        let down = g.linear(gated, layer.down_proj(c));
        g.add(x, down, self.residual)
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        g.scale(logits, 1.0 / self.logits)
    }
}
