//! Mixtral (Jiang et al., 2024): Mistral with a layer of experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::layers::{one_window, sliding_window_or_none};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama, spellings};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const MIXTRAL: Architecture = Architecture {
    model_type: "mixtral",
    name: "MixtralForCausalLM",
    covers: "Mixtral (8x7B, 8x22B)",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Mixtral(Experts);

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 8)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096 * 32)?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.rope = RopeDefaults { theta: 1e6, ..RopeDefaults::default() };
    c.windows = one_window(f, c.layers, sliding_window_or_none(f)?)?;
    let count = experts::count(f, ["num_local_experts", "num_experts"], 8, 1)?;
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], 2, count)?;
    Ok(Arc::new(Mixtral(Experts::by_softmax(&spellings::MIXTRAL, [count, top_k, c.intermediate_size], true))))
}

impl Family for Mixtral {
    fn encode(&self, e: &mut Encoding) {
        self.0.encode(e);
    }

    /// Mistral's attention; then the two experts or more that `softmax(router(norm(x)))` is largest for.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let x = llama::self_attention(g, c, layer, layer.attention(c), x);
        self.0.block(g, c, layer, x)
    }
}
