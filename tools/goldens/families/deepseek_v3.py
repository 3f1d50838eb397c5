"""DeepSeek-V3."""

from typing import Any

from families import deepseek_v2
from fp8 import prepare, publish, reading  # noqa: F401  # for the model that is published so
from rope_variants import YARN, Ropes, changed
from spec import F16, F32, Spec, rope, shape
from tensors import Random, bias, experts, latent_attention, matrix, mlp
from variants import Cases

MODELS = {
    # As published: the best two of each of four groups, and a rotation whose factor counts in the scores alone.
    "deepseek_v3_groups": Spec(
        shape(36, 44, 3, 3, 3, 101, q_lora_rank=14, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=6,
              v_head_dim=14, moe_intermediate_size=12, n_routed_experts=12, num_experts_per_tok=4, n_shared_experts=1,
              first_k_dense_replace=1, n_group=4, topk_group=2, num_nextn_predict_layers=1,
              rope_parameters=rope(kind="yarn", factor=8.0, original_max_position_embeddings=32, mscale=1.0,
                                   mscale_all_dim=1.0, beta_fast=32, beta_slow=1)),
        v4_rope_key="type",
        omit=("rope_interleave",),
        files=2,
    ),
    # Queries without a latent, heads rotated by halves, biases, and two shared experts.
    "deepseek_v3_16": Spec(
        shape(48, 52, 2, 4, 4, 99, q_lora_rank=None, kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=16,
              v_head_dim=32, moe_intermediate_size=12, n_routed_experts=5, num_experts_per_tok=2, n_shared_experts=2,
              first_k_dense_replace=0, n_group=1, topk_group=1, norm_topk_prob=False, rope_interleave=False,
              attention_bias=True, tie_word_embeddings=True, rope_parameters=rope(1e6)),
        F16,
        stacked=True,
    ),
    # Matrices as published: eight-bit floats.
    "deepseek_v3_fp8": Spec(
        shape(64, 96, 2, 4, 4, 65, q_lora_rank=32, kv_lora_rank=48, qk_nope_head_dim=32, qk_rope_head_dim=16,
              v_head_dim=16, moe_intermediate_size=32, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
              first_k_dense_replace=1, n_group=2, topk_group=1, rope_parameters=rope(1e4)),
        F32,
        v4_rope_key="rope_type",
        published=True,
    ),
}

CONFIG = {key: value for key, value in deepseek_v2.CONFIG.items() if key != "topk_method"} | {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "first_k_dense_replace": 1,
}
WIDE = deepseek_v2.WIDE
CASES = Cases()
case, without = CASES.case, CASES.without
deepseek_v2.latent_cases(CASES)
deepseek_v2.expert_cases(CASES)
for count in (8, 4, 0, None, "8"):
    without("n_routed_experts", num_local_experts=count)
case("first_k_dense_replace", 0, 1, 2, 3, 7, -1, 1.0, None, "1", True)
without("first_k_dense_replace")
case("rope_interleave", True, False, None, 1, 0, "true")
without("rope_interleave")
case("num_mtp_layers", 0, 1, None)
case("topk_method", "noaux_tc", "greedy")
case("scoring_func", "sigmoid", "softmax")

ROPE = Ropes()
ROPE.rope("yarn as published", rope_scaling=changed(YARN, mscale=1.0, mscale_all_dim=1.0, beta_fast=32, beta_slow=1))


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, count = latent_attention(c), c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.mlp"
        made[f"{at}.gate.weight"] = matrix(count, hidden)
        made[f"{at}.gate.e_score_correction_bias"] = bias(count)
        made |= experts(f"{at}.experts", count, hidden, inner, ("gate_proj", "up_proj", "down_proj"))
        made |= mlp(f"{at}.shared_experts", hidden, inner * c["n_shared_experts"])
    return made
