"""Qwen3-MoE."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, experts, matrix
from variants import Cases

MODELS = {
    "qwen3_moe": Spec(
        shape(48, 70, 3, 4, 2, 101, head_dim=16, moe_intermediate_size=20, num_experts=8, num_experts_per_tok=2,
              norm_topk_prob=True, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        files=2,
    ),
    # Experts on every second layer but one, and weights that do not add up to one.
    "qwen3_moe_mixed": Spec(
        shape(36, 50, 6, 6, 1, 99, head_dim=10, moe_intermediate_size=12, num_experts=5, num_experts_per_tok=3,
              decoder_sparse_step=2, mlp_only_layers=[3], attention_bias=True, tie_word_embeddings=True),
        F16,
    ),
    "qwen3_moe_stacked": Spec(
        shape(32, 44, 2, 2, 1, 64, head_dim=16, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2,
              norm_topk_prob=True, mlp_only_layers=[1]),
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", None, use_sliding_window=True, max_window_layers=1)
# The weights have four experts.
case("num_experts", 0, 4, 4.0, 8, 3, -1, None, "4", True, False)
without("num_experts")
for count in (4, 4.0, 0, 8, None, "4"):
    without("num_experts", num_local_experts=count)
case("num_local_experts", 4, 0, None, "4")
case("num_experts", None, num_local_experts=4)
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
case("num_experts_per_tok", 0, 5, num_experts=0)
without("num_experts_per_tok")
case("norm_topk_prob", False, None, 1, 0, "true")
case("norm_topk_prob", True, num_experts_per_tok=1)
case("moe_intermediate_size", 8, 4, 0, 8.0, None, "8")
case("moe_intermediate_size", 0, None, num_experts=0)
without("moe_intermediate_size")
case("decoder_sparse_step", 1, 3, 4, 28, 0, -1, -2, 2.0, None, "2", True)
case("decoder_sparse_step", 0, num_experts=0)
case("mlp_only_layers", [], [0], [0, 1, 2], [2, 0, 2], [7], [-1], [1.0], ["1"], [True], [None])
case("mlp_only_layers", None, "1", 1, {}, {"1": 1})
case("mlp_only_layers", [1], [0], decoder_sparse_step=2)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner = decoder(c), c["hidden_size"], c["moe_intermediate_size"]
    for layer in range(c["num_hidden_layers"]):
        mlp = f"model.layers.{layer}.mlp"
        made[f"{mlp}.gate.weight"] = matrix(c["num_experts"], hidden)
        made |= experts(f"{mlp}.experts", c["num_experts"], hidden, inner, ("gate_proj", "up_proj", "down_proj"))
    return made
