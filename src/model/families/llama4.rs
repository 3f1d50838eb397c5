//! Llama 4 (Meta, 2025), text: most layers rotate their heads, normalise them then, and attend to a part of the text; between them are
//! some that do not rotate and attend to all of it, with queries that grow with the position. A layer of experts weighs what they read.

use std::sync::Arc;

use serde_json::Value as Json;

use super::config::MAX_POSITIONS;
use super::experts::{self, Experts, Shared};
use super::family::Encoding;
use super::layers::{chunks, rotated};
use super::rope::RopeDefaults;
use super::{Architecture, Family, Fields, Layer, ModelConfig, llama, spellings};
use crate::error::Result;
use crate::graph::{Builder, Temperature, Value};
use crate::kernels::{Norm, Rotation, Score};

pub(super) const LLAMA4: Architecture = Architecture {
    model_type: "llama4_text",
    name: "Llama4ForCausalLM",
    covers: "Llama 4, text-only",
    honours: &["attention_chunk_size"],
    family,
};

#[derive(Debug)]
struct Llama4 {
    /// Whether each layer rotates its heads.
    rotated: Vec<bool>,
    /// `use_qk_norm`: whether rotated heads are normalised.
    head_norms: bool,
    /// Of queries that are not rotated.
    temperature: Option<Temperature>,
    experts: Experts,
    /// In layers without experts.
    mlp: Shared,
    /// Whether each layer has experts.
    sparse: Vec<bool>,
}

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    if !f.has("head_dim") {
        c.head_dim = 128;
    }
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 131_072)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.rope = RopeDefaults { theta: 500_000.0, ..RopeDefaults::default() };
    let rotated = rotated(f, c.layers)?;
    c.windows = chunks(f, c.layers, |layer| rotated[layer])?;
    let count = experts::count(f, ["num_local_experts"; 2], 16, 1)?;
    let top_k = experts::top_k(f, ["num_experts_per_tok"; 2], 1, count)?;
    let dense = f.integer("intermediate_size_mlp", 1..=experts::MAX_NUMBER)?.unwrap_or(16_384);
    Ok(Arc::new(Llama4 {
        rotated,
        head_norms: flag(f, "use_qk_norm")?,
        temperature: temperature(f)?,
        experts: Experts {
            score: Score::Sigmoid,
            on_input: true,
            shared: Some(Shared { module: "feed_forward.shared_expert", ..Shared::new(c.intermediate_size) }),
            ..Experts::by_softmax(&spellings::LLAMA4, [count, top_k, c.intermediate_size], false)
        },
        mlp: Shared { module: "feed_forward", ..Shared::new(dense) },
        sparse: sparse(f, c.layers)?,
    }))
}

/// `attn_temperature_tuning`, with `attn_scale` for every `floor_scale` positions.
fn temperature(f: Fields) -> Result<Option<Temperature>> {
    const GROWS: &str = "attn_temperature_tuning";
    let period = f.integer("floor_scale", 1..=MAX_POSITIONS)?.unwrap_or(8192);
    let beta = f.number("attn_scale")?.unwrap_or(0.1);
    if !(-1e9..=1e9).contains(&beta) {
        return Err(f.wrong("attn_scale", "between -1e9 and 1e9"));
    }
    // The first published files have a 4, of which transformers 4 takes the truth.
    let grows = match f.get(GROWS) {
        Some(Json::Number(_)) => f.integer(GROWS, 0..=MAX_POSITIONS)? != Some(0),
        _ => flag(f, GROWS)?,
    };
    Ok(grows.then_some(Temperature { beta: beta as f32, period: period as f32, shift: 1.0 }))
}

/// Whether `key` holds, as it does where it is absent.
fn flag(f: Fields, key: &str) -> Result<bool> {
    Ok(f.flag(key)?.unwrap_or(!f.has(key)))
}

/// The layers that `moe_layers` names have experts; where it is absent, each `interleave_moe_layer_step`th.
fn sparse(f: Fields, layers: usize) -> Result<Vec<bool>> {
    let step = f.integer("interleave_moe_layer_step", 1..=experts::MAX_NUMBER)?.unwrap_or(1);
    let named = f.integers("moe_layers", 0..=experts::MAX_NUMBER)?;
    let is_sparse =
        |layer: usize| named.as_ref().map_or((layer + 1).is_multiple_of(step), |named| named.contains(&layer));
    Ok((0..layers).map(is_sparse).collect())
}

impl Family for Llama4 {
    fn encode(&self, e: &mut Encoding) {
        self.experts.encode(e);
        e.number(self.mlp.inner);
        e.number(self.head_norms.into());
        for layers in [&self.rotated, &self.sparse] {
            for is in layers {
                e.number((*is).into());
            }
        }
        if let Some(Temperature { beta, period, shift: _ }) = self.temperature {
            e.float(beta);
            e.float(period);
        }
    }

    /// `x + attention(norm(x))`; then `x + shared(n) + the sum of expert(weight * n)` over the experts with the largest logits, whose
    /// sigmoids are the weights, or `x + mlp(n)`, with `n = norm(x)`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        let shape = &mut attention.shape;
        if self.rotated[layer.index] {
            shape.rotation = Rotation::Interleaved;
            shape.head_norm = self.head_norms.then(|| Norm::rms(c.rms_norm_eps));
            shape.norm_after_rotation = true;
        } else {
            shape.rotary_pairs = 0;
            attention.temperature = self.temperature;
        }
        let x = llama::self_attention(g, c, layer, attention, x);

        if self.sparse[layer.index] {
            return self.experts.block(g, c, layer, x);
        }
        let n = g.rms_norm(x, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
        self.mlp.onto(g, c, layer, x, n)
    }
}
