//! ERNIE 4.5 (Baidu, 2025): Llama's block, in which neighbours are rotated together, and `use_bias` puts a bias on every projection.

use std::sync::Arc;

use super::layers::no_window;
use super::{Architecture, Family, Fields, Layer, ModelConfig, family::Encoding, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Rotation;

pub(super) const ERNIE4_5: Architecture = Architecture {
    model_type: "ernie4_5",
    name: "Ernie4_5ForCausalLM",
    covers: "ERNIE 4.5 (0.3B)",
    honours: &[],
    family,
};

#[derive(Debug)]
struct Ernie;

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    if !f.has("head_dim") {
        c.head_dim = 128;
    }
    if !f.has("num_key_value_heads") {
        c.kv_heads = 2;
    }
    if !f.has("max_position_embeddings") {
        c.max_positions = 131_072;
    }
    c.rope.theta = 500_000.0;
    no_window(f, c)?;
    c.tie_word_embeddings = f.flag("tie_word_embeddings")?.unwrap_or(true);
    let bias = f.flag("use_bias")?.unwrap_or(false);
    (c.qkv_bias, c.o_bias, c.mlp_bias) = (bias, bias, bias);
    Ok(Arc::new(Ernie))
}

impl Family for Ernie {
    fn encode(&self, _: &mut Encoding) {}

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let mut attention = layer.attention(c);
        attention.shape.rotation = Rotation::Interleaved;
        llama::block(g, c, layer, attention, x)
    }
}
