//! Command R (Cohere, 2024) and its second generation (Cohere, 2025): attention and MLP side by side on one norm, a layer norm without
//! a bias; neighbours rotated; and a factor on the logits. In the second, layers without a window know no positions (Yang et al., 2025).

use std::sync::Arc;

use super::activation::{self, activation};
use super::config::norm_eps;
use super::family::Encoding;
use super::layers::{no_window, sliding_window_pattern, windows_but_each};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Attention, Builder, Value, Weight};
use crate::kernels::{Activation, Norm, Rotation};

pub(super) const COHERE: Architecture = Architecture {
    model_type: "cohere",
    name: "CohereForCausalLM",
    covers: "Command R and R+, Aya Expanse, Aya 23",
    honours: &[],
    family: first,
};

pub(super) const COHERE2: Architecture = Architecture {
    model_type: "cohere2",
    name: "Cohere2ForCausalLM",
    covers: "Command R7B, Command A",
    honours: &[],
    family: second,
};

#[derive(Debug)]
struct Cohere {
    activation: Activation,
    /// `logit_scale`: logits are multiplied by it.
    logit_scale: f32,
    /// `use_qk_norm`: query and key heads are normalised, each with a weight of its own.
    head_norms: bool,
    /// Whether layers without a window are rotated, too.
    rotates_all: bool,
}

fn first(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    no_window(f, c)?;
    c.rope = RopeDefaults { theta: 500_000.0, ..RopeDefaults::default() };
    let head_norms = f.flag("use_qk_norm")?.unwrap_or(false);
    Ok(Arc::new(Cohere { head_norms, rotates_all: true, ..common(f, c)? }))
}

fn second(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.windows = windows_but_each(f, c.layers, sliding_window_pattern(f, 4)?)?;
    Ok(Arc::new(common(f, c)?))
}

/// What both generations have.
fn common(f: Fields, c: &mut ModelConfig) -> Result<Cohere> {
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 8192)?;
    c.rms_norm_eps = norm_eps(f, "layer_norm_eps", 1e-5)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    Ok(Cohere {
        activation: activation(f, "hidden_act", Activation::Silu)?,
        logit_scale: f.positive("logit_scale", 1e9)?.unwrap_or(0.0625) as f32,
        head_norms: false,
        rotates_all: false,
    })
}

impl Cohere {
    fn attention(&self, c: &ModelConfig, layer: Layer) -> Attention {
        let mut attention = layer.attention(c);
        attention.shape.rotation = Rotation::Interleaved;
        if !self.rotates_all && attention.shape.window.is_none() {
            attention.shape.rotary_pairs = 0;
        }
        attention
    }
}

impl Family for Cohere {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
        e.float(self.logit_scale);
        e.number(self.head_norms.into());
        e.number(self.rotates_all.into());
    }

    /// `x + o(attention(q(n), k(n), v(n))) + down(activation(gate(n)) * up(n))` with `n = norm(x)`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let normed = norm(g, c, x, layer.name("input_layernorm.weight"));
        let [mut query, mut key, value] = layer.qkv(g, c, normed);
        if self.head_norms {
            let heads = |g: &mut Builder, x, part, heads| {
                let weight = layer.weight(part, [heads, c.head_dim]).exact();
                g.head_norm(x, Norm::layer(c.rms_norm_eps), Some(weight), None, c.head_dim)
            };
            query = heads(g, query, "self_attn.q_norm.weight", c.heads);
            key = heads(g, key, "self_attn.k_norm.weight", c.kv_heads);
        }
        let attended = g.attention([query, key, value], self.attention(c, layer));
        let x = g.linear_onto(x, attended, layer.o_proj(c));
        let gated = layer.gated(g, c, normed, self.activation);
        g.linear_onto(x, gated, layer.down_proj(c))
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        norm(g, c, x, "model.norm.weight".into())
    }

    fn logits(&self, g: &mut Builder, _: &ModelConfig, logits: Value) -> Value {
        g.scale(logits, self.logit_scale)
    }
}

fn norm(g: &mut Builder, c: &ModelConfig, x: Value, name: String) -> Value {
    g.norm(x, Norm::layer(c.rms_norm_eps), Some(Weight::new(name, [c.hidden_size])), None)
}
