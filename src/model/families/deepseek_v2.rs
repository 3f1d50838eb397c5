//! `DeepSeek` V2 (2024): latent attention, and behind the first layers experts in place of the MLP, which the softmax of the router's
//! logits chooses: of all, or of the groups whose best ones are the best.

use std::sync::Arc;

use super::deepseek_v3::{DeepSeek, behind_first};
use super::experts::Experts;
use super::latent::{self, Latents};
use super::{Architecture, Family, Fields, ModelConfig};
use crate::error::Result;
use crate::kernels::Rotation;

pub(super) const DEEPSEEK_V2: Architecture = Architecture {
    model_type: "deepseek_v2",
    name: "DeepseekV2ForCausalLM",
    covers: "DeepSeek-V2, V2.5, V2-Lite, Coder-V2 and Coder-V2-Lite",
    honours: &[],
    family,
};

const LATENTS: latent::Defaults =
    latent::Defaults { query_rank: 1536, plain: 128, value: 128, rotated: "qk_rope_head_dim" };

/// `mlp_bias` puts a bias on the MLP and on what every token passes beside the experts.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    Ok(Arc::new(DeepSeek {
        latents: Latents::read(f, c, &LATENTS, Rotation::Interleaved)?,
        experts: Experts::deepseek_v2(f, c.mlp_bias)?,
        sparse: behind_first(f, c, 0)?,
    }))
}
