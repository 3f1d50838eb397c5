"""Qwen3-Next."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, matrix
from transformers import DynamicCache, PreTrainedModel
from transformers.models.qwen3_next import modeling_qwen3_next
from variants import FULL, Cases

from . import qwen3_5_text
from .qwen3_5_moe_text import expert_cases, sparse_tensors
from .qwen3_5_text import LINEAR, linear_cases, values

MODELS = {
    "qwen3_next_16": Spec(
        shape(32, 40, 4, 4, 2, 101, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8,
              linear_value_head_dim=12, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=12,
              shared_expert_intermediate_size=20, rope_parameters=rope(1e6, partial_rotary_factor=0.5)),
        v4_rope_key="rope_type",
        files=2,
    ),
    # Experts on some layers, and weights that do not add up to one.
    "qwen3_next_mixed": Spec(
        shape(36, 44, 3, 3, 1, 99, head_dim=12, layer_types=[FULL, LINEAR, LINEAR], linear_num_key_heads=1,
              linear_num_value_heads=1, linear_key_head_dim=10, linear_value_head_dim=34, linear_conv_kernel_dim=2,
              num_experts=4, num_experts_per_tok=3, moe_intermediate_size=8, shared_expert_intermediate_size=12,
              norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[1], attention_bias=True,
              tie_word_embeddings=True),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    **qwen3_5_text.CONFIG,
    "model_type": "qwen3_next",
    "architectures": ["Qwen3NextForCausalLM"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 12,
}
CASES = Cases()
linear_cases(CASES)
expert_cases(CASES)
case = CASES.case
case("norm_topk_prob", False, None, 1, "true")
case("decoder_sparse_step", 1, 2, 3, 0, -1, 2.0, None, "2")
case("mlp_only_layers", [], [0], [0, 1, 2], [7], None, "1")


def cache(model: PreTrainedModel) -> Any:
    """What version 4 keeps of layers with a delta rule is none of its usual caches."""
    own = getattr(modeling_qwen3_next, "Qwen3NextDynamicCache", None)
    return own(model.config) if own else DynamicCache(config=model.config)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, heads = qwen3_5_text.own_tensors(c), c["hidden_size"], c["linear_num_value_heads"]
    keys, wide = c["linear_num_key_heads"] * c["linear_key_head_dim"], heads * c["linear_value_head_dim"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.linear_attn.in_proj"
        made[f"{at}_qkvz.weight"] = matrix(2 * keys + 2 * wide, hidden)
        made[f"{at}_ba.weight"] = matrix(2 * heads, hidden)
    return made | sparse_tensors(c)
