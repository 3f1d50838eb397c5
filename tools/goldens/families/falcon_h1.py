"""Falcon-H1: Mamba-2 and attention side by side in every layer."""

from typing import Any

import torch
from mamba2 import mixer, values
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, norm, quiet
from transformers import DynamicCache, PreTrainedModel
from transformers.models.falcon_h1 import modeling_falcon_h1
from variants import Cases

__all__ = ["values"]

MODELS = {
    # A gate alone behind the states.
    "falcon_h1_16": Spec(
        shape(32, 40, 2, 2, 1, 101, head_dim=16, mamba_d_ssm=24, mamba_n_heads=4, mamba_n_groups=2, mamba_d_state=12,
              embedding_multiplier=2.5, lm_head_multiplier=0.7, key_multiplier=0.6, attention_in_multiplier=0.8,
              attention_out_multiplier=1.3, ssm_in_multiplier=1.2, ssm_out_multiplier=0.9,
              ssm_multipliers=[0.7, 1.3, 0.8, 1.4, 0.6], mlp_multipliers=[1.5, 0.7], rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        omit=("time_step_limit", "mamba_rms_norm"),
        files=2,
    ),
    # Every bias, a norm in front of the gate, and steps of time that are held within bounds.
    "falcon_h1_bias": Spec(
        shape(36, 44, 3, 3, 3, 99, head_dim=10, mamba_d_ssm=None, mamba_expand=1, mamba_n_heads=6, mamba_d_head=6,
              mamba_n_groups=3, mamba_d_state=10, mamba_d_conv=2, mamba_conv_bias=False, mamba_proj_bias=True,
              projectors_bias=True, attention_bias=True, mlp_bias=True, mamba_rms_norm=True, mamba_norm_before_gate=True,
              time_step_limit=[0.1, 6.0], attention_in_multiplier=0.5, ssm_in_multiplier=0.5,
              mlp_multipliers=[0.5, 2.0], ssm_multipliers=[0.5, 2.0, 1.5, 0.5, 2.0], tie_word_embeddings=True),
        F16,
    ),
    "falcon_h1_norm": Spec(
        shape(24, 20, 2, 3, 1, 97, head_dim=8, mamba_d_ssm=48, mamba_n_heads=3, mamba_d_state=34, mamba_rms_norm=True,
              mamba_norm_before_gate=False),
    ),
}

CONFIG = {
    "model_type": "falcon_h1",
    "architectures": ["FalconH1ForCausalLM"],
    "mamba_d_ssm": 32,
    "mamba_n_heads": 4,
    "mamba_n_groups": 2,
    "mamba_d_state": 6,
    "mamba_rms_norm": True,
}
CASES = Cases()
case, without = CASES.case, CASES.without
for key in ("embedding_multiplier", "lm_head_multiplier", "key_multiplier", "attention_in_multiplier",
            "attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier"):
    case(key, 1, 2.0, 0.22, 1e300, 0, 0.0, -1.0, None, "1.0", True)
    without(key)
case("ssm_multipliers", [1.0, 2.0, 0.5, 1.5, 3.0], [2, 1, 1, 1, 1], [1.0] * 4, [1.0] * 6, [0.0, 1.0, 1.0, 1.0, 1.0],
     [-1.0, 1.0, 1.0, 1.0, 1.0], [], None, 2.0, ["1"] * 5)
case("mlp_multipliers", [2.0, 0.5], [2, 1], [1.0], [1.0] * 3, [0.0, 1.0], [-1.0, 1.0], [], None, 2.0, ["1"] * 2)
without("rms_norm_eps")
without("max_position_embeddings")
case("mamba_d_ssm", 16, 24, 30, 32.0, 0, None, "32")
case("mamba_d_ssm", None, mamba_expand=1)
without("mamba_d_ssm")
case("mamba_n_heads", 2, 3, 8, 4.0, 0, -4, None, "4")
without("mamba_n_heads")
case("mamba_d_head", "auto", 8, 4, 8.0, "8", 0, None)
case("mamba_expand", 1, 2.0, 0, None, "2")
case("mamba_n_groups", 1, 4, 3, 2.0, 0, -1, None, "2")
without("mamba_n_groups")
case("mamba_d_state", 3, 6.0, 0, None, "6")
without("mamba_d_state")
case("mamba_d_conv", 2, 4, 1, 0, 4.0, None, "4")
without("mamba_d_conv")
case("mamba_chunk_size", 1, 3, 256, 0, -1, 4.0, None, "4")
for key in ("mamba_conv_bias", "mamba_proj_bias", "projectors_bias", "mamba_norm_before_gate", "mamba_rms_norm"):
    case(key, True, False, None, 1, "true")
    without(key)
case("num_logits_to_keep", 0, 2, None)
case("layers_block_type", ["hybrid"] * 3, ["attention"] * 3)
case("layer_types", ["hybrid"] * 3)
INFINITE = {"__float__": "Infinity"}
case("time_step_limit", [0.0, INFINITE], [0, INFINITE], [0.0, 1e30], [0.5, 0.6], [0.6, 0.5], [0.0], [0.0, 1.0, 2.0],
     ["0", 1.0], [-1.0, INFINITE], "0", None, [0, 1])


def cache(model: PreTrainedModel) -> Any:
    """What version 4 keeps of these layers is none of its usual caches."""
    own = getattr(modeling_falcon_h1, "FalconHybridMambaAttentionDynamicCache", None)
    if own is None:
        return DynamicCache(config=model.config)
    return own(model.config, 1, dtype=torch.float32, devices=["cpu"] * model.config.num_hidden_layers)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden = quiet(decoder(c), c), c["hidden_size"]
    made = {name.replace(".mlp.", ".feed_forward."): tensor for name, tensor in made.items()}
    made["model.final_layernorm.weight"] = norm(hidden)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made[f"{at}.pre_ff_layernorm.weight"] = norm(hidden)
        made |= mixer(f"{at}.mamba", hidden, c["mamba_d_ssm"], c["mamba_n_heads"], c["mamba_n_groups"],
                      c["mamba_d_state"], 4)
    return made
