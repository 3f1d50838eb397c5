//! Qwen3-MoE (Yang et al., 2025): Qwen3 with a layer of experts in place of the MLP, on all layers or on some.

use std::sync::Arc;

use super::family::Encoding;
use super::layers::{layer_types, sliding_window};
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama};
use crate::error::{Result, bail};
use crate::graph::{Builder, Expert, Linear, Routing, Value};
use crate::kernels::{Activation, Score};

pub(super) const QWEN3_MOE: Architecture =
    Architecture { model_type: "qwen3_moe", name: "Qwen3MoeForCausalLM", honours: &[], family };

#[derive(Debug)]
struct Qwen3Moe {
    /// `num_experts`, or `num_local_experts`, as transformers 5 also calls it; 0: none.
    experts: usize,
    /// `num_experts_per_tok`.
    top_k: usize,
    /// `moe_intermediate_size`: the inner width of an expert.
    inner: usize,
    /// `norm_topk_prob`: whether the weights of a token's experts add up to one.
    normalise: bool,
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
    let experts = experts(f)?;
    // Numbers of experts that are not there do not matter.
    let count = |key, default| Ok(f.integer(key, u64::from(experts > 0)..=1 << 20)?.unwrap_or(default));
    let top_k = count("num_experts_per_tok", 8)?;
    if experts > 0 && top_k > experts {
        bail!(Malformed, "{} is {top_k}, and there are {experts} experts", f.name("num_experts_per_tok"));
    }
    Ok(Arc::new(Qwen3Moe {
        experts,
        top_k,
        inner: count("moe_intermediate_size", 768)?,
        normalise: f.flag("norm_topk_prob")?.unwrap_or(false),
        step: count("decoder_sparse_step", 1)?,
        dense: f.integers("mlp_only_layers", 0..=1 << 20)?.unwrap_or_default(),
    }))
}

/// The experts of a layer, under either name.
fn experts(f: Fields) -> Result<usize> {
    let [own, local] = ["num_experts", "num_local_experts"].map(|key| f.integer(key, 0..=1 << 16));
    match (own?, local?) {
        (Some(own), Some(local)) if own != local => bail!(
            Malformed,
            "{} is {own} and num_local_experts is {local}; keep the one that the tensors have",
            f.name("num_experts")
        ),
        (own, local) => Ok(own.or(local).unwrap_or(128)),
    }
}

impl Qwen3Moe {
    fn is_sparse(&self, layer: usize) -> bool {
        self.experts > 0 && !self.dense.contains(&layer) && (layer + 1).is_multiple_of(self.step)
    }

    /// Expert `index` of a layer.
    fn expert(&self, c: &ModelConfig, layer: Layer, index: usize) -> Expert {
        let (hidden, inner) = (c.hidden_size, self.inner);
        if c.stacked_experts {
            let stacked = |part, out, input| layer.weight(part, [self.experts, out, input]).at(index);
            let gate_up = stacked("mlp.experts.gate_up_proj", 2 * inner, hidden);
            let down = stacked("mlp.experts.down_proj", hidden, inner);
            let [gate, up, down] = [gate_up.rows(0..inner), gate_up.rows(inner..2 * inner), down]
                .map(|weight| Linear { weight, bias: None });
            return Expert { gate: Some(gate), up, down };
        }
        let linear = |part: &str, input, out| layer.linear(&format!("mlp.experts.{index}.{part}"), input, out, false);
        Expert {
            gate: Some(linear("gate_proj", hidden, inner)),
            up: linear("up_proj", hidden, inner),
            down: linear("down_proj", inner, hidden),
        }
    }
}

impl Family for Qwen3Moe {
    fn encode(&self, e: &mut Encoding) {
        for number in [self.experts, self.top_k, self.inner, self.normalise.into(), self.step, self.dense.len()] {
            e.number(number);
        }
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
        let router = layer.weight("mlp.gate.weight", [self.experts, c.hidden_size]).exact();
        let scores = g.linear(normed, Linear { weight: router, bias: None });
        let routing = Routing {
            score: Score::Softmax,
            top_k: self.top_k,
            normalise: self.normalise,
            bias: None,
            groups: None,
            scale: 1.0,
        };
        let experts = (0..self.experts).map(|index| self.expert(c, layer, index)).collect();
        g.experts(normed, scores, routing, experts, Activation::Silu, Some(x))
    }
}
