"""MiniMax-M2."""

from typing import Any

from fp8 import prepare, publish, reading  # noqa: F401  # for the model that is published so
from rope_variants import LINEAR, YARN, Ropes
from spec import F16, F32, Spec, rope, shape
from tensors import Random, bias, decoder, experts, matrix, norm
from variants import Cases

MODELS = {
    "minimax_16": Spec(
        shape(48, 28, 3, 6, 2, 101, head_dim=16, num_local_experts=6, num_experts_per_tok=3,
              rope_parameters=rope(5e6, partial_rotary_factor=0.5)),
        omit=("rope_theta",),
        v4_rope_key="rope_type",
        files=2,
    ),
    "minimax_stacked": Spec(
        shape(36, 20, 2, 3, 1, 99, head_dim=10, num_local_experts=5, num_experts_per_tok=2, tie_word_embeddings=True,
              rope_parameters=rope(500.0)),
        F16,
        stacked=True,
    ),
    # Matrices as published: eight-bit floats.
    "minimax_fp8": Spec(
        shape(64, 32, 2, 4, 2, 67, head_dim=16, num_local_experts=4, num_experts_per_tok=2,
              rope_parameters=rope(5e6, partial_rotary_factor=0.5)),
        F32,
        v4_rope_key="rope_type",
        published=True,
    ),
}

CONFIG = {
    "model_type": "minimax_m2",
    "architectures": ["MiniMaxM2ForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "rotary_dim": 4,
}
CASES = Cases()
case, without = CASES.case, CASES.without
without("max_position_embeddings")
# The weights have four experts.
case("num_local_experts", 4, 4.0, 8, 3, 0, -1, None, "4", True)
without("num_local_experts")
for count in (4, 8, 0, None, "4"):
    without("num_local_experts", num_experts=count)
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("router_jitter_noise", 0.5, None)
case("rotary_dim", 8, 6, 2, 16, 0, 4.0, None, "4")
case("rotary_dim", 4, partial_rotary_factor=0.75)
without("rotary_dim")
without("rotary_dim", partial_rotary_factor=0.75)

ROPE = Ropes()
ROPE.rope("linear, a quarter", rope_scaling=LINEAR, rotary_dim=2)
ROPE.rope("yarn, half", rope_scaling=YARN)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, count = decoder(c), c["num_local_experts"]
    for layer in range(c["num_hidden_layers"]):
        attention = f"model.layers.{layer}.self_attn"
        made[f"{attention}.q_norm.weight"] = norm(c["num_attention_heads"] * c["head_dim"])
        made[f"{attention}.k_norm.weight"] = norm(c["num_key_value_heads"] * c["head_dim"])
        moe = f"model.layers.{layer}.block_sparse_moe"
        made[f"{moe}.gate.weight"] = matrix(count, c["hidden_size"])
        made[f"{moe}.e_score_correction_bias"] = bias(count)
        made |= experts(f"{moe}.experts", count, c["hidden_size"], c["intermediate_size"], ("w1", "w3", "w2"))
    return made
