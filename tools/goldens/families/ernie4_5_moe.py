"""ERNIE 4.5 MoE."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, bias, decoder, experts, matrix, mlp
from variants import Cases

MODELS = {
    # Experts on the second and the third of four layers, and biases.
    "ernie_moe_16": Spec(
        shape(48, 52, 4, 3, 1, 101, head_dim=16, moe_intermediate_size=20, moe_num_experts=6, moe_k=3,
              moe_num_shared_experts=2, moe_layer_end_index=2, use_bias=True, rope_parameters=rope(5e5)),
        omit=("rope_theta", "rms_norm_eps", "tie_word_embeddings"),
        v4_rope_key="rope_type",
        files=2,
    ),
    # Nothing shared, weights whose sum may be too small to be made one, and experts on every second layer.
    "ernie_moe_stacked": Spec(
        shape(36, 44, 4, 6, 2, 99, head_dim=10, moe_intermediate_size=12, moe_num_experts=5, moe_k=2,
              moe_num_shared_experts=0, moe_layer_start_index=0, moe_layer_interval=2, moe_norm_min=0.6,
              tie_word_embeddings=False),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "ernie4_5_moe",
    "architectures": ["Ernie4_5_MoeForCausalLM"],
    "tie_word_embeddings": False,
    "moe_num_experts": 4,
    "moe_k": 2,
    "moe_intermediate_size": 8,
    "moe_num_shared_experts": 2,
}
CASES = Cases()
case, without = CASES.case, CASES.without
without("tie_word_embeddings")
without("rms_norm_eps")
without("max_position_embeddings")
case("use_bias", False, None, 1, "true")
# The weights have four experts, and shared ones as wide as two.
case("moe_num_experts", 4, 4.0, 8, 3, 0, -1, None, "4", True)
without("moe_num_experts")
for count in (4, 8, 0, None, "4"):
    without("moe_num_experts", num_experts=count)
case("moe_k", 1, 2, 4, 5, 0, -1, 2.0, None, "2", True)
without("moe_k")
for count in (2, 3, 0, None, "2"):
    without("moe_k", num_experts_per_tok=count)
case("moe_intermediate_size", 8, 4, 0, 8.0, None, "8")
without("moe_intermediate_size")
case("moe_num_shared_experts", 2, 1, 0, -1, 2.0, None, "2", True)
without("moe_num_shared_experts")
case("moe_layer_start_index", 0, 1, 2, 3, 7, -1, 1.0, None, "1", True)
without("moe_layer_start_index")
case("moe_layer_end_index", 0, 1, 2, 7, -1, -2, 1.0, -1.0, None, "1", True)
without("moe_layer_end_index")
case("moe_layer_interval", 1, 2, 3, 28, 0, -1, -2, 2.0, None, "2", True)
without("moe_layer_interval")
case("moe_norm_min", 0.0, 0.6, 0.9, 2, 1e-30, 1e30, -1.0, None, "1e-12", True)
without("moe_norm_min")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, count = decoder(c), c["hidden_size"], c["moe_intermediate_size"], c["moe_num_experts"]
    made["lm_head.bias"] = bias(c["vocab_size"])
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(count, hidden)
        made[f"{at}.moe_statics.e_score_correction_bias"] = Random((1, count), spread=0.3)
        made |= experts(f"{at}.experts", count, hidden, inner, ("gate_proj", "up_proj", "down_proj"))
        made |= mlp(f"{at}.shared_experts", hidden, inner * c["moe_num_shared_experts"], biased=True)
    return made
