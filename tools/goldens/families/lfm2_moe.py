"""LFM2-MoE."""

from typing import Any

import torch
from spec import F16, Spec, rope, shape
from tensors import Random, experts, matrix
from variants import FULL, Cases

from . import lfm2
from .lfm2 import CONV

MODELS = {
    "lfm2_moe_16": Spec(
        shape(32, 44, 4, 4, 2, 101, head_dim=16, layer_types=[CONV, FULL, CONV, FULL], num_dense_layers=1,
              num_experts=6, num_experts_per_tok=2, moe_intermediate_size=12, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        written={"layer_types": [CONV, FULL, CONV, FULL]},
        files=2,
    ),
    # No bias for the choice, and weights that do not add up to one.
    "lfm2_moe_stacked": Spec(
        shape(36, 40, 3, 3, 1, 99, head_dim=10, layer_types=[FULL, CONV, CONV], num_dense_layers=1, num_experts=5,
              num_experts_per_tok=3, moe_intermediate_size=8, conv_bias=True, conv_L_cache=2, use_expert_bias=False,
              norm_topk_prob=False, routed_scaling_factor=1.5, tie_word_embeddings=False),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "lfm2_moe",
    "architectures": ["Lfm2MoeForCausalLM"],
    "layer_types": [CONV, FULL, CONV],
    "num_dense_layers": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("layer_types", [CONV] * 3, [FULL, CONV, FULL], [CONV, "attention", CONV], [CONV] * 2)
without("layer_types")
case("conv_L_cache", 2, 3, 4, 1, 0, -1, 3.0, None, "3")
without("conv_L_cache")
case("conv_bias", True, False, None, 1, "true")
case("norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("norm_eps")
case("num_dense_layers", 0, 2, 3, 7, -1, 1.0, None, "1")
case("num_experts", 4.0, 8, 3, 0, -1, None, "4")
without("num_experts")
case("num_experts_per_tok", 1, 3, 4, 5, 0, -1, 2.0, None, "2")
without("num_experts_per_tok")
case("moe_intermediate_size", 4, 0, 8.0, None, "8")
without("moe_intermediate_size")
case("norm_topk_prob", False, None, 1, "true")
case("routed_scaling_factor", 2.5, 2, 0, -1.0, None, "2")
case("use_expert_bias", False, None, 1, "true")
case("tie_embedding", True, False, None, "true")
case("tie_embedding", True, tie_word_embeddings=False)
case("tie_embedding", False, tie_word_embeddings=True)
without("tie_word_embeddings")
case("full_attn_idxs", [0])
case("theta", 1e6, 500.0)


def values(name: str, noise: torch.Tensor) -> torch.Tensor | None:
    """Sigmoids are close together, so the bias decides between some."""
    return 0.1 * noise if name.endswith("expert_bias") else None


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden = lfm2.tensors(c), c["hidden_size"]
    for layer in range(c["num_hidden_layers"]):
        mlp = f"model.layers.{layer}.feed_forward"
        made[f"{mlp}.gate.weight"] = matrix(c["num_experts"], hidden)
        made[f"{mlp}.expert_bias"] = Random((c["num_experts"],), spread=0.1)
        made |= experts(f"{mlp}.experts", c["num_experts"], hidden, c["moe_intermediate_size"], ("w1", "w3", "w2"))
    return made
