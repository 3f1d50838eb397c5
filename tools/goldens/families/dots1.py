"""dots.llm1."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, bias, decoder, experts, matrix, mlp
from variants import Cases

MODELS = {
    "dots1_16": Spec(
        shape(48, 52, 3, 3, 1, 101, head_dim=16, moe_intermediate_size=20, n_routed_experts=6, num_experts_per_tok=2,
              n_shared_experts=1, first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=2.5,
              attention_bias=True, sliding_window=6, max_window_layers=2, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
    ),
    "dots1_stacked": Spec(
        shape(36, 44, 2, 6, 2, 99, head_dim=10, moe_intermediate_size=12, n_routed_experts=8, num_experts_per_tok=3,
              n_shared_experts=2, n_group=4, topk_group=3, sliding_window=None, tie_word_embeddings=True),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "dots1",
    "architectures": ["Dots1ForCausalLM"],
    "sliding_window": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 8,
    "n_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", None)
case("max_window_layers", 1, sliding_window=5)
# The weights have eight experts, and shared ones as wide as two.
case("n_routed_experts", 8, 8.0, 4, 16, 0, -1, None, "8", True)
without("n_routed_experts")
for count in (8, 4, 0, None, "8"):
    without("n_routed_experts", num_local_experts=count)
case("num_experts_per_tok", 3, 4, 5, 8, 9, 0, -1, 3.0, None, "3", True)
case("num_experts_per_tok", 8, n_group=1, topk_group=1)
without("num_experts_per_tok")
case("n_shared_experts", 2, 1, 0, -1, 2.0, None, "2", True)
without("n_shared_experts")
case("moe_intermediate_size", 8, 4, 0, 8.0, None, "8")
without("moe_intermediate_size")
case("n_group", 1, 2, 3, 8, 0, -1, 4.0, None, "4", topk_group=1)
case("topk_group", 1, 2, 4, 5, 0, -1, 2.0, None, "2", num_experts_per_tok=2)
without("n_group", topk_group=1)
without("topk_group")
case("routed_scaling_factor", 2.5, 2, 0.0, -1.0, None, "1.0", True)
without("routed_scaling_factor")
case("norm_topk_prob", False, True, None, 1, 0, "true")
without("norm_topk_prob")
case("first_k_dense_replace", 0, 1, 2, 3, 7, -1, 1.0, None, "1", True)
without("first_k_dense_replace")
without("rms_norm_eps")
without("max_position_embeddings")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, count = decoder(c), c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(count, hidden)
        made[f"{at}.gate.e_score_correction_bias"] = bias(count)
        made |= experts(f"{at}.experts", count, hidden, inner, ("gate_proj", "up_proj", "down_proj"))
        made |= mlp(f"{at}.shared_experts", hidden, inner * c["n_shared_experts"])
    return made
