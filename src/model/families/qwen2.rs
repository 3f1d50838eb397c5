//! Qwen2 and Qwen2.5 (Yang et al., 2024): Llama's block with a bias on q, k and v.

use std::sync::Arc;

use super::layers::qwen_windows;
use super::llama::Llama;
use super::{Architecture, Family, Fields, ModelConfig};
use crate::error::Result;

pub(super) const QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    name: "Qwen2ForCausalLM",
    covers: "Qwen2, Qwen2.5, its Coder and Math, QwQ, DeepSeek-R1-Distill-Qwen",
    honours: &[],
    family,
};

/// The q, k, v bias is always there and has no key; the window applies only with `use_sliding_window`.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.qkv_bias = true;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 32;
    }
    if !f.has("max_position_embeddings") {
        c.max_positions = 32_768;
    }
    c.windows = qwen_windows(f, c.layers)?;
    Ok(Arc::new(Llama))
}
