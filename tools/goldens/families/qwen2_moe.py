"""Qwen2-MoE."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, experts, matrix, mlp
from variants import FULL, SLIDES, Cases

MODELS = {
    "qwen2_moe_16": Spec(
        shape(48, 70, 2, 3, 1, 101, moe_intermediate_size=20, shared_expert_intermediate_size=28, num_experts=6,
              num_experts_per_tok=2, norm_topk_prob=True, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        files=2,
    ),
    # Windows on the first and the third of four layers, experts on every second one but the first of these.
    "qwen2_moe_window": Spec(
        shape(36, 50, 4, 6, 3, 99, head_dim=10, moe_intermediate_size=12, shared_expert_intermediate_size=18,
              num_experts=5, num_experts_per_tok=3, decoder_sparse_step=2, mlp_only_layers=[1], qkv_bias=False,
              use_sliding_window=True, sliding_window=7, max_window_layers=3, tie_word_embeddings=True),
        F16,
    ),
    "qwen2_moe_stacked": Spec(
        shape(32, 44, 2, 2, 2, 64, moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=4,
              num_experts_per_tok=1, mlp_only_layers=[1]),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "qwen2_moe",
    "architectures": ["Qwen2MoeForCausalLM"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "shared_expert_intermediate_size": 12,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", None, 0, use_sliding_window=True, max_window_layers=1)
case("layer_types", [SLIDES, FULL, SLIDES], sliding_window=5, use_sliding_window=True)
case("qkv_bias", False, None, 0)
# The weights have four experts.
case("num_experts", 0, 4, 4.0, 8, 3, -1, None, "4", True, False)
without("num_experts")
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
case("num_experts_per_tok", 0, 5, num_experts=0)
without("num_experts_per_tok")
case("norm_topk_prob", False, None, 1, 0, "true")
case("moe_intermediate_size", 8, 4, 0, 8.0, None, "8")
case("moe_intermediate_size", 0, None, num_experts=0)
without("moe_intermediate_size")
case("shared_expert_intermediate_size", 12, 8, 0, 12.0, None, "12")
case("shared_expert_intermediate_size", 0, None, num_experts=0)
without("shared_expert_intermediate_size")
case("decoder_sparse_step", 1, 3, 4, 28, 0, -1, -2, 2.0, None, "2", True)
case("decoder_sparse_step", 0, num_experts=0)
case("mlp_only_layers", [], [0], [0, 1, 2], [2, 0, 2], [7], [-1], [1.0], ["1"], [True], [None])
case("mlp_only_layers", None, "1", 1, {}, {"1": 1})
case("mlp_only_layers", [1], [0], decoder_sparse_step=2)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, parts = decoder(c), c["hidden_size"], ("gate_proj", "up_proj", "down_proj")
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(c["num_experts"], hidden)
        made |= experts(f"{at}.experts", c["num_experts"], hidden, c["moe_intermediate_size"], parts)
        made |= mlp(f"{at}.shared_expert", hidden, c["shared_expert_intermediate_size"])
        made[f"{at}.shared_expert_gate.weight"] = matrix(1, hidden)
    return made
