"""DeepSeek-V2."""

from typing import Any

from rope_variants import LINEAR, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from tensors import Random, experts, latent_attention, matrix, mlp
from variants import Cases

MODELS = {
    # As V2-Lite: queries without a latent, and a rotation whose factor counts in the scores alone.
    "deepseek_v2_lite": Spec(
        shape(36, 44, 3, 3, 3, 101, q_lora_rank=None, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=6,
              v_head_dim=14, moe_intermediate_size=12, n_routed_experts=5, num_experts_per_tok=2, n_shared_experts=2,
              first_k_dense_replace=1,
              rope_parameters=rope(kind="yarn", factor=8.0, original_max_position_embeddings=32, mscale=0.707,
                                   mscale_all_dim=0.707, beta_fast=32, beta_slow=1)),
        v4_rope_key="type",
        omit=("topk_method",),
        files=2,
    ),
    # As V2: the best of each of four groups, and a bias wherever there may be one.
    "deepseek_v2_16": Spec(
        shape(48, 52, 2, 4, 4, 99, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16,
              v_head_dim=16, moe_intermediate_size=12, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=1,
              first_k_dense_replace=1, topk_method="group_limited_greedy", n_group=4, topk_group=2,
              routed_scaling_factor=4.0, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-5,
              rope_parameters=rope(1e6)),
        F16,
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "deepseek_v2",
    "architectures": ["DeepseekV2ForCausalLM"],
    "num_key_value_heads": 2,
    "q_lora_rank": 10,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 8,
    "n_shared_experts": 2,
    "topk_method": "group_limited_greedy",
    "n_group": 4,
    "topk_group": 2,
}
WIDE = {"qk_rope_head_dim": 32}
CASES = Cases()
case, without = CASES.case, CASES.without


def latent_cases(cases: Cases) -> None:
    """Of every family with this attention."""
    # The weights have one shape, and queries with a latent and without.
    cases.case("q_lora_rank", 10, 8, 0, -1, 10.0, None, "10", True)
    for key, value in (("kv_lora_rank", 12), ("qk_nope_head_dim", 6), ("qk_rope_head_dim", 8), ("v_head_dim", 10)):
        cases.case(key, value, value - 2, 0, -1, float(value), None, str(value), True)
    cases.case("qk_rope_head_dim", 7, qk_nope_head_dim=7)
    for key in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        cases.without(key)
    cases.case("num_key_value_heads", 2, 1, 4)
    cases.case("qk_head_dim", 4)
    # How much queries and keys count grows with the rotation's factor.
    for more in ({}, {"mscale": 0.707}, {"mscale": 1.0}):
        for all_dims in (0.707, 1.0, 0, 0.0, None, -1.0, "1", True):
            yarn = changed(YARN, mscale_all_dim=all_dims, **more)
            cases.case("rope_scaling", yarn)
            cases.case("rope_parameters", yarn)
    cases.case("rope_scaling", changed(LINEAR, mscale_all_dim=1.0))
    cases.case("rope_scaling", changed(YARN, mscale_all_dim=1.0, factor=0.5))
    cases.case("rope_scaling", changed(YARN, mscale_all_dim=1.0, factor=None))
    cases.case("rope_scaling", {"rope_type": "default", "factor": 4.0, "mscale_all_dim": 1.0})
    cases.case("partial_rotary_factor", 0.5, 1.0)


def expert_cases(cases: Cases) -> None:
    """Of every family with these experts."""
    # The weights have eight experts, and shared ones as wide as two.
    cases.case("n_routed_experts", 8, 8.0, 4, 16, 0, -1, None, "8", True)
    cases.without("n_routed_experts")
    cases.case("num_experts_per_tok", 3, 4, 5, 8, 9, 0, -1, 3.0, None, "3", True)
    cases.case("num_experts_per_tok", 8, n_group=1, topk_group=1)
    cases.without("num_experts_per_tok")
    cases.case("n_shared_experts", 2, 1, 0, -1, 2.0, None, "2", True)
    cases.without("n_shared_experts")
    cases.case("moe_intermediate_size", 8, 4, 0, 8.0, None, "8")
    cases.without("moe_intermediate_size")
    cases.case("n_group", 1, 2, 3, 8, 0, -1, 4.0, None, "4", topk_group=1)
    cases.case("topk_group", 1, 2, 4, 5, 0, -1, 2.0, None, "2", num_experts_per_tok=2)
    cases.without("n_group", topk_group=1)
    cases.without("topk_group")
    cases.case("routed_scaling_factor", 2.5, 2, 0.0, -1.0, None, "1.0", True)
    cases.without("routed_scaling_factor")
    cases.case("norm_topk_prob", False, True, None, 1, 0, "true")
    cases.without("norm_topk_prob")
    cases.case("moe_layer_freq", 1, 2, None)
    cases.without("rms_norm_eps")
    cases.without("max_position_embeddings")


latent_cases(CASES)
expert_cases(CASES)
# They matter to training alone.
case("aux_loss_alpha", 0.5)
case("seq_aux", False)
for count in (8, 4, 0, None, "8"):
    without("n_routed_experts", num_experts=count)
case("first_k_dense_replace", 0, 1, 2, 3, 7, -1, 1.0, None, "1", True)
without("first_k_dense_replace")
case("topk_method", "greedy", "noaux_tc", None, 1, ["greedy"])
case("topk_method", "greedy", n_group=None, topk_group=None)
case("topk_method", "greedy", n_group=3, topk_group=5)
without("topk_method")
case("scoring_func", "softmax", "sigmoid")

ROPE = Ropes()
ROPE.rope("yarn as published", rope_scaling=changed(YARN, mscale=0.707, mscale_all_dim=0.707, beta_fast=32, beta_slow=1))
ROPE.rope("yarn, two factors", rope_scaling=changed(YARN, mscale=1.0, mscale_all_dim=0.5))


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, count = latent_attention(c), c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(count, hidden)
        made |= experts(f"{at}.experts", count, hidden, inner, ("gate_proj", "up_proj", "down_proj"))
        made |= mlp(f"{at}.shared_experts", hidden, inner * c["n_shared_experts"], biased=True)
    return made
