//! dots.llm1 (Huo et al., 2025): Qwen3's attention, and behind the first layers `DeepSeek`'s experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::glm4_moe::Glm4Moe;
use super::layers::{sliding_window, windows};
use super::{Architecture, Family, Fields, ModelConfig};
use crate::error::Result;

pub(super) const DOTS1: Architecture =
    Architecture { model_type: "dots1", name: "Dots1ForCausalLM", covers: "dots.llm1", honours: &[], family };

/// How many experts there are and who passes them has no default.
const EXPERTS: experts::Defaults =
    experts::Defaults { numbers: None, inner: 1408, groups: [1, 1], normalise: false, scale: 1.0 };

/// Layers from `max_window_layers` on slide.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 32;
    }
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    let first = f.integer("max_window_layers", 0..=experts::MAX_NUMBER)?.unwrap_or(62);
    c.windows = windows(f, c.layers, sliding_window(f, 4096)?, |layer| layer >= first)?;
    Ok(Arc::new(Glm4Moe {
        head_norms: true,
        experts: Experts::deepseek(f, &EXPERTS)?,
        dense: f.integer("first_k_dense_replace", 0..=experts::MAX_NUMBER)?.unwrap_or(0),
    }))
}
