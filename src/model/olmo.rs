//! `OLMo` 2 (`OLMo` team, 2025): norms behind attention and MLP instead of in front of them, and norms of queries and keys over all
//! heads.

use std::sync::Arc;

use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding};
use crate::error::Result;
use crate::graph::{Attention, Builder, Value};
use crate::kernels::Activation;

pub(super) const OLMO2: Architecture =
    Architecture { model_type: "olmo2", name: "Olmo2ForCausalLM", covers: "OLMo 2", honours: &[], family };

#[derive(Debug)]
struct Olmo;

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    no_window(f, c)?;
    configure(f, c)
}

/// What both versions have in common.
fn configure(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    Ok(Arc::new(Olmo))
}

impl Family for Olmo {
    fn encode(&self, _: &mut Encoding) {}

    /// All heads of a row's queries are one in `q_norm`, and so are those of its keys in `k_norm`.
    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let [q, k, v] = layer.qkv(g, c, x);
        let q = g.rms_norm(q, &layer.name("self_attn.q_norm.weight"), c.rms_norm_eps);
        let k = g.rms_norm(k, &layer.name("self_attn.k_norm.weight"), c.rms_norm_eps);
        block(g, c, layer, layer.attention(c), [q, k, v], x)
    }
}

/// `x + norm(o(attention(qkv)))`, then `x + norm(down(silu(gate(x)) * up(x)))`: with no norm in front of either, `qkv` is of `x` itself.
pub(super) fn block(
    g: &mut Builder,
    c: &ModelConfig,
    layer: Layer,
    attention: Attention,
    qkv: [Value; 3],
    x: Value,
) -> Value {
    let attended = g.attention(qkv, attention);
    let attended = g.linear(attended, layer.o_proj(c));
    let attended = g.rms_norm(attended, &layer.name("post_attention_layernorm.weight"), c.rms_norm_eps);
    let x = g.add(x, attended, 1.0);

    let gated = layer.gated(g, c, x, Activation::Silu);
    let down = g.linear(gated, layer.down_proj(c));
    let down = g.rms_norm(down, &layer.name("post_feedforward_layernorm.weight"), c.rms_norm_eps);
    g.add(x, down, 1.0)
}
