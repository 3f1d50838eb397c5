//! Nemotron (Parmar et al., 2024): Llama's block between layer norms, with an MLP without a gate whose activation is the square of
//! `ReLU`, and half of each head rotated.

use std::sync::Arc;

use super::activation::{self, activation};
use super::config::norm_eps;
use super::family::Encoding;
use super::layers::no_window;
use super::plain::{mlp, norm};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::{Activation, Norm};

pub(super) const NEMOTRON: Architecture = Architecture {
    model_type: "nemotron",
    name: "NemotronForCausalLM",
    covers: "Nemotron 4, Minitron",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Nemotron {
    activation: Activation,
}

/// `attention_bias` puts a bias on q, k, v and o; `mlp_bias` on up and down.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    no_window(f, c)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096)?;
    c.rms_norm_eps = norm_eps(f, "norm_eps", 1e-5)?;
    c.rope = RopeDefaults { partial: Some(0.5), ..RopeDefaults::default() };
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    Ok(Arc::new(Nemotron { activation: activation(f, "hidden_act", Activation::Relu2)? }))
}

impl Family for Nemotron {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
    }

    /// `x + o(attention(q(n), k(n), v(n)))` with `n = norm(x)`, then `x + down(relu(up(n))^2)` likewise.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let normed = norm(g, x, kind(c), &layer.name("input_layernorm"));
        let qkv = layer.qkv(g, c, normed);
        let attended = g.attention(qkv, layer.attention(c));
        let x = g.linear_onto(x, attended, layer.o_proj(c));

        let normed = norm(g, x, kind(c), &layer.name("post_attention_layernorm"));
        let up = layer.linear("mlp.up_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
        mlp(g, x, normed, up, self.activation, layer.down_proj(c))
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        norm(g, x, kind(c), "model.norm")
    }
}

/// Checkpoints have each scale's distance from one.
fn kind(c: &ModelConfig) -> Norm {
    Norm { offset: 1.0, ..Norm::layer(c.rms_norm_eps) }
}
