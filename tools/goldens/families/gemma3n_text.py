"""Gemma 3n, its text models."""

from typing import Any

from families import gemma3_text, gemma4_text
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix, norm
from torch import Tensor
from variants import FULL, MIXED, SLIDES, Cases

MODELS = {
    # In the older spelling, with windows on all layers but each fifth.
    "gemma3n_16": Spec(
        shape(32, 36, 5, 2, 1, 80, head_dim=16, sliding_window=6, num_kv_shared_layers=0, hidden_size_per_layer_input=5,
              vocab_size_per_layer_input=85, altup_num_inputs=3, laurel_rank=7,
              rope_parameters=gemma3_text.kinds(rope(5e5), rope(3e3))),
        F16,
        v4_rope_key="rope_type",
    ),
    # Layers that read the keys and values of an earlier one, MLPs of several widths, some of them sparse, and tokens without a row in
    # the table of per-layer embeddings.
    "gemma3n_shared": Spec(
        shape(24, [20, 30, 20, 26, 20], 5, 4, 2, 90, head_dim=6, sliding_window=5, num_kv_shared_layers=2,
              layer_types=[SLIDES, SLIDES, FULL, SLIDES, FULL], hidden_size_per_layer_input=6, vocab_size_per_layer_input=70,
              altup_correct_scale=False, laurel_rank=5, activation_sparsity_pattern=[0.3, 0.0, 0.2, 0.1, 0.0],
              attention_bias=True, tie_word_embeddings=False, final_logit_softcapping=2.0),
        files=2,
    ),
}

CONFIG = {
    "model_type": "gemma3n_text",
    "architectures": ["Gemma3nForCausalLM"],
    "layer_types": MIXED,
    "num_kv_shared_layers": 1,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": 40,
    "altup_num_inputs": 3,
    "laurel_rank": 4,
    "sliding_window": 5,
    "tie_word_embeddings": False,
}
CASES = Cases()
case, without = CASES.case, CASES.without
gemma4_text.text_keys(case, without)
without("final_logit_softcapping")
case("intermediate_size", [24, 24, 24], [24, 24], [24, 24.0, 24], [24, "24", 24], [24, 20, 24], [])
case("activation_sparsity_pattern", [0.5, 0.0, 0.95], [0, 0, 0], [0.5] * 2, [1.0, 0.0, 0.0], [-0.5, 0.0, 0.0], [2.0, 0.0, 0.0],
     ["0.5", 0.0, 0.0], 0.5, None, [])
case("altup_active_idx", 0, 1, 3, -1, None, "0")
case("altup_num_inputs", 3, 3.0, 2, 1, 0, None, "3")
case("altup_correct_scale", True, False, None, 1)
case("altup_coef_clip", 120.0, 0.01, None)
case("laurel_rank", 4, 4.0, 3, 0, None, "4")
for key in ("altup_num_inputs", "altup_active_idx", "altup_correct_scale", "altup_coef_clip", "laurel_rank"):
    without(key)
case("num_attention_heads", 3, head_dim=8, num_key_value_heads=1)
case("rope_local_base_freq", 500.0, 500, None, "500", 0)
case("rope_scaling", {"rope_type": "linear", "factor": 8.0})
case(
    "rope_parameters",
    gemma3_text.kinds(rope(500.0, "linear", factor=8.0), rope(77.0)),
    gemma3_text.kinds(rope(500.0), None),
    {FULL: rope(500.0)},
    {SLIDES: rope(500.0)},
    {"rope_type": "linear", "factor": 8.0},
)


def media_keys(case: Any) -> None:
    """What the classes of images and sounds, in the same files, read."""
    for key in (
        "architecture", "audio_soft_tokens_per_image", "audio_token_id", "boa_token_id", "boi_token_id",
        "conf_attention_chunk_size", "conf_attention_context_left", "conf_attention_context_right", "conf_attention_logit_cap",
        "conf_conv_kernel_size", "conf_num_attention_heads", "conf_num_hidden_layers", "conf_reduction_factor",
        "conf_residual_weight", "do_pooling", "eoa_token_id", "eoi_token_id", "gradient_clipping", "image_token_id",
        "input_feat_size", "model_args", "sscp_conv_channel_size", "sscp_conv_group_norm_eps", "sscp_conv_kernel_size",
        "sscp_conv_stride_size", "vision_soft_tokens_per_image", "vocab_offset",
    ):
        case(key, 57)


media_keys(case)
case("vision_config", {"hidden_size": 8})
case("audio_config", {"hidden_size": 8})

ROPE = gemma3_text.ROPE


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    """Those of Llama, with every bias; norms around attention and MLP; per-layer embeddings; and what mixes streams."""
    hidden, streams, rank = c["hidden_size"], c["altup_num_inputs"], c["laurel_rank"]
    made = decoder(c) | gemma4_text.per_layer_tensors(c)
    for stream in range(streams - 1):
        for name in ("altup_projections", "altup_unembed_projections"):
            made[f"model.{name}.{stream}.weight"] = matrix(hidden, hidden)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm", "post_per_layer_input_norm",
                     "altup.router_norm", "laurel.post_laurel_norm"):
            made[f"{at}.{name}.weight"] = norm(hidden)
        made[f"{at}.altup.correct_output_scale"] = norm(hidden)
        made[f"{at}.altup.correction_coefs.weight"] = Random((streams, streams), spread=0.4)
        made[f"{at}.altup.prediction_coefs.weight"] = Random((streams**2, streams), spread=0.4)
        made[f"{at}.altup.modality_router.weight"] = Random((streams, hidden), spread=4.0)
        made[f"{at}.laurel.linear_left.weight"] = matrix(rank, hidden)
        made[f"{at}.laurel.linear_right.weight"] = matrix(hidden, rank)
    return made


def values(name: str, noise: Tensor) -> Tensor | None:
    """A router's weights are large, since what it reads is divided by the width; and coefficients of streams small."""
    if "modality_router" in name:
        return 1.5 * noise
    if "_coefs" in name:
        return 0.2 * noise
    if "correct_output_scale" in name:
        return 1 + 0.2 * noise
    return gemma4_text.values(name, noise)
