"""Qwen3.5's language models without experts."""

from typing import Any

import torch
from spec import F16, Spec, rope, shape
from tensors import Random, bias, decoder, matrix, norm
from variants import FULL, Cases

LINEAR = "linear_attention"

MODELS = {
    # Two values for a key, and a width that no instruction set has.
    "qwen3_5_text_odd": Spec(
        shape(36, 44, 5, 3, 1, 101, head_dim=12, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6,
              linear_value_head_dim=10, linear_conv_kernel_dim=3, attention_bias=True, tie_word_embeddings=True,
              rope_parameters=rope(1e6, partial_rotary_factor=0.5)),
        omit=("layer_types",),
        files=2,
    ),
    "qwen3_5_text_16": Spec(
        shape(32, 40, 3, 4, 2, 99, head_dim=16, layer_types=[LINEAR, FULL, LINEAR], linear_num_key_heads=2,
              linear_num_value_heads=2, linear_key_head_dim=16, linear_value_head_dim=36),
        F16,
    ),
}

CONFIG = {
    "model_type": "qwen3_5_text",
    "architectures": ["Qwen3_5ForCausalLM"],
    "layer_types": [LINEAR, FULL, LINEAR],
    "linear_num_key_heads": 1,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
# A rotation needs as many pairs as scalings have factors for.
CASES = Cases()
ROPE = Cases()


def linear_cases(cases: Cases) -> None:
    """Variants of what decides a layer with a delta rule."""
    case, without = cases.case, cases.without
    case("layer_types", [LINEAR] * 3, [FULL, LINEAR, FULL], [LINEAR, "sliding_attention", LINEAR], [LINEAR, FULL])
    case("full_attention_interval", 2, 1, 4, 0, -1, 2.0, None, "2", layer_types=None)
    case("full_attention_interval", 2)
    without("layer_types")
    for key in ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"):
        case(key, 4, 0, -1, None, "1", 1.0)
        without(key)
    case("linear_num_value_heads", 1, 3, linear_num_key_heads=2)
    case("linear_conv_kernel_dim", 2, 4, 1, 0, 4.0, None, "4")
    without("linear_conv_kernel_dim")
    case("partial_rotary_factor", 0.25, None, "0.5")
    case("rms_norm_eps", 1e-3)
    without("rms_norm_eps")


linear_cases(CASES)
case = CASES.case
MROPE = {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
case("rope_parameters", MROPE, {**MROPE, "partial_rotary_factor": 0.5})
case("rope_scaling", {"type": "default", "mrope_section": [2, 1, 1]})
case("mrope_section", [2, 1, 1])
case("mtp_num_hidden_layers", 1)


def vision_cases(cases: Cases) -> None:
    """What the classes read for images, which changes no text."""
    for key in ("depth", "image_token_id", "in_channels", "num_position_embeddings", "out_hidden_size", "patch_size",
                "spatial_merge_size", "temporal_patch_size", "video_token_id"):
        cases.case(key, 2)


vision_cases(CASES)
case("vision_config", {"hidden_size": 8}, None)


def values(name: str, noise: torch.Tensor) -> torch.Tensor | None:
    """Norms have their distances from one, but for that behind the delta rule; and heads forget at rates that differ."""
    if name.endswith("A_log"):
        return 0.5 * noise
    if name.endswith("dt_bias"):
        return noise - 1
    if "linear_attn.norm" in name:
        return None
    return 0.2 * noise if "norm" in name and "bias" not in name else None


def own_tensors(c: dict[str, Any]) -> dict[str, Random]:
    """What both layouts of the projections have beside them."""
    made = decoder(c)
    for name in [name for name in made if "norm" in name]:
        made[name] = norm(*made[name].shape, around=0.0)
    hidden, heads = c["hidden_size"], c["linear_num_value_heads"]
    keys = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    wide = heads * c["linear_value_head_dim"]
    query = c["num_attention_heads"] * c["head_dim"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made[f"{at}.self_attn.q_proj.weight"] = matrix(2 * query, hidden)
        made[f"{at}.self_attn.q_proj.bias"] = bias(2 * query)
        at = f"{at}.linear_attn"
        made[f"{at}.conv1d.weight"] = Random((2 * keys + wide, 1, c.get("linear_conv_kernel_dim") or 4), spread=0.8)
        made[f"{at}.A_log"] = Random((heads,), spread=0.5)
        made[f"{at}.dt_bias"] = Random((heads,), around=-1.0)
        made[f"{at}.norm.weight"] = norm(c["linear_value_head_dim"])
        made[f"{at}.out_proj.weight"] = matrix(hidden, wide)
    return made


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, heads = own_tensors(c), c["hidden_size"], c["linear_num_value_heads"]
    keys, wide = c["linear_num_key_heads"] * c["linear_key_head_dim"], heads * c["linear_value_head_dim"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.linear_attn.in_proj"
        for name, rows in (("qkv", 2 * keys + wide), ("z", wide), ("b", heads), ("a", heads)):
            made[f"{at}_{name}.weight"] = matrix(rows, hidden)
    return made
