//! MiniMax-M2 (2025): norms of queries and keys over all heads, partly rotated heads, and a layer of experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::fp8;
use super::layers::no_window;
use super::olmoe::normed_attention;
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig, spellings};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Score;

pub(super) const MINIMAX_M2: Architecture = Architecture {
    model_type: "minimax_m2",
    name: "MiniMaxM2ForCausalLM",
    covers: "MiniMax-M2 and M2.1",
    honours: &["quantization_config"],
    family,
};

#[derive(Debug)]
struct MiniMax(Experts);

/// `rotary_dim` says how many values of a head are rotated, where `partial_rotary_factor` does not.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.blocks = fp8::blocks(f)?;
    no_window(f, c)?;
    c.set_default(f, "head_dim", |c| &mut c.head_dim, 128)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 8)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 196_608)?;
    let rotated = f.integer_or_null("rotary_dim", 0..=c.head_dim as u64)?.unwrap_or(c.head_dim);
    let partial = Some(rotated as f64 / c.head_dim as f64);
    c.rope = RopeDefaults { theta: 5e6, partial, ..RopeDefaults::default() };
    let count = experts::count(f, ["num_local_experts", "num_experts"], 256, 1)?;
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], 8, count)?;
    Ok(Arc::new(MiniMax(Experts {
        score: Score::Sigmoid,
        ..Experts::by_softmax(&spellings::MINIMAX, [count, top_k, c.intermediate_size], true)
    })))
}

impl Family for MiniMax {
    fn encode(&self, e: &mut Encoding) {
        self.0.encode(e);
    }

    /// The experts that `sigmoid(router(norm(x)))` and a bias are largest for.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let x = normed_attention(g, c, layer, x);
        self.0.block(g, c, layer, x)
    }
}
