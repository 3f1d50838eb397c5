"""GLM-4.7-Flash."""

from families import deepseek_v2, deepseek_v3
from rope_variants import LINEAR, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from variants import Cases

MODELS = {
    "glm4_moe_lite_16": Spec(
        shape(48, 52, 2, 3, 3, 101, q_lora_rank=24, kv_lora_rank=32, qk_nope_head_dim=24, qk_rope_head_dim=16,
              v_head_dim=32, moe_intermediate_size=12, n_routed_experts=6, num_experts_per_tok=2, n_shared_experts=1,
              rms_norm_eps=1e-5, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        omit=("mlp_layer_types",),
    ),
    "glm4_moe_lite_stacked": Spec(
        shape(36, 44, 3, 5, 5, 99, q_lora_rank=18, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=6,
              v_head_dim=12, moe_intermediate_size=12, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=2,
              n_group=4, topk_group=3, norm_topk_prob=False, routed_scaling_factor=1.5, rope_interleave=False,
              mlp_layer_types=["sparse", "dense", "sparse"], attention_bias=True, tie_word_embeddings=True),
        F16,
        stacked=True,
    ),
}

CONFIG = {key: value for key, value in deepseek_v3.CONFIG.items() if key != "first_k_dense_replace"} | {
    "model_type": "glm4_moe_lite",
    "architectures": ["Glm4MoeLiteForCausalLM"],
}
WIDE = deepseek_v2.WIDE
CASES = Cases()
case, without = CASES.case, CASES.without
deepseek_v2.latent_cases(CASES)
deepseek_v2.expert_cases(CASES)
for count in (8, 4, 0, None, "8"):
    without("n_routed_experts", num_local_experts=count)
case("first_k_dense_replace", 0, 1, 2)
case(
    "mlp_layer_types",
    ["dense", "sparse", "sparse"],
    ["sparse", "dense", "sparse"],
    ["sparse"] * 2,
    ["sparse"] * 4,
    ["other"] * 3,
    None,
    "sparse",
)
case("rope_interleave", True, False, None, 1, 0, "true")
without("rope_interleave")
case("topk_method", "noaux_tc", "greedy")
case("scoring_func", "sigmoid", "softmax")

ROPE = Ropes()
ROPE.rope("yarn as V3", rope_scaling=changed(YARN, mscale=1.0, mscale_all_dim=1.0))
ROPE.rope("linear, a half", rope_scaling=LINEAR, partial_rotary_factor=0.5)

tensors = deepseek_v3.tensors
