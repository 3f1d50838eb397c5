//! Qwen3 (Yang et al., 2025): no q, k, v bias, but a norm on every query and key head before the rotation.

use super::layers::qwen_windows;
use super::{Architecture, Fields, ModelConfig, Range, llama};
use crate::error::Result;
use crate::graph::{Builder, HeadNorm, Value, Weight};

pub(super) const QWEN3: Architecture = Architecture { model_type: "qwen3", name: "Qwen3ForCausalLM", configure, block };

/// Heads are 128 wide unless `head_dim` says otherwise, whatever `hidden_size / heads` is.
fn configure(f: Fields, c: &mut ModelConfig) -> Result<()> {
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

/// Llama's block with `q_norm` and `k_norm` inside the attention.
fn block(g: &mut Builder, c: &ModelConfig, range: Range, layer: usize, x: Value) -> Value {
    let head = |part: &str| Weight::new(format!("model.layers.{layer}.self_attn.{part}"), [c.head_dim]);
    let norm = HeadNorm { query: head("q_norm.weight"), key: head("k_norm.weight"), eps: c.rms_norm_eps };
    let x = llama::self_attention(g, c, range, layer, x, Some(norm));
    llama::mlp(g, c, layer, x)
}
