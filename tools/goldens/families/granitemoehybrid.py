"""Granite 4: Mamba-2 layers and some attention, with experts or without."""

from typing import Any

import torch
from mamba2 import mixer, values
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix, quiet
from transformers import DynamicCache, PreTrainedModel
from transformers.models.granitemoehybrid import modeling_granitemoehybrid
from variants import FULL, Cases

__all__ = ["values"]

LINEAR = "linear_attention"
MAMBA, ATTENTION = "mamba", "attention"

MODELS = {
    "granite_hybrid_16": Spec(
        shape(32, 40, 3, 2, 1, 101, head_dim=16, layer_types=[LINEAR, FULL, LINEAR], num_local_experts=0,
              num_experts_per_tok=0, shared_intermediate_size=28, mamba_n_heads=4, mamba_n_groups=2, mamba_d_state=12,
              position_embedding_type="rope", embedding_multiplier=3.0, attention_multiplier=0.2,
              residual_multiplier=0.6, logits_scaling=1.5, tie_word_embeddings=True, rope_parameters=rope(1e5)),
        v4_rope_key="rope_type",
        written={"layer_types": [MAMBA, ATTENTION, MAMBA]},
        omit=("time_step_limit",),
    ),
    "granite_hybrid_moe": Spec(
        shape(24, 12, 2, 3, 1, 97, layer_types=[FULL, LINEAR], num_local_experts=4, num_experts_per_tok=2,
              shared_intermediate_size=16, mamba_n_heads=3, mamba_d_head=16, mamba_d_state=34, attention_multiplier=0.3,
              residual_multiplier=0.7),
        v4_rope_key="rope_type",
        written={"layer_types": [ATTENTION, MAMBA]},
        files=2,
    ),
    # Steps of time that are held within bounds, no rotation, and every bias.
    "granite_hybrid_stacked": Spec(
        shape(36, 8, 4, 3, 3, 99, layer_types=[LINEAR, LINEAR, FULL, LINEAR], num_local_experts=5,
              num_experts_per_tok=2, shared_intermediate_size=20, mamba_expand=1, mamba_n_heads=6, mamba_d_head=6,
              mamba_n_groups=3, mamba_d_state=10, mamba_d_conv=3, mamba_conv_bias=False, mamba_proj_bias=True,
              time_step_limit=[0.1, 6.0], attention_bias=True, rms_norm_eps=1e-3),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "granitemoehybrid",
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "layer_types": [MAMBA, ATTENTION, MAMBA],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "shared_intermediate_size": 12,
    "position_embedding_type": "rope",
    "mamba_n_heads": 4,
    "mamba_n_groups": 2,
    "mamba_d_state": 6,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("layer_types", [MAMBA] * 3, [FULL, LINEAR, ATTENTION], [MAMBA, ATTENTION], [MAMBA, "conv", MAMBA])
case("layers_block_type", [ATTENTION, MAMBA, MAMBA], None)
case("layers_block_type", [ATTENTION, MAMBA, MAMBA], layer_types=None)
without("layer_types", layers_block_type=[ATTENTION, MAMBA, MAMBA])
without("layer_types")
for key in ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"):
    case(key, 1, 2.0, 0.22, 1e300, 0, -1.0, None, "1.0", True)
    without(key)
without("rms_norm_eps")
case("position_embedding_type", "rope", "nope", None)
without("position_embedding_type")
without("max_position_embeddings")
# The weights have four experts.
case("num_local_experts", 4, 4.0, 8, 3, 0, -1, None, "4", True)
case("num_local_experts", 0, num_experts_per_tok=0)
without("num_local_experts")
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("shared_intermediate_size", 8, 12.0, 0, None, "12")
without("shared_intermediate_size")
case("mamba_n_heads", 2, 3, 8, 4.0, 0, -4, None, "4")
without("mamba_n_heads")
case("mamba_d_head", "auto", 8, 4, 8.0, "8", 0, None)
case("mamba_expand", 1, 2, 4, 2.0, 0, None, "2")
case("mamba_expand", 1, mamba_d_head=4)
without("mamba_expand")
case("mamba_n_groups", 1, 4, 3, 2.0, 0, -1, None, "2")
without("mamba_n_groups")
case("mamba_d_state", 3, 6.0, 0, None, "6")
without("mamba_d_state")
case("mamba_d_conv", 2, 4, 1, 0, 4.0, None, "4")
without("mamba_d_conv")
case("mamba_chunk_size", 1, 3, 256, 0, -1, 4.0, None, "4")
case("mamba_conv_bias", True, False, None, 1, "true")
case("mamba_proj_bias", True, False, None, 1, "true")
INFINITE = {"__float__": "Infinity"}
case("time_step_limit", [0.0, INFINITE], [0, INFINITE], [0.0, 1e30], [0.5, 0.6], [0.6, 0.5], [0.0], [0.0, 1.0, 2.0],
     ["0", 1.0], [-1.0, INFINITE], "0", None, [0, 1])


def cache(model: PreTrainedModel) -> Any:
    """What version 4 keeps of Mamba-2 layers is none of its usual caches."""
    own = getattr(modeling_granitemoehybrid, "HybridMambaAttentionDynamicCache", None)
    return own(model.config, 1, dtype=torch.float32) if own else DynamicCache(config=model.config)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    """Mamba-2 and attention on every layer, and experts of every layer."""
    made, hidden, count = quiet(decoder(c), c), c["hidden_size"], c["num_local_experts"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made |= mixer(f"{at}.mamba", hidden, 2 * hidden, c["mamba_n_heads"], c["mamba_n_groups"], c["mamba_d_state"], 4)
        for module, inner, stack in (
            ("block_sparse_moe", c["intermediate_size"], (count,)),
            ("shared_mlp", c["shared_intermediate_size"], ()),
        ):
            made[f"{at}.{module}.input_linear.weight"] = Random((*stack, 2 * inner, hidden), spread=1.6 / hidden**0.5)
            made[f"{at}.{module}.output_linear.weight"] = Random((*stack, hidden, inner), spread=1.6 / inner**0.5)
        made[f"{at}.block_sparse_moe.router.layer.weight"] = matrix(count, hidden)
    return made
