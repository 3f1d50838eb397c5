"""Llama 4, its language model."""

from typing import Any

import torch
from rope_variants import LLAMA3, Ropes, changed
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix, mlp
from variants import FULL, Cases

CHUNKED = "chunked_attention"
# Waves of a head fall into all bands.
STRETCHED = rope(5e5, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

MODELS = {
    # As published: every key of the class but the shape left out, chunks shorter than the prompt, and queries that grow within it.
    "llama4_16": Spec(
        shape(32, 16, 4, 6, 2, 101, head_dim=16, intermediate_size_mlp=56, num_local_experts=3, attention_chunk_size=7,
              floor_scale=5, attn_scale=0.4, rope_parameters=STRETCHED, pad_token_id=None),
        v4_rope_key="rope_type",
        omit=("moe_layers", "no_rope_layers", "layer_types", "num_experts_per_tok", "use_qk_norm", "rope_theta",
              "attn_temperature_tuning", "interleave_moe_layer_step", "no_rope_layer_interval", "attention_bias"),
    ),
    # Experts on every second layer, which tokens share, and no norms of heads.
    "llama4_mixed": Spec(
        shape(36, 24, 3, 4, 4, 99, head_dim=10, intermediate_size_mlp=44, num_local_experts=5, num_experts_per_tok=3,
              interleave_moe_layer_step=2, use_qk_norm=False, no_rope_layers=[1, 0, 1], attention_chunk_size=16,
              attn_temperature_tuning=False, attention_bias=True, tie_word_embeddings=True, pad_token_id=None,
              rope_parameters=rope(5e5)),
        F16,
        files=2,
        stacked=True,
        prompt=40,
    ),
    # Layers of every kind: rotated ones that see all tokens and others that see a chunk; experts where the list says.
    "llama4_kinds": Spec(
        shape(24, 16, 4, 3, 1, 80, head_dim=6, intermediate_size_mlp=28, num_local_experts=3, num_experts_per_tok=2,
              moe_layers=[0, 3], no_rope_layers=[0, 1, 1, 0], attention_chunk_size=9, floor_scale=4, attn_scale=-0.1,
              layer_types=[CHUNKED, FULL, CHUNKED, FULL], pad_token_id=None, rope_parameters=rope(1e4)),
    ),
}


def values(name: str, noise: torch.Tensor) -> torch.Tensor | None:
    """Experts, whose inputs are rows, and a router whose sigmoids are far from one."""
    if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return 1.6 / noise.shape[-2] ** 0.5 * noise
    return None


CONFIG = {
    "model_type": "llama4_text",
    "architectures": ["Llama4ForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "intermediate_size_mlp": 20,
    "no_rope_layers": [1, 0, 1],
    "attention_chunk_size": 64,
    "floor_scale": 5,
    "interleave_moe_layer_step": 2,
    "pad_token_id": None,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("attention_chunk_size", 1, 5, 12, 0, -1, 5.0, "5", True)
case("attention_chunk_size", 5, layer_types=[FULL, CHUNKED, CHUNKED])
case("attention_chunk_size", None, layer_types=[CHUNKED] * 3)
case("attention_chunk_size", 5, layer_types=["sliding_attention"] * 3)
case("layer_types", [CHUNKED, FULL, CHUNKED], attention_chunk_size=5)
case("sliding_window", 3, attention_chunk_size=5)
case("attn_temperature_tuning", False, None, 4, 0)
without("attn_temperature_tuning")
case("floor_scale", 1, 3, 0, -1, None, 5.0, 2.5, "5", True)
case("attn_scale", 0.5, 0.0, -0.5, 1, 1e300, None, "0.1")
without("floor_scale", attn_scale=0.5)
case("use_qk_norm", False, None, 0)
without("use_qk_norm")
case("no_rope_layers", [1, 1, 1], [0, 0, 0], [1, 0, 1, 0], [1, 0], [], None, [2, 0, -1], [True, False, True], [1.0, 0.0, 1.0], "1")
case("no_rope_layers", None, no_rope_layer_interval=2)
case("no_rope_layer_interval", 1, 2, 3, 5, 0, -1, None, 2.0, no_rope_layers=None)
without("no_rope_layers")
# The weights have four experts, on all layers.
case("num_local_experts", 4.0, 8, 3, 0, -1, None, "4", True)
without("num_local_experts")
case("num_experts", 4)
case("num_experts_per_tok", 1, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("moe_layers", [], [0], [0, 1, 2], [2, 0, 2], [7], [-1], [1.0], ["1"], [True], [None], None, "1", 1)
case("interleave_moe_layer_step", 1, 3, 4, 0, -1, -2, 2.0, None, "2", True)
without("interleave_moe_layer_step")
case("interleave_moe_layer_step", 1, moe_layers=[0])
case("intermediate_size_mlp", 20, 16, 0, 20.0, None, "20")
without("intermediate_size_mlp")
case("attention_bias", True, use_qk_norm=False)
case("router_jitter_noise", 0.5)
case("for_llm_compressor", True)
for key in ("head_dim", "rms_norm_eps", "max_position_embeddings", "rope_theta", "tie_word_embeddings"):
    without(key)
# What sees images, and where they are in a text.
IMAGES: dict[str, Any] = {
    "boi_token_index": 7,
    "eoi_token_index": 7,
    "image_size": 8,
    "image_token_id": 7,
    "image_token_index": 7,
    "multi_modal_projector_bias": True,
    "norm_eps": 0.1,
    "num_channels": 1,
    "patch_size": 4,
    "pixel_shuffle_ratio": 0.25,
    "projector_dropout": 0.5,
    "projector_input_dim": 4,
    "projector_output_dim": 4,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "full",
    "vision_output_dim": 4,
}
for key, value in {**IMAGES, "vision_config": {"hidden_size": 8}}.items():
    case(key, value)

ROPE = Ropes()
# As published: no waves between long and short ones.
for place in ("rope_scaling", "rope_parameters"):
    ROPE.rope(f"no band in {place}", **{place: changed(LLAMA3, high_freq_factor=1.0)})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, experts = decoder(c), c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.feed_forward"
        made |= mlp(at, hidden, c["intermediate_size_mlp"]) | mlp(f"{at}.shared_expert", hidden, inner)
        made[f"{at}.router.weight"] = matrix(experts, hidden)
        made[f"{at}.experts.gate_up_proj"] = Random((experts, hidden, 2 * inner), spread=1.6 / hidden**0.5)
        made[f"{at}.experts.down_proj"] = Random((experts, inner, hidden), spread=1.6 / inner**0.5)
    return made
