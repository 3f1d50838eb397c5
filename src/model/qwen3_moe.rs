//! Qwen3-MoE (Yang et al., 2025): Qwen3 with a layer of experts in place of the MLP, on all layers or on some.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::layers::{layer_types, sliding_window};
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Score;

pub(super) const QWEN3_MOE: Architecture = Architecture {
    model_type: "qwen3_moe",
    name: "Qwen3MoeForCausalLM",
    covers: "Qwen3-MoE (30B-A3B, 235B-A22B), Qwen3-Coder",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Qwen3Moe {
    experts: Experts,
    /// `decoder_sparse_step`: every so many layers have experts.
    step: usize,
    /// `mlp_only_layers`: those that have an MLP all the same.
    dense: Vec<usize>,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 32_768)?;
    if layer_types(f, c.layers)?.is_some_and(|slides| slides.contains(&true)) {
        return Err(f.unsupported("layer_types", "all layers of Qwen3-MoE slide, or none (use_sliding_window)"));
    }
    let slides = f.flag("use_sliding_window")?.unwrap_or(false);
    c.windows = sliding_window(f, 4096)?.filter(|_| slides).map_or(Vec::new(), |window| vec![Some(window); c.layers]);
    let count = experts::count(f, ["num_experts", "num_local_experts"], 128, 0)?;
    // Numbers of experts that are not there do not matter.
    let number = |key, default| Ok(f.integer(key, u64::from(count > 0)..=experts::MAX_NUMBER)?.unwrap_or(default));
    Ok(Arc::new(Qwen3Moe {
        experts: Experts {
            spellings: &experts::QWEN,
            count,
            top_k: experts::top_k(f, "num_experts_per_tok", 8, count)?,
            inner: number("moe_intermediate_size", 768)?,
            score: Score::Softmax,
            normalise: f.flag("norm_topk_prob")?.unwrap_or(false),
            groups: None,
            scale: 1.0,
        },
        step: number("decoder_sparse_step", 1)?,
        dense: f.integers("mlp_only_layers", 0..=experts::MAX_NUMBER)?.unwrap_or_default(),
    }))
}

impl Qwen3Moe {
    fn is_sparse(&self, layer: usize) -> bool {
        self.experts.count > 0 && !self.dense.contains(&layer) && (layer + 1).is_multiple_of(self.step)
    }
}

impl Family for Qwen3Moe {
    fn encode(&self, e: &mut Encoding) {
        self.experts.encode(e);
        e.number(self.step);
        e.number(self.dense.len());
        self.dense.iter().for_each(|layer| e.number(*layer));
    }

    /// Qwen3's attention; then `x + the sum of weight * expert(n)` over the experts that `softmax(router(n))` is largest for, with
    /// `n = norm(x)`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let x = llama::self_attention(g, c, layer, layer.attention_with_head_norms(c), x);
        if !self.is_sparse(layer.index) {
            return llama::mlp(g, c, layer, x);
        }
        let normed = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        self.experts.onto(g, c, layer, x, normed)
    }
}
