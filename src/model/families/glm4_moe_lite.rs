//! GLM-4.7-Flash (2026): `DeepSeek` V3 with other numbers, and a list of the layers that have an MLP in place of experts.

use std::sync::Arc;

use super::deepseek_v3::{DeepSeek, rotation};
use super::experts::{self, Experts};
use super::fp8;
use super::latent::{self, Latents};
use super::rope::{Rope, RopeDefaults};
use super::{Architecture, Family, Fields, ModelConfig};
use crate::error::{Result, bail};

pub(super) const GLM4_MOE_LITE: Architecture = Architecture {
    model_type: "glm4_moe_lite",
    name: "Glm4MoeLiteForCausalLM",
    covers: "GLM-4.7-Flash",
    honours: &["quantization_config"],
    family,
};

const LATENTS: latent::Defaults = latent::Defaults { query_rank: 768, plain: 192, value: 256, rotated: "head_dim" };
const EXPERTS: experts::Defaults =
    experts::Defaults { numbers: Some([64, 4, 1]), inner: 1536, groups: [1, 1], normalise: true, scale: 1.8 };

fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    c.blocks = fp8::blocks(f)?;
    c.set_default(f, "num_key_value_heads", |c| &mut c.kv_heads, 20)?;
    c.set_default(f, "max_position_embeddings", |c| &mut c.max_positions, 202_752)?;
    if !f.has("rms_norm_eps") {
        c.rms_norm_eps = 1e-5;
    }
    if f.has("rope_interleave") && f.get("rope_interleave").is_none() {
        return Err(f.wrong("rope_interleave", "true or false"));
    }
    let latents = Latents::read(f, c, &LATENTS, rotation(f)?)?;
    c.rope = RopeDefaults { partial: Some(1.0), ..RopeDefaults::default() };
    c.ropes = vec![Rope::new(f, latents.rotated, c.max_positions, c.rope)?];
    if c.ropes[0].pairs() * 2 != latents.rotated {
        return Err(
            f.unsupported("partial_rotary_factor", "qk_rope_head_dim says how many values of a head are rotated")
        );
    }
    Ok(Arc::new(DeepSeek { latents, experts: Experts::deepseek(f, &EXPERTS)?, sparse: sparse(f, c.layers)? }))
}

/// `mlp_layer_types`; without it the first layer alone has an MLP.
fn sparse(f: Fields, layers: usize) -> Result<Vec<bool>> {
    const KEY: &str = "mlp_layer_types";
    let Some(types) = f.texts(KEY)? else { return Ok((0..layers).map(|layer| layer > 0).collect()) };
    if types.len() != layers {
        bail!(Malformed, "{} has {} entries, num_hidden_layers is {layers}", f.name(KEY), types.len());
    }
    let sparse = types.iter().map(|kind| match *kind {
        "sparse" => Ok(true),
        "dense" => Ok(false),
        other => Err(f.unsupported(KEY, &format!("no layer is `{other}`"))),
    });
    sparse.collect()
}
