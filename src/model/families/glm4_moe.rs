//! GLM-4.5 to 4.7 (Zeng et al., 2025): partly rotated heads, with norms or without, and behind the first layers `DeepSeek`'s
//! experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::layers::no_window;
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const GLM4_MOE: Architecture = Architecture {
    model_type: "glm4_moe",
    name: "Glm4MoeForCausalLM",
    covers: "GLM-4.5, GLM-4.5-Air, GLM-4.6 and GLM-4.7",
    honours: &[],
    family,
};

/// Llama's attention, with norms on every query and key head or without, and experts on all but the first layers.
#[derive(Debug)]
pub(super) struct Glm4Moe {
    pub head_norms: bool,
    pub experts: Experts,
    /// `first_k_dense_replace`: the first layers have an MLP.
    pub dense: usize,
}

const EXPERTS: experts::Defaults =
    experts::Defaults { numbers: Some([128, 8, 1]), inner: 1408, groups: [1, 1], normalise: true, scale: 1.0 };

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    no_window(f, c)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 8)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.rope = RopeDefaults { partial: Some(0.5), ..RopeDefaults::default() };
    c.qkv_bias = f.flag("attention_bias")?.unwrap_or(false);
    Ok(Arc::new(Glm4Moe {
        head_norms: f.flag("use_qk_norm")?.unwrap_or(false),
        experts: Experts::deepseek(f, &EXPERTS)?,
        dense: f.integer("first_k_dense_replace", 0..=experts::MAX_NUMBER)?.unwrap_or(1),
    }))
}

impl Family for Glm4Moe {
    fn encode(&self, e: &mut Encoding) {
        self.experts.encode(e);
        e.number(self.head_norms.into());
        e.number(self.dense);
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let attention = if self.head_norms { layer.attention_with_head_norms(c) } else { layer.attention(c) };
        let x = llama::self_attention(g, c, layer, attention, x);
        if layer.index < self.dense { llama::mlp(g, c, layer, x) } else { self.experts.block(g, c, layer, x) }
    }
}
