//! The families, one file each: what their config keys default to, and what one block computes.

mod cohere;
mod deepseek_v2;
mod deepseek_v3;
mod dots1;
mod ernie;
mod ernie_moe;
mod exaone4;
mod falcon_h1;
mod gemma2;
mod gemma3;
mod gemma3n;
mod gemma4;
mod glm4;
mod glm4_moe;
mod glm4_moe_lite;
mod gpt_neox;
mod gpt_oss;
mod granite;
mod granite_hybrid;
mod hunyuan;
mod lfm2;
mod llama;
mod llama4;
mod minimax;
mod ministral3;
mod mistral;
mod mixtral;
mod nemotron;
mod nemotron_h;
mod olmo;
mod olmoe;
mod phi;
mod phi3;
mod phimoe;
mod qwen2;
mod qwen3;
mod qwen3_next;
mod qwen_moe;
mod seed_oss;
mod smollm3;
mod starcoder2;

use super::{
    Architecture, Boundary, Family, Fields, Layer, ModelConfig, Range, activation, config, experts, family, fp8,
    latent, layers, mamba2, per_layer, plain, rope, shared_rows, spellings,
};

pub(super) use llama::Llama;
pub(super) use mistral::MINISTRAL;
pub(super) use nemotron_h::NEMOTRON_H;

/// Every family, a line each.
#[rustfmt::skip]
pub(crate) static ARCHITECTURES: &[Architecture] = &[
    cohere::COHERE,
    cohere::COHERE2,
    deepseek_v2::DEEPSEEK_V2,
    deepseek_v3::DEEPSEEK_V3,
    dots1::DOTS1,
    ernie::ERNIE4_5,
    ernie_moe::ERNIE4_5_MOE,
    exaone4::EXAONE4,
    falcon_h1::FALCON_H1,
    gemma2::GEMMA2,
    gemma3::GEMMA3,
    gemma3n::GEMMA3N,
    gemma4::GEMMA4,
    glm4::GLM,
    glm4::GLM4,
    glm4_moe::GLM4_MOE,
    glm4_moe_lite::GLM4_MOE_LITE,
    gpt_neox::GPT_NEOX,
    granite::GRANITE,
    granite::GRANITE_MOE,
    granite_hybrid::GRANITE_HYBRID,
    gpt_oss::GPT_OSS,
    hunyuan::HUNYUAN_V1_DENSE,
    lfm2::LFM2,
    lfm2::LFM2_MOE,
    llama::LLAMA,
    llama4::LLAMA4,
    minimax::MINIMAX_M2,
    mistral::MISTRAL,
    mistral::MINISTRAL,
    mixtral::MIXTRAL,
    nemotron::NEMOTRON,
    nemotron_h::NEMOTRON_H,
    ministral3::MINISTRAL3,
    olmo::OLMO2,
    olmo::OLMO3,
    olmoe::OLMOE,
    phi::PHI,
    phi3::PHI3,
    phimoe::PHIMOE,
    qwen2::QWEN2,
    qwen_moe::QWEN2_MOE,
    qwen3::QWEN3,
    qwen_moe::QWEN3_MOE,
    qwen3_next::QWEN3_NEXT,
    qwen3_next::QWEN3_5,
    qwen3_next::QWEN3_5_MOE,
    seed_oss::SEED_OSS,
    smollm3::SMOLLM3,
    starcoder2::STARCODER2,
];
