//! Granite 3 (IBM, 2024): Llama's block, with a factor on the embedding, on the scores, on what each half of a layer adds, and on the
//! logits; and Granite 3 with a layer of experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding, spellings};
use crate::error::Result;
use crate::graph::{Attention, Builder, Value};
use crate::kernels::{Activation, Score};

pub(super) const GRANITE: Architecture = Architecture {
    model_type: "granite",
    name: "GraniteForCausalLM",
    covers: "Granite 3.0 to 3.3",
    honours: &[],
    family,
};

pub(super) const GRANITE_MOE: Architecture = Architecture {
    model_type: "granitemoe",
    name: "GraniteMoeForCausalLM",
    covers: "Granite 3.0 and 3.1 (1B-A400M, 3B-A800M)",
    honours: &[],
    family: with_experts,
};

#[derive(Debug)]
struct Granite {
    factors: Factors,
    /// In place of the MLP.
    experts: Option<Experts>,
}

/// What Granite multiplies by.
#[derive(Debug)]
pub(super) struct Factors {
    /// `embedding_multiplier`.
    pub embedding: f32,
    /// `attention_multiplier`: in place of `1 / sqrt(head_dim)`.
    pub scores: f32,
    /// `residual_multiplier`.
    pub residual: f32,
    /// `logits_scaling`: logits are divided by it.
    pub logits: f32,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    Ok(Arc::new(Granite { factors: read(f, c)?, experts: None }))
}

/// The weights of a token's experts add up to what each half of a layer is multiplied by.
fn with_experts(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    let factors = read(f, c)?;
    let experts = experts(f, c, factors.residual, 1)?;
    Ok(Arc::new(Granite { factors, experts: Some(experts) }))
}

/// The experts of a layer, of which there are at least so many.
pub(super) fn experts(f: Fields, c: &ModelConfig, residual: f32, least: u64) -> Result<Experts> {
    let count = experts::count(f, ["num_local_experts"; 2], 8, least)?;
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], 2, count)?;
    Ok(Experts {
        score: Score::SoftmaxOfTopK,
        scale: residual,
        ..Experts::by_softmax(&spellings::GRANITE, [count, top_k, c.intermediate_size], false)
    })
}

/// What both have in common.
fn read(f: Fields, c: &mut ModelConfig) -> Result<Factors> {
    no_window(f, c)?;
    Factors::read(f, c)
}

impl Factors {
    /// The factors, and what else all Granites read.
    pub(super) fn read(f: Fields, c: &mut ModelConfig) -> Result<Self> {
        f.silu_only()?;
        let bias = f.flag("attention_bias")?.unwrap_or(false);
        (c.qkv_bias, c.o_bias) = (bias, bias);
        let factor = |key| match f.number(key)?.unwrap_or(1.0) {
            factor if (1e-9..=1e9).contains(&factor) => Ok(factor as f32),
            _ => Err(f.wrong(key, "between 1e-9 and 1e9")),
        };
        Ok(Self {
            embedding: factor("embedding_multiplier")?,
            scores: factor("attention_multiplier")?,
            residual: factor("residual_multiplier")?,
            logits: factor("logits_scaling")?,
        })
    }

    pub(super) fn encode(&self, e: &mut Encoding) {
        for factor in [self.embedding, self.scores, self.residual, self.logits] {
            e.float(factor);
        }
    }

    /// `x + residual * o(attention(q(n), k(n), v(n)))`.
    pub(super) fn attention(
        &self,
        g: &mut Builder,
        c: &ModelConfig,
        layer: Layer,
        mut attention: Attention,
        x: Value,
        n: Value,
    ) -> Value {
        attention.shape.scale = self.scores;
        let qkv = layer.qkv(g, c, n);
        let attended = g.attention(qkv, attention);
        let attended = g.linear(attended, layer.o_proj(c));
        g.add(x, attended, self.residual)
    }
}

impl Family for Granite {
    fn encode(&self, e: &mut Encoding) {
        self.factors.encode(e);
        if let Some(experts) = &self.experts {
            experts.encode(e);
        }
    }

    fn embedded(&self, g: &mut Builder, _: &ModelConfig, x: Value) -> Value {
        g.scale(x, self.factors.embedding)
    }

    /// `x + residual * attention(norm(x))`, then `x + residual * mlp(norm(x))`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let normed = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
        let x = self.factors.attention(g, c, layer, layer.attention(c), x, normed);

        if let Some(experts) = &self.experts {
            return experts.block(g, c, layer, x);
        }
        let normed = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        let gated = layer.gated(g, c, normed, Activation::Silu);
        let down = g.linear(gated, layer.down_proj(c));
        g.add(x, down, self.factors.residual)
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        g.scale(logits, 1.0 / self.factors.logits)
    }
}
