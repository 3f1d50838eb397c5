"""OLMoE."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, experts, matrix, norm
from variants import Cases

MODELS = {
    "olmoe_16": Spec(
        shape(48, 28, 3, 3, 3, 101, num_experts=6, num_experts_per_tok=3, rope_parameters=rope(1e6)),
        omit=("rms_norm_eps", "num_key_value_heads"),
        v4_rope_key="rope_type",
        files=2,
    ),
    "olmoe_stacked": Spec(
        shape(60, 20, 2, 6, 2, 99, num_experts=5, num_experts_per_tok=2, norm_topk_prob=True, attention_bias=True,
              tie_word_embeddings=True),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "olmoe",
    "architectures": ["OlmoeForCausalLM"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
# The weights have four experts.
case("num_experts", 4, 4.0, 8, 3, 0, -1, None, "4", True)
without("num_experts")
for count in (4, 8, 0, None, "4"):
    without("num_experts", num_local_experts=count)
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("norm_topk_prob", False, None, 1, 0, "true")
without("norm_topk_prob")
case("clip_qkv", None, 1e9, 0.0)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, count = decoder(c), c["num_experts"]
    for layer in range(c["num_hidden_layers"]):
        attention = f"model.layers.{layer}.self_attn"
        made[f"{attention}.q_norm.weight"] = norm(c["num_attention_heads"] * c["head_dim"])
        made[f"{attention}.k_norm.weight"] = norm(c["num_key_value_heads"] * c["head_dim"])
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(count, c["hidden_size"])
        made |= experts(
            f"{at}.experts", count, c["hidden_size"], c["intermediate_size"], ("gate_proj", "up_proj", "down_proj")
        )
    return made
