//! `DeepSeek` V3 (2024) and its successors: latent attention, and behind the first layers experts in place of the MLP, which the
//! sigmoids of the router's logits and a bias choose.

use std::sync::Arc;

use super::experts::{self, Experts};
use super::family::Encoding;
use super::fp8;
use super::latent::{self, Latents};
use super::{Architecture, Family, Fields, Layer, ModelConfig, config, llama};
use crate::error::Result;
use crate::graph::{Builder, Value};
use crate::kernels::Rotation;

pub(super) const DEEPSEEK_V3: Architecture = Architecture {
    model_type: "deepseek_v3",
    name: "DeepseekV3ForCausalLM",
    covers: "DeepSeek-V3, V3.1 and R1, Kimi K2, Moonlight",
    honours: &["quantization_config"],
    family,
};

/// Latent attention on all layers, experts on some.
#[derive(Debug)]
pub(super) struct DeepSeek {
    pub latents: Latents,
    pub experts: Experts,
    /// For each layer whether it has experts.
    pub sparse: Vec<bool>,
}

const LATENTS: latent::Defaults =
    latent::Defaults { query_rank: 1536, plain: 128, value: 128, rotated: "qk_rope_head_dim" };
const EXPERTS: experts::Defaults =
    experts::Defaults { numbers: Some([256, 8, 1]), inner: 2048, groups: [8, 4], normalise: true, scale: 2.5 };

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.blocks = fp8::blocks(f)?;
    if !f.has("num_key_value_heads") {
        c.kv_heads = 128;
    }
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 4096)?;
    let latents = Latents::read(f, c, &LATENTS, rotation(f)?)?;
    rotated_whole(f, &latents)?;
    Ok(Arc::new(DeepSeek { latents, experts: Experts::deepseek(f, &EXPERTS)?, sparse: behind_first(f, c, 3)? }))
}

/// `rope_interleave`: neighbours are rotated together, as published, or the halves of a head.
pub(super) fn rotation(f: Fields) -> Result<Rotation> {
    let interleaved = if f.has("rope_interleave") { f.flag("rope_interleave")?.unwrap_or(false) } else { true };
    Ok(if interleaved { Rotation::Interleaved } else { Rotation::Halves })
}

/// `head_dim`, from which transformers takes the frequencies, is how many values are rotated.
fn rotated_whole(f: Fields, latents: &Latents) -> Result<()> {
    let width = f.integer_or_null("head_dim", 0..=config::MAX_HEAD_DIM)?;
    if width.is_some_and(|width| width != latents.rotated) {
        return Err(
            f.unsupported("head_dim", &format!("qk_rope_head_dim {} values of a head are rotated", latents.rotated))
        );
    }
    Ok(())
}

/// `first_k_dense_replace`: the first layers have an MLP, and all others experts.
pub(super) fn behind_first(f: Fields, c: &ModelConfig, default: usize) -> Result<Vec<bool>> {
    let dense = f.integer("first_k_dense_replace", 0..=experts::MAX_NUMBER)?.unwrap_or(default);
    Ok((0..c.layers).map(|layer| layer >= dense).collect())
}

impl Family for DeepSeek {
    fn encode(&self, e: &mut Encoding) {
        self.latents.encode(e);
        self.experts.encode(e);
        self.sparse.iter().for_each(|sparse| e.number((*sparse).into()));
    }

    fn block(&self, g: &mut Builder, c: &ModelConfig, layer: Layer, x: Value) -> Value {
        let x = self.latents.block(g, c, layer, x);
        if self.sparse[layer.index] { self.experts.block(g, c, layer, x) } else { llama::mlp(g, c, layer, x) }
    }
}
