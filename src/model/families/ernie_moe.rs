//! ERNIE 4.5 with experts (Baidu, 2025): Llama's attention, in which neighbours are rotated together, and on some layers a layer of
//! experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts, Shared};
use super::family::Encoding;
use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama, spellings};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Rotation;

pub(super) const ERNIE4_5_MOE: Architecture = Architecture {
    model_type: "ernie4_5_moe",
    name: "Ernie4_5_MoeForCausalLM",
    covers: "ERNIE 4.5 (21B-A3B, 300B-A47B)",
    honours: &[],
    family,
};

#[derive(Debug)]
struct ErnieMoe {
    experts: Experts,
    /// `moe_layer_start_index` and `moe_layer_end_index`: the first and the last layer that may have experts.
    first: usize,
    last: usize,
    /// `moe_layer_interval`: every so many layers have them.
    interval: usize,
}

/// `use_bias` puts a bias on every projection but those of the experts, and on the head.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    no_window(f, c)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.rope.theta = 500_000.0;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("use_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias, c.mlp_bias, c.head_bias) = (bias, bias, bias, bias);

    let count = experts::count(f, ["moe_num_experts", "num_experts"], 64, 1)?;
    let top_k = experts::top_k(f, ["moe_k", "num_experts_per_tok"], 6, count)?;
    let inner = f.integer("moe_intermediate_size", 1..=experts::MAX_NUMBER)?.unwrap_or(1536);
    let shared = f.integer("moe_num_shared_experts", 0..=experts::MAX_EXPERTS)?.unwrap_or(2);
    let layer = |key, default| Ok(f.integer(key, 0..=experts::MAX_NUMBER)?.unwrap_or(default));
    // Minus one, too, means the last of all.
    let to_the_end = f.get("moe_layer_end_index").is_some_and(|index| *index == -1);
    Ok(Arc::new(ErnieMoe {
        experts: Experts {
            least_sum: f.number("moe_norm_min")?.unwrap_or(1e-12) as f32,
            shared: (shared > 0).then(|| Shared { bias, ..Shared::new(shared * inner) }),
            ..Experts::by_softmax(&spellings::ERNIE, [count, top_k, inner], true)
        },
        first: layer("moe_layer_start_index", 1)?,
        last: if to_the_end { c.layers - 1 } else { layer("moe_layer_end_index", c.layers - 1)? },
        interval: f.integer("moe_layer_interval", 1..=experts::MAX_NUMBER)?.unwrap_or(1),
    }))
}

impl Family for ErnieMoe {
    fn encode(&self, e: &mut Encoding) {
        self.experts.encode(e);
        for number in [self.first, self.last, self.interval] {
            e.number(number);
        }
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.shape.rotation = Rotation::Interleaved;
        let x = llama::self_attention(g, c, layer, attention, x);
        let sparse = (self.first..=self.last).contains(&layer.index) && (layer.index + 1).is_multiple_of(self.interval);
        if sparse { self.experts.block(g, c, layer, x) } else { llama::mlp(g, c, layer, x) }
    }
}
