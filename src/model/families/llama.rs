//! Llama (Touvron et al., 2023; Llama 3 herd, 2024).

use std::sync::Arc;

use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding};
use crate::error::Result;
use crate::graph::{Attention, Builder, Value};
use crate::kernels::Activation;

pub(super) const LLAMA: Architecture = Architecture {
    model_type: "llama",
    name: "LlamaForCausalLM",
    covers: "Llama 2, 3, 3.1, 3.2 and 3.3, Code Llama, TinyLlama, Vicuna, Yi, SOLAR, Falcon 3, SmolLM and SmolLM2, DeepSeek-R1-Distill-Llama, Hermes 3",
    honours: &[],
    family,
};

/// Llama's block, which others share.
#[derive(Debug)]
pub(crate) struct Llama;

/// `attention_bias` puts a bias on q, k, v and o; `mlp_bias` on gate, up and down.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    no_window(f, c)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    Ok(Arc::new(Llama))
}

impl Family for Llama {
    fn encode(&self, _: &mut Encoding) {}

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        block(g, c, layer, layer.attention(c), x)
    }
}

/// `x + o(attention(q(n), k(n), v(n)))` with `n = norm(x)`, then `x + down(silu(gate(n)) * up(n))` likewise.
pub(super) fn block(g: &mut Builder, c: &ModelConfig, layer: Layer, attention: Attention, x: Value) -> Value {
    let x = self_attention(g, c, layer, attention, x);
    mlp(g, c, layer, x)
}

/// `x + o(attention(q(n), k(n), v(n)))` with `n = norm(x)`.
pub(super) fn self_attention(g: &mut Builder, c: &ModelConfig, layer: Layer, attention: Attention, x: Value) -> Value {
    let normed = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
    let qkv = layer.qkv(g, c, normed);
    let attended = g.attention(qkv, attention);
    g.linear_onto(x, attended, layer.o_proj(c))
}

/// `x + down(silu(gate(n)) * up(n))` with `n = norm(x)`.
pub(super) fn mlp(g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
    let normed = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
    let gated = layer.gated(g, c, normed, Activation::Silu);
    g.linear_onto(x, gated, layer.down_proj(c))
}
