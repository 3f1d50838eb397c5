//! Mistral (Jiang et al., 2023): Llama's block with a sliding window on every layer.

use super::config::sliding_window;
use super::{Architecture, Fields, ModelConfig, llama};
use crate::error::Result;

pub(super) const MISTRAL: Architecture = Architecture { name: "MistralForCausalLM", configure, block: llama::block };

/// The window is 4096 where the key is absent, none where it is null. Eight key-value heads by default.
fn configure(f: Fields, c: &mut ModelConfig) -> Result<()> {
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    if !f.has("max_position_embeddings") {
        c.max_positions = 4096 * 32;
    }
    let window = sliding_window(f, 4096)?;
    c.slide(window, |_| true);
    Ok(())
}
