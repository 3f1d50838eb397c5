//! Qwen2-MoE (Bai et al., 2024) and Qwen3-MoE (Yang et al., 2025): Qwen's attention, and a layer of experts in place of the MLP, on
//! all layers or on some.

use std::sync::Arc;

use super::config::MAX_POSITIONS;
use super::experts::{self, Experts, Shared};
use super::family::Encoding;
use super::layers::{Windows, layer_types, on_all, sliding_window, windows};
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama, spellings};
use crate::error::Result;
use crate::graph::{Builder, Value};

pub(super) const QWEN2_MOE: Architecture = Architecture {
    model_type: "qwen2_moe",
    name: "Qwen2MoeForCausalLM",
    covers: "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
    honours: &[],
    family: qwen2_moe,
};

pub(super) const QWEN3_MOE: Architecture = Architecture {
    model_type: "qwen3_moe",
    name: "Qwen3MoeForCausalLM",
    covers: "Qwen3-MoE (30B-A3B, 235B-A22B), Qwen3-Coder",
    honours: &[],
    family: qwen3_moe,
};

#[derive(Debug)]
struct QwenMoe {
    /// Norms on every query and key head, as in Qwen3.
    head_norms: bool,
    sparse: Sparse,
}

/// Which layers have experts, and which.
#[derive(Debug)]
pub(super) struct Sparse {
    pub experts: Experts,
    /// `decoder_sparse_step`: every so many layers have experts.
    step: usize,
    /// `mlp_only_layers`: those that have an MLP all the same.
    dense: Vec<usize>,
}

/// A bias on q, k and v, and one expert more that every token passes, with a gate of its own.
fn qwen2_moe(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    c.qkv_bias = f.flag("qkv_bias")?.unwrap_or(true);
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 16)?;
    c.windows = qwen2_windows(f, c.layers)?;
    family(f, c, ["num_experts"; 2], [60, 4, 1408], true)
}

/// Layers in front of `max_window_layers` slide, every second one, and only with `use_sliding_window`. Without that transformers 5
/// saves a window of 0.
fn qwen2_windows(f: Fields, layers: usize) -> Result<Windows> {
    let end = f.integer("max_window_layers", 0..=u64::from(u32::MAX))?.unwrap_or(28);
    if f.flag("use_sliding_window")? != Some(true) {
        f.integer_or_null("sliding_window", 0..=MAX_POSITIONS)?;
        return windows(f, layers, None, |_| false);
    }
    let window = sliding_window(f, 4096)?;
    if window.is_none() && end > 0 {
        return Err(f.wrong("sliding_window", "a whole number"));
    }
    windows(f, layers, window, |layer| layer % 2 == 0 && layer < end)
}

/// Norms on every query and key head.
fn qwen3_moe(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 4)?;
    if layer_types(f, c.layers)?.is_some_and(|slides| slides.contains(&true)) {
        return Err(f.unsupported("layer_types", "all layers of Qwen3-MoE slide, or none (use_sliding_window)"));
    }
    let slides = f.flag("use_sliding_window")?.unwrap_or(false);
    c.windows = on_all(c.layers, sliding_window(f, 4096)?.filter(|_| slides));
    family(f, c, ["num_experts", "num_local_experts"], [128, 8, 768], false)
}

/// `defaults` are how many experts there are, how many of them a token passes, and how wide they are.
fn family(
    f: Fields,
    c: &mut ModelConfig,
    count: [&str; 2],
    defaults: [usize; 3],
    has_shared: bool,
) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 32_768)?;
    let shared = has_shared.then_some(5632);
    Ok(Arc::new(QwenMoe { head_norms: !has_shared, sparse: Sparse::read(f, count, defaults, shared, false)? }))
}

/// Experts, by one of two names of their number, with these `defaults` of that, of how many a token passes and of how wide they are; beside
/// them, where there is a default width of it, one that every token passes.
pub(super) fn experts(
    f: Fields,
    count: [&str; 2],
    defaults: [usize; 3],
    shared: Option<usize>,
    normalise: bool,
) -> Result<Experts> {
    let count = experts::count(f, count, defaults[0], 0)?;
    // Numbers of experts that are not there do not matter.
    let number = |key, default| Ok(f.integer(key, u64::from(count > 0)..=experts::MAX_NUMBER)?.unwrap_or(default));
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], defaults[1], count)?;
    let inner = number("moe_intermediate_size", defaults[2])?;
    let shared = shared.map(|default| number("shared_expert_intermediate_size", default)).transpose()?;
    let shared = shared.map(|inner| {
        let gate = Some("mlp.shared_expert_gate.weight");
        Shared { module: "mlp.shared_expert", gate, ..Shared::new(inner) }
    });
    Ok(Experts { shared, ..Experts::by_softmax(&spellings::QWEN, [count, top_k, inner], normalise) })
}

impl Sparse {
    /// [`experts()`], by default with weights that add up to one or not, on the layers that config.json says.
    pub(super) fn read(
        f: Fields,
        count: [&str; 2],
        defaults: [usize; 3],
        shared: Option<usize>,
        normalise: bool,
    ) -> Result<Self> {
        let normalise = f.flag("norm_topk_prob")?.unwrap_or(normalise);
        let experts = experts(f, count, defaults, shared, normalise)?;
        let range = u64::from(experts.count > 0)..=experts::MAX_NUMBER;
        Ok(Self {
            step: f.integer("decoder_sparse_step", range)?.unwrap_or(1),
            dense: f.integers("mlp_only_layers", 0..=experts::MAX_NUMBER)?.unwrap_or_default(),
            experts,
        })
    }

    /// These experts on all layers.
    pub(super) fn everywhere(experts: Experts) -> Self {
        Self { experts, step: 1, dense: Vec::new() }
    }

    /// Whether the layer has experts.
    pub(super) fn has(&self, layer: usize) -> bool {
        self.experts.count > 0 && !self.dense.contains(&layer) && (layer + 1).is_multiple_of(self.step)
    }

    pub(super) fn encode(&self, e: &mut Encoding) {
        self.experts.encode(e);
        e.number(self.step);
        e.number(self.dense.len());
        self.dense.iter().for_each(|layer| e.number(*layer));
    }
}

impl Family for QwenMoe {
    fn encode(&self, e: &mut Encoding) {
        self.sparse.encode(e);
    }

    /// Qwen's attention; then `x + the sum of weight * expert(n)` over the experts that `softmax(router(n))` is largest for, with
    /// `n = norm(x)`; in Qwen2-MoE also `+ sigmoid(gate(n)) * shared(n)`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let attention = if self.head_norms { layer.attention_with_head_norms(c) } else { layer.attention(c) };
        let x = llama::self_attention(g, c, layer, attention, x);
        if self.sparse.has(layer.index) {
            self.sparse.experts.block(g, c, layer, x)
        } else {
            llama::mlp(g, c, layer, x)
        }
    }
}
