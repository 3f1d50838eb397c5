//! Gemma 3 (Gemma team, 2025): Gemma 2 with a norm on every query and key head in place of the cap on scores, five layers with a
//! window to one without, and a rotation for each of the two kinds.

use std::sync::Arc;

use super::family::Encoding;
use super::gemma2::{self, Gemma};
use super::layers::{sliding_window_pattern, windows_but_each};
use super::rope::{Rope, RopeDefaults};
use super::{Architecture, Family, Fields, Layer, ModelConfig};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const GEMMA3: Architecture = Architecture {
    model_type: "gemma3_text",
    name: "Gemma3ForCausalLM",
    covers: "Gemma 3 (270M, 1B), and text-only fine-tunes",
    honours: &[],
    family,
};

/// Where the rotations stand in [`ModelConfig::ropes`].
const FULL: usize = 0;
const SLIDING: usize = 1;

#[derive(Debug)]
struct Gemma3(Gemma);

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    c.windows = windows_but_each(f, c.layers, sliding_window_pattern(f, 6)?)?;
    // Transformers has `attn_logit_softcapping`, and caps nothing by it.
    let gemma = Gemma::read(f, c, None, f.positive_or_null("final_logit_softcapping", 1e9)?)?;
    c.ropes = vec![
        Rope::of_layers(
            f,
            "full_attention",
            c.head_dim,
            c.max_positions,
            RopeDefaults { theta: 1e6, ..RopeDefaults::default() },
        )?,
        Rope::of_layers(
            f,
            "sliding_attention",
            c.head_dim,
            c.max_positions,
            RopeDefaults { theta: 1e4, theta_key: "rope_local_base_freq", ..RopeDefaults::default() },
        )?,
    ];
    Ok(Arc::new(Gemma3(gemma)))
}

impl Family for Gemma3 {
    fn encode(&self, e: &mut Encoding) {
        self.0.encode(e);
    }

    fn embedded(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        self.0.embedded(g, c, x)
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention_with_head_norms(c);
        attention.shape.head_norm = Some(gemma2::norm(c));
        attention.rope = if attention.shape.window.is_some() { SLIDING } else { FULL };
        self.0.block_with(g, c, layer, attention, x)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        self.0.final_norm(g, c, x)
    }

    fn logits(&self, g: &mut Builder, c: &ModelConfig, logits: Value) -> Value {
        self.0.logits(g, c, logits)
    }
}
