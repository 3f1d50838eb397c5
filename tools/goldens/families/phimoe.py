"""Phi-MoE."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, bias, decoder, experts, matrix, with_norm_biases
from variants import Cases

MODELS = {
    # Logits that are close to one another, and some that are not.
    "phimoe_16": Spec(
        shape(48, 28, 3, 3, 1, 101, num_local_experts=6, num_experts_per_tok=2, router_jitter_noise=0.2,
              attention_bias=True, lm_head_bias=True, rope_parameters=rope(1e6)),
        omit=("rope_theta", "rms_norm_eps"),
        v4_rope_key="rope_type",
        files=2,
    ),
    "phimoe_window": Spec(
        shape(60, 20, 2, 6, 2, 99, num_local_experts=4, num_experts_per_tok=2, sliding_window=6, rms_norm_eps=1e-3,
              rope_parameters=rope(500.0)),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "phimoe",
    "architectures": ["PhimoeForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "router_jitter_noise": 0.1,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", None, 0, -1)
without("rms_norm_eps")
without("max_position_embeddings")
case("lm_head_bias", True, False, None, 1)
# The weights have four experts.
case("num_local_experts", 4, 4.0, 8, 3, 1, 0, -1, None, "4", True)
without("num_local_experts")
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("router_jitter_noise", 0.5, 0.0, 1, 1e300, -1.0, None, "0.01")
without("router_jitter_noise")
case("input_jitter_noise", 0.5, None)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, count = decoder(c), c["num_local_experts"]
    made["lm_head.bias"] = bias(c["vocab_size"])
    for layer in range(c["num_hidden_layers"]):
        moe = f"model.layers.{layer}.block_sparse_moe"
        made[f"{moe}.gate.weight"] = matrix(count, c["hidden_size"])
        made |= experts(f"{moe}.experts", count, c["hidden_size"], c["intermediate_size"], ("w1", "w3", "w2"))
    return with_norm_biases(made)
