//! `SmolLM3` (Bakouch et al., 2025): Llama with layers in between that do not rotate their heads, and may have a window.

use std::sync::Arc;

use super::config::MAX_POSITIONS;
use super::family::Encoding;
use super::layers::{rotated, windows};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const SMOLLM3: Architecture =
    Architecture { model_type: "smollm3", name: "SmolLM3ForCausalLM", covers: "SmolLM3", honours: &[], family };

#[derive(Debug)]
struct SmolLm3 {
    /// Whether each layer rotates its heads.
    rotated: Vec<bool>,
}

/// Layers without rotation slide if `use_sliding_window`, unless `layer_types` says which do.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 4;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 32_768)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    let rotated = rotated(f, c.layers)?;
    let slides = f.flag("use_sliding_window")?.unwrap_or(false);
    let window = f.integer_or_null("sliding_window", 1..=MAX_POSITIONS)?;
    c.windows = windows(f, c.layers, window, |layer| slides && !rotated[layer])?;
    c.rope = RopeDefaults { theta: 2e6, ..RopeDefaults::default() };
    Ok(Arc::new(SmolLm3 { rotated }))
}

impl Family for SmolLm3 {
    fn encode(&self, e: &mut Encoding) {
        self.rotated.iter().for_each(|rotates| e.number((*rotates).into()));
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        if !self.rotated[layer.index] {
            attention.shape.rotary_pairs = 0;
        }
        llama::block(g, c, layer, attention, x)
    }
}
