//! Qwen3 (Yang et al., 2025): no q, k, v bias, but a norm on every query and key head before the rotation.

use std::sync::Arc;

use super::layers::qwen_windows;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    name: "Qwen3ForCausalLM",
    covers: "Qwen3, DeepSeek-R1-0528-Qwen3",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Qwen3;

/// Heads are 128 wide unless `head_dim` says otherwise, whatever `hidden_size / heads` is.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    configure(f, c)?;
    Ok(Arc::new(Qwen3))
}

/// What the dense and the sparse models of Qwen3 have in common.
pub(super) fn configure(f: Fields, c: &mut ModelConfig) -> Result<()> {
    match f.get("head_dim") {
        Some(_) => {}
        None if f.has("head_dim") => return Err(f.wrong("head_dim", "a whole number")),
        None => c.head_dim = 128,
    }
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    if !f.has("num_key_value_heads") {
        c.kv_heads = 32;
    }
    if !f.has("max_position_embeddings") {
        c.max_positions = 32_768;
    }
    c.windows = qwen_windows(f, c.layers)?;
    Ok(())
}

impl Family for Qwen3 {
    fn encode(&self, _: &mut Encoding) {}

    /// Llama's block with `q_norm` and `k_norm` inside the attention.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        llama::block(g, c, layer, layer.attention_with_head_norms(c), x)
    }
}
