//! `StarCoder` 2 (Lozhkov et al., 2024): Llama's attention with a bias everywhere and a window on all layers, between layer norms, and
//! an MLP without a gate.

use std::sync::Arc;

use super::activation::{self, activation};
use super::config::norm_eps;
use super::family::Encoding;
use super::layers::{sliding_window, windows};
use super::plain::{layer_norm, mlp};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Activation;

pub(super) const STARCODER2: Architecture = Architecture {
    model_type: "starcoder2",
    name: "Starcoder2ForCausalLM",
    covers: "StarCoder 2",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Starcoder2 {
    activation: Activation,
}

/// `use_bias` puts a bias on all linear layers. Where `sliding_window` is absent there is none.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 2)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096)?;
    c.rms_norm_eps = norm_eps(f, "norm_epsilon", 1e-5)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("use_bias")?.unwrap_or(true);
    (c.qkv_bias, c.o_bias, c.mlp_bias) = (bias, bias, bias);
    let window = if f.has("sliding_window") { sliding_window(f, 0)? } else { None };
    c.windows = windows(f, c.layers, window, |_| true)?;
    if window.is_some() && c.windows.contains(&None) {
        return Err(f.unsupported("layer_types", "all layers of StarCoder 2 slide, or none (sliding_window)"));
    }
    Ok(Arc::new(Starcoder2 { activation: activation(f, "hidden_act", Activation::GeluTanh)? }))
}

impl Family for Starcoder2 {
    fn encode(&self, e: &mut Encoding) {
        e.text(activation::name(self.activation));
    }

    /// `x + o(attention(q(n), k(n), v(n)))` with `n = norm(x)`, then `x + c_proj(gelu(c_fc(n)))` likewise.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let (hidden, inner) = (c.hidden_size, c.intermediate_size);
        let normed = layer_norm(g, c, x, &layer.name("input_layernorm"));
        let qkv = layer.qkv(g, c, normed);
        let attended = g.attention(qkv, layer.attention(c));
        let x = g.linear_onto(x, attended, layer.o_proj(c));

        let normed = layer_norm(g, c, x, &layer.name("post_attention_layernorm"));
        let up = layer.linear("mlp.c_fc", hidden, inner, c.mlp_bias);
        let down = layer.linear("mlp.c_proj", inner, hidden, c.mlp_bias);
        mlp(g, x, normed, up, self.activation, down)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        layer_norm(g, c, x, "model.norm")
    }
}
