"""Mixtral."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, experts, matrix
from variants import Cases

MODELS = {
    "mixtral_16": Spec(
        shape(48, 28, 2, 6, 2, 101, head_dim=16, num_local_experts=5, num_experts_per_tok=2, rope_parameters=rope(1e6)),
        omit=("rope_theta", "sliding_window", "rms_norm_eps"),
        v4_rope_key="rope_type",
        files=2,
    ),
    # A window shorter than the prompt, experts as transformers 5 holds them, and three of a token.
    "mixtral_window": Spec(
        shape(36, 20, 2, 3, 3, 99, head_dim=10, num_local_experts=7, num_experts_per_tok=3, sliding_window=6,
              tie_word_embeddings=True, rms_norm_eps=1e-3, rope_parameters=rope(500.0)),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "mixtral",
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
CASES = Cases()
case, without = CASES.case, CASES.without
# The weights have four experts.
case("num_local_experts", 4, 4.0, 8, 3, 0, -1, None, "4", True)
without("num_local_experts")
for count in (4, 8, 0, None, "4"):
    without("num_local_experts", num_experts=count)
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("sliding_window", None, 0, -1)
case("router_jitter_noise", 0.5, None)
without("rms_norm_eps")
without("max_position_embeddings")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden = decoder(c), c["hidden_size"]
    for layer in range(c["num_hidden_layers"]):
        moe = f"model.layers.{layer}.block_sparse_moe"
        made[f"{moe}.gate.weight"] = matrix(c["num_local_experts"], hidden)
        made |= experts(f"{moe}.experts", c["num_local_experts"], hidden, c["intermediate_size"], ("w1", "w3", "w2"))
    return made
