"""Nemotron-H: in each layer either Mamba-2, attention, an MLP, or experts."""

from typing import Any

import mamba2
from spec import F16, Spec, shape
from tensors import Random, bias, matrix, norm
from torch import Tensor
from variants import FULL, Cases

LINEAR = "linear_attention"

MODELS = {
    # The keys that published models have.
    "nemotron_h_16": Spec(
        shape(32, 40, 4, 2, 1, 101, head_dim=16, layers_block_type=[LINEAR, "mlp", FULL, "moe"], ssm_state_size=12,
              mamba_num_heads=4, mamba_head_dim=6, n_groups=2, n_routed_experts=6, num_experts_per_tok=2,
              moe_intermediate_size=12, moe_shared_expert_intermediate_size=20, routed_scaling_factor=2.5),
        omit=("layers_block_type", "layer_types", "mtp_layers_block_type", "time_step_limit", "time_step_min"),
        written={"hybrid_override_pattern": "M-*E", "num_hidden_layers": 4, "torch_dtype": "bfloat16"},
        files=2,
    ),
    # Every bias, groups of experts, which see less than the whole width, and steps of time that are not too short.
    "nemotron_h_stacked": Spec(
        shape(36, 44, 4, 3, 3, 99, head_dim=10, layers_block_type=[FULL, "moe", LINEAR, "mlp"], ssm_state_size=34,
              mamba_num_heads=3, mamba_head_dim=7, n_groups=1, conv_kernel=3, use_conv_bias=False, use_bias=True,
              mlp_bias=True, mlp_hidden_act="gelu", mamba_hidden_act="relu", n_routed_experts=8, num_experts_per_tok=3,
              n_group=4, topk_group=2, norm_topk_prob=False, moe_intermediate_size=8, moe_latent_size=20,
              moe_shared_expert_intermediate_size=12, layer_norm_epsilon=1e-3, time_step_min=0.1),
        F16,
        stacked=True,
        written={"num_hidden_layers": 4},
    ),
}

CONFIG = {
    "model_type": "nemotron_h",
    "architectures": ["NemotronHForCausalLM"],
    "hybrid_override_pattern": "M*E",
    "layer_norm_epsilon": 1e-5,
    "ssm_state_size": 6,
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "n_groups": 2,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "moe_shared_expert_intermediate_size": 12,
}
CASES = Cases()
case, without = CASES.case, CASES.without
LIST = [LINEAR, "mlp", FULL]
case("hybrid_override_pattern", "M*-", "MMMM", "ME", "", "MX*", None, 3)
without("hybrid_override_pattern")
for key in ("layers_block_type", "layer_types"):
    case(key, LIST, ["mamba", "attention", "moe"], [LINEAR], [LINEAR, "conv", FULL], [], None)
    without("hybrid_override_pattern", **{key: LIST})
case("num_hidden_layers", 5, hybrid_override_pattern=None, layers_block_type=LIST)
without("num_hidden_layers")
for key in ("layer_norm_epsilon",):
    case(key, 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
    without(key)
case("mlp_hidden_act", "silu", "gelu", "relu2", "quick_gelu", "nothing", None)
case("mamba_hidden_act", "silu", "gelu", "relu", "tanh", "nothing", None)
case("sliding_window", 5, None)
MORE = {
    "ssm_state_size": (None, 3, 6.0, 0, "6"),
    "mamba_num_heads": (None, 2, 3, 8, 4.0, 0, -4, "4"),
    "mamba_head_dim": (None, 4, 8.0, 0, "8"),
    "n_groups": ("mamba_n_groups", 1, 4, 3, 2.0, 0, -1, "2"),
    "conv_kernel": ("mamba_d_conv", 2, 4, 1, 0, 4.0, "4"),
    "expand": ("mamba_expand", 1, 4.0, 0),
    "use_conv_bias": ("mamba_conv_bias", True, False, 1, "true"),
    "chunk_size": ("mamba_chunk_size", 1, 3, 0, -1, 4.0, "4"),
    "time_step_min": ("mamba_dt_min", 0.5, 0.0, 1, -1.0, "0.5", 1e-30),
    "time_step_max": ("mamba_dt_max", 0.5, 0.0),
    "time_step_limit": ("mamba_dt_limit", [0.0, 0.5], [0.5, 0.6]),
    "time_step_floor": ("mamba_dt_init_floor", 0.5),
    "mamba_proj_bias": (None, True),
    "use_bias": (None, True, False, 1, "true"),
    "n_routed_experts": (None, 4.0, 8, 3, 0, -1, "4"),
    "num_local_experts": (None, 4, 3),
    "n_shared_experts": (None, 1, 2, 0),
    "num_experts_per_tok": (None, 1, 3, 4, 5, 0, -1, 2.0, "2"),
    "moe_intermediate_size": (None, 4, 8.0, 0, "8"),
    "moe_shared_expert_intermediate_size": (None, 8, 12.0, 0, "12"),
    "moe_latent_size": (None, 10, 10.0, 0, "10"),
    "moe_shared_expert_overlap": (None, False),
    "routed_scaling_factor": (None, 2.5, 2, 0, -1.0, "2"),
    "n_group": (None, 2, 4, 3, 0),
    "topk_group": (None, 1, 2, 0),
    "norm_topk_prob": (None, False, 1, "true"),
    "use_mamba_kernels": (None, False),
    "mamba_ssm_cache_dtype": (None, "bfloat16"),
    "hidden_dropout": (None, 0.5),
    "residual_in_fp32": (None, True),
    "rescale_prenorm_residual": (None, False),
    "num_logits_to_keep": (None, 0),
    "mtp_layers_block_type": (None, ["attention", "moe"]),
    "mtp_hybrid_override_pattern": (None, "*E"),
}
for key, (other, *tried) in MORE.items():
    case(key, *tried, None)
    without(key)
    if other:
        case(other, *tried, None)
case("topk_group", 1, n_group=2, num_experts_per_tok=1)
case("topk_group", 3, n_group=2)

# No layer rotates.
ROPE = None


def values(name: str, noise: Tensor) -> Tensor | None:
    """Sigmoids are close together, so the bias decides between some experts."""
    if name.endswith("e_score_correction_bias"):
        return 0.1 * noise
    return 0.35 * noise if name.endswith("embeddings.weight") else mamba2.values(name, noise)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    """Every kind of layer in each."""
    hidden, inner, heads, head = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"], c["head_dim"]
    made = {
        "backbone.embeddings.weight": Random((c["vocab_size"], hidden), spread=0.02),
        "backbone.norm_f.weight": norm(hidden),
        "lm_head.weight": Random((c["vocab_size"], hidden), spread=0.5),
    }
    linears = {"q_proj": (heads * head, hidden), "k_proj": (c["num_key_value_heads"] * head, hidden),
               "v_proj": (c["num_key_value_heads"] * head, hidden), "o_proj": (hidden, heads * head)}
    latent, count = 10, c["n_routed_experts"]
    linears |= {"fc1_latent_proj": (latent, hidden), "fc2_latent_proj": (hidden, latent)}
    for at, width in (("", inner), ("shared_experts.", c["moe_shared_expert_intermediate_size"])):
        linears |= {f"{at}up_proj": (width, hidden), f"{at}down_proj": (hidden, width)}
    for layer in range(c["num_hidden_layers"]):
        at = f"backbone.layers.{layer}"
        made[f"{at}.norm.weight"] = norm(hidden)
        made |= mamba2.mixer(f"{at}.mixer", hidden, c["mamba_num_heads"] * c["mamba_head_dim"], c["mamba_num_heads"],
                             c["n_groups"], c["ssm_state_size"], 4)
        for name, (rows, columns) in linears.items():
            made[f"{at}.mixer.{name}.weight"] = matrix(rows, columns)
            made[f"{at}.mixer.{name}.bias"] = bias(rows)
        made[f"{at}.mixer.gate.weight"] = matrix(count, hidden)
        made[f"{at}.mixer.gate.e_score_correction_bias"] = Random((count,), spread=0.1)
        for expert in range(count):
            made[f"{at}.mixer.experts.{expert}.up_proj.weight"] = matrix(c["moe_intermediate_size"], hidden)
            made[f"{at}.mixer.experts.{expert}.down_proj.weight"] = matrix(hidden, c["moe_intermediate_size"])
    return made
