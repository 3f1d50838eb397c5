//! Phi-3.5-MoE and its smaller kin (Abdin et al., 2024): layer norms with a bias, and a layer of experts in place of the MLP, each of
//! which counts as much as its logit stands out among those close to it.

use std::sync::Arc;

use super::config::norm_eps;
use super::experts::{self, Experts};
use super::family::Encoding;
use super::layers::{one_window, sliding_window_or_none};
use super::plain::layer_norm;
use super::rope::{Kind, RopeDefaults};
use super::{Architecture, Family, Fields, Layer, ModelConfig, spellings};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Score;

pub(super) const PHIMOE: Architecture = Architecture {
    model_type: "phimoe",
    name: "PhimoeForCausalLM",
    covers: "Phi-mini-MoE and Phi-tiny-MoE",
    honours: &[],
    family,
};

#[derive(Debug)]
struct PhiMoe(Experts);

/// Where texts are long, transformers 4 and 5 rotate them in different ways in this family.
const KINDS: &[(&str, Kind)] = &[("default", Kind::Default)];

/// `attention_bias` puts a bias on q, k, v and o, `lm_head_bias` one on the head.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 8)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096 * 32)?;
    c.rms_norm_eps = norm_eps(f, "rms_norm_eps", 1e-5)?;
    c.rope = RopeDefaults { theta: 1e6, kinds: KINDS, ..RopeDefaults::default() };
    c.windows = one_window(f, c.layers, sliding_window_or_none(f)?)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.head_bias = f.flag("lm_head_bias")?.unwrap_or(false);
    let count = experts::count(f, ["num_local_experts"; 2], 16, 2)?;
    if f.integer("num_experts_per_tok", 1..=experts::MAX_NUMBER)?.unwrap_or(2) != 2 {
        return Err(f.unsupported("num_experts_per_tok", "a token passes two experts of Phi-MoE"));
    }
    let jitter = f.number("router_jitter_noise")?.unwrap_or(0.01);
    if !(0.0..=1e9).contains(&jitter) {
        return Err(f.wrong("router_jitter_noise", "between 0 and 1e9"));
    }
    Ok(Arc::new(PhiMoe(Experts {
        score: Score::SparseMixer { jitter: jitter as f32 },
        ..Experts::by_softmax(&spellings::PHI, [count, 2, c.intermediate_size], false)
    })))
}

impl Family for PhiMoe {
    fn encode(&self, e: &mut Encoding) {
        self.0.encode(e);
    }

    /// `x + o(attention(q(n), k(n), v(n)))` with `n = norm(x)`, then two experts likewise.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let n = layer_norm(g, c, x, &layer.name("input_layernorm"));
        let qkv = layer.qkv(g, c, n);
        let attended = g.attention(qkv, layer.attention(c));
        let x = g.linear_onto(x, attended, layer.o_proj(c));
        let n = layer_norm(g, c, x, &layer.name("post_attention_layernorm"));
        self.0.onto(g, c, layer, x, n)
    }

    fn final_norm(&self, g: &mut Builder, c: &ModelConfig, x: Value) -> Value {
        layer_norm(g, c, x, "model.norm")
    }
}
