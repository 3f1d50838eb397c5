//! GLM-4 (GLM team, 2024; the 0414 models, 2025): Llama's block with one tensor for gate and up, and half of each head rotated, in pairs
//! of neighbours. The models of 2025 have norms behind attention and MLP, too.

use std::sync::Arc;

use super::activation::{self, activation};
use super::family::Encoding;
use super::layers::no_window;
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::{Activation, Rotation};

pub(super) const GLM: Architecture = Architecture {
    model_type: "glm",
    name: "GlmForCausalLM",
    covers: "GLM-4-9B (the -hf checkpoints), GLM-Edge",
    honours: &[],
    family: |f, c| family(f, c, false),
};

pub(super) const GLM4: Architecture = Architecture {
    model_type: "glm4",
    name: "Glm4ForCausalLM",
    covers: "GLM-4-0414 (9B, 32B), GLM-Z1-0414",
    honours: &[],
    family: |f, c| family(f, c, true),
};

#[derive(Debug)]
struct Glm {
    activation: Activation,
    /// Whether there are norms behind attention and MLP.
    norms_behind: bool,
}

/// `attention_bias` puts a bias on q, k and v.
fn family(f: Fields, c: &mut ModelConfig, norms_behind: bool) -> Result<Arc<dyn Family>> {
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1.562_5e-7;
    }
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 128)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 2)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    no_window(f, c)?;
    c.qkv_bias = f.flag("attention_bias")?.unwrap_or(true);
    c.rope = RopeDefaults { partial: Some(0.5), ..RopeDefaults::default() };
    Ok(Arc::new(Glm { activation: activation(f, "hidden_act", Activation::Silu)?, norms_behind }))
}

impl Family for Glm {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
    }

    /// `x + norm(attention(norm(x)))`, then `x + norm(mlp(norm(x)))`, the outer norms where the model has them.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let norm = |g: &mut Builder, x, name: &str| g.rms_norm(x, &layer.name(name), c.rms_norm_eps);
        let mut attention = layer.attention(c);
        attention.shape.rotation = Rotation::Interleaved;

        let normed = norm(g, x, "input_layernorm.weight");
        let qkv = layer.qkv(g, c, normed);
        let attended = g.attention(qkv, attention);
        let x = if self.norms_behind {
            let attended = g.linear(attended, layer.o_proj(c));
            let attended = norm(g, attended, "post_self_attn_layernorm.weight");
            g.add(x, attended, 1.0)
        } else {
            g.linear_onto(x, attended, layer.o_proj(c))
        };

        let normed = norm(g, x, "post_attention_layernorm.weight");
        let gated = layer.gated_fused(g, c, normed, self.activation);
        if self.norms_behind {
            let down = g.linear(gated, layer.down_proj(c));
            let down = norm(g, down, "post_mlp_layernorm.weight");
            g.add(x, down, 1.0)
        } else {
            g.linear_onto(x, gated, layer.down_proj(c))
        }
    }
}
