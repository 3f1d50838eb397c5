//! Seed-OSS (`ByteDance`, 2025): Llama's block, whose biases each have a key of their own.

use std::sync::Arc;

use super::layers::no_window;
use super::llama::Llama;
use super::{Architecture, Family, Fields, ModelConfig};
use crate::error::Result;

pub(super) const SEED_OSS: Architecture =
    Architecture { model_type: "seed_oss", name: "SeedOssForCausalLM", covers: "Seed-OSS", honours: &[], family };

/// Queries, keys and values have a bias unless `attention_bias` is false, and heads are 128 wide unless `head_dim` says otherwise.
fn family(f: Fields, c: &mut ModelConfig) -> Result<Arc<dyn Family>> {
    f.silu_only()?;
    if !f.has("head_dim") {
        c.head_dim = 128;
    }
    if !f.has("num_key_value_heads") {
        c.kv_heads = 8;
    }
    if !f.has("max_position_embeddings") {
        c.max_positions = 524_288;
    }
    no_window(f, c)?;
    c.qkv_bias = f.flag("attention_bias")?.unwrap_or(true);
    c.o_bias = f.flag("attention_out_bias")?.unwrap_or(false);
    c.mlp_bias = f.flag("mlp_bias")?.unwrap_or(false);
    Ok(Arc::new(Llama))
}
