"""Qwen3.5's language models with experts."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, experts, matrix, mlp
from variants import FULL, Cases

from . import qwen3_5_text
from .qwen3_5_text import LINEAR, linear_cases, values, vision_cases

MODELS = {
    "qwen3_5_moe_text_16": Spec(
        shape(32, 40, 4, 4, 2, 101, head_dim=16, linear_num_key_heads=1, linear_num_value_heads=3, linear_key_head_dim=8,
              linear_value_head_dim=16, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=12,
              shared_expert_intermediate_size=20, rope_parameters=rope(1e6, partial_rotary_factor=0.5)),
        omit=("layer_types", "intermediate_size"),
    ),
    "qwen3_5_moe_text_stacked": Spec(
        shape(24, 40, 2, 3, 1, 99, head_dim=8, layer_types=[LINEAR, FULL], linear_num_key_heads=2,
              linear_num_value_heads=2, linear_key_head_dim=12, linear_value_head_dim=8, num_experts=4,
              num_experts_per_tok=3, moe_intermediate_size=8, shared_expert_intermediate_size=12),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    **qwen3_5_text.CONFIG,
    "model_type": "qwen3_5_moe_text",
    "architectures": ["Qwen3_5MoeForCausalLM"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 12,
}
CASES = Cases()
linear_cases(CASES)


def expert_cases(cases: Cases) -> None:
    """Variants of what decides a layer with experts."""
    case, without = cases.case, cases.without
    case("num_experts", 4.0, 8, 3, 0, -1, None, "4")
    without("num_experts")
    case("num_experts_per_tok", 1, 3, 4, 5, 0, -1, 2.0, None, "2")
    without("num_experts_per_tok")
    for key in ("moe_intermediate_size", "shared_expert_intermediate_size"):
        case(key, 4, 0, None, "8")
        without(key)


expert_cases(CASES)
CASES.case("norm_topk_prob", False)
vision_cases(CASES)
CASES.case("vision_config", {"hidden_size": 8}, None)


def sparse_tensors(c: dict[str, Any]) -> dict[str, Random]:
    """The experts of all layers, and what stands beside them."""
    made, hidden = {}, c["hidden_size"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(c["num_experts"], hidden)
        parts = ("gate_proj", "up_proj", "down_proj")
        made |= experts(f"{at}.experts", c["num_experts"], hidden, c["moe_intermediate_size"], parts)
        made |= mlp(f"{at}.shared_expert", hidden, c["shared_expert_intermediate_size"])
        made[f"{at}.shared_expert_gate.weight"] = matrix(1, hidden)
    return made


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return qwen3_5_text.tensors(c) | sparse_tensors(c)
