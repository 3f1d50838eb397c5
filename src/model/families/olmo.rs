//! `OLMo` 2 (`OLMo` team, 2025): norms behind attention and MLP instead of in front of them, and norms of queries and keys over all
//! heads; and `OLMo` 3 (2025), where three of four layers have a window and a rotation of their own.

use std::sync::Arc;

use super::layers::{no_window, windows_but_each};
use super::rope::Rope;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding};
use crate::error::Result;
use crate::graph::{Attention, Builder, Value};
use crate::kernels::Activation;

pub(super) const OLMO2: Architecture =
    Architecture { model_type: "olmo2", name: "Olmo2ForCausalLM", covers: "OLMo 2", honours: &[], family };

pub(super) const OLMO3: Architecture = Architecture {
    model_type: "olmo3",
    name: "Olmo3ForCausalLM",
    covers: "Olmo 3",
    honours: &[],
    family: family_of_kinds,
};

/// Where the rotations stand in [`ModelConfig::ropes`]; `OLMo` 2 has the first alone.
const FULL: usize = 0;
const SLIDING: usize = 1;

#[derive(Debug)]
struct Olmo;

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    no_window(f, c)?;
    configure(f, c)
}

fn family_of_kinds(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
    c.windows = windows_but_each(f, c.layers, 4)?;
    c.rope.theta = 500_000.0;
    let top = f.number("rope_theta")?;
    let own = f.object("rope_parameters")?.map_or(Ok(None), |kinds| kinds.object(KINDS[SLIDING]))?;
    let differs = top.is_some() && top != Some(c.rope.theta);
    if differs && c.windows.iter().any(Option::is_some) && !own.is_some_and(|own| own.has("rope_theta")) {
        let why = "transformers 4 takes it for all layers, and 5 for those without a window: write rope_parameters";
        return Err(f.unsupported("rope_theta", why));
    }
    let rope = |kind| Rope::of_layers(f, kind, c.head_dim, c.max_positions, c.rope);
    c.ropes = vec![rope(KINDS[FULL])?, rope(KINDS[SLIDING])?];
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
        let slides = c.windows.get(layer.index).is_some_and(Option::is_some);
        let attention = layer.attention_rotated(c, if slides { SLIDING } else { FULL });
        block(g, c, layer, attention, [q, k, v], x)
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
