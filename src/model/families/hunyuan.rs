//! `HunYuan` (Tencent, 2025), its dense models: Llama's block, with a norm on every query and key head behind the rotation.

use std::sync::Arc;

use super::layers::no_window;
use super::rope::Kind;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Norm;

pub(super) const HUNYUAN_V1_DENSE: Architecture = Architecture {
    model_type: "hunyuan_v1_dense",
    name: "HunYuanDenseV1ForCausalLM",
    covers: "Hunyuan 0.5B, 1.8B, 4B and 7B, Hunyuan-MT",
    honours: &[],
    family,
};

/// The kinds of rotation.
const KINDS: &[(&str, Kind)] = &[
    ("default", Kind::Default),
    ("linear", Kind::Linear),
    ("dynamic", Kind::Alpha),
    ("llama3", Kind::Llama3),
    ("yarn", Kind::Yarn),
    ("longrope", Kind::LongRope),
];

#[derive(Debug)]
struct HunYuan;

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    no_window(f, c)?;
    let bias = f.flag("attention_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias) = (bias, bias);
    c.rope.kinds = KINDS;
    Ok(Arc::new(HunYuan))
}

impl Family for HunYuan {
    fn encode(&self, _: &mut Encoding) {}

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.shape.head_norm = Some(Norm::rms(c.rms_norm_eps));
        attention.shape.norm_after_rotation = true;
        attention.query_norm = Some(layer.weight("self_attn.query_layernorm.weight", [c.head_dim]));
        attention.key_norm = Some(layer.weight("self_attn.key_layernorm.weight", [c.head_dim]));
        llama::block(g, c, layer, attention, x)
    }
}
