//! Mistral (Jiang et al., 2023): Llama's block with a sliding window on every layer; and Ministral (2024), where
//! `layer_types` says on which.

use std::sync::Arc;

use super::layers::{sliding_window, windows};
use super::llama::Llama;
use super::{Architecture, Family, Fields, ModelConfig};
use crate::error::Result;

pub(super) const MISTRAL: Architecture = Architecture {
    model_type: "mistral",
    name: "MistralForCausalLM",
    covers: "Mistral 7B, Nemo, Small (2409, 2501) and Large 2, Codestral 22B, Mathstral, Devstral Small 2505, Zephyr",
    honours: &[],
    family,
};

/// Also what transformers makes of `mistral` with `layer_types`, as Ministral-8B has it.
pub(crate) const MINISTRAL: Architecture = Architecture {
    model_type: "ministral",
    name: "MinistralForCausalLM",
    covers: "Ministral 8B",
    honours: &[],
    family,
};

/// The window is 4096 where the key is absent, none where it is null. Eight key-value heads by default.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    if !f.has("max_position_embeddings") {
        c.max_positions = 4096 * 32;
    }
    c.windows = windows(f, c.layers, sliding_window(f, 4096)?, |_| true)?;
    Ok(Arc::new(Llama))
}
