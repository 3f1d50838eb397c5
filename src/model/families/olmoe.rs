//! `OLMoE` (Muennighoff et al., 2024): norms of queries and keys over all heads, and a layer of experts in place of the MLP.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, spellings};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const OLMOE: Architecture =
    Architecture { model_type: "olmoe", name: "OlmoeForCausalLM", covers: "OLMoE", honours: &[], family };

#[derive(Debug)]
struct Olmoe(Experts);

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    no_window(f, c)?;
    if !f.has("max_position_embeddings") {
        c.max_positions = 4096;
    }
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    // The norm of queries is as wide as the model.
    if c.heads * c.head_dim != c.hidden_size {
        return Err(f.wrong("head_dim", "hidden_size / num_attention_heads"));
    }
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    if f.get("clip_qkv").is_some() {
        return Err(f.unsupported("clip_qkv", "queries, keys and values are not clipped"));
    }
    let count = experts::count(f, ["num_experts", "num_local_experts"], 64, 1)?;
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], 8, count)?;
    let normalise = f.flag("norm_topk_prob")?.unwrap_or(false);
    Ok(Arc::new(Olmoe(Experts::by_softmax(&spellings::QWEN, [count, top_k, c.intermediate_size], normalise))))
}

impl Family for Olmoe {
    fn encode(&self, e: &mut Encoding) {
        self.0.encode(e);
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let x = normed_attention(g, c, layer, x);
        self.0.block(g, c, layer, x)
    }
}

/// `x + o(attention(norm(q(n)), norm(k(n)), v(n)))` with `n = norm(x)`: the norms of queries and keys are over all heads of a token.
pub(super) fn normed_attention(g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
    let n = g.rms_norm(x, &layer.name("input_layernorm.weight"), c.rms_norm_eps);
    let [q, k, v] = layer.qkv(g, c, n);
    let q = g.rms_norm(q, &layer.name("self_attn.q_norm.weight"), c.rms_norm_eps);
    let k = g.rms_norm(k, &layer.name("self_attn.k_norm.weight"), c.rms_norm_eps);
    let attended = g.attention([q, k, v], layer.attention(c));
    g.linear_onto(x, attended, layer.o_proj(c))
}
