"""Gemma 3, its text models."""

from typing import Any

from families import gemma2
from rope_variants import LINEAR, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from torch import Tensor
from variants import FULL, MIXED, SLIDES, SLIDING, Cases


def kinds(full: dict[str, Any], sliding: dict[str, Any]) -> dict[str, Any]:
    return {FULL: full, SLIDES: sliding}


MODELS = {
    # In the older spelling: thetas and scaling at the top, and a pattern in place of a list of layers.
    "gemma3_16": Spec(
        shape(40, 60, 4, 4, 2, 101, head_dim=16, query_pre_attn_scalar=24, sliding_window=6, sliding_window_pattern=2,
              rope_parameters=kinds(rope(1e6, "linear", factor=8.0), rope(1e4))),
        v4_rope_key="rope_type",
    ),
    "gemma3_plain": Spec(
        shape(42, 70, 3, 6, 3, 99, head_dim=10, query_pre_attn_scalar=7, attention_bias=True, tie_word_embeddings=False,
              final_logit_softcapping=2.0, hidden_activation="gelu", layer_types=MIXED, sliding_window=9,
              rope_parameters=kinds(rope(5e5, "yarn", factor=4.0, original_max_position_embeddings=64), rope(3e3))),
        F16,
        files=2,
    ),
}

CONFIG = {
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "sliding_window": 64,
    "sliding_window_pattern": 2,
    "tie_word_embeddings": False,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", 0, -1)
case("sliding_window", None, sliding_window_pattern=1)
for pattern in (1, 2, 6, 3.0, 0, -2, None, "2"):
    case("sliding_window_pattern", pattern, **SLIDING)
case("sliding_window_pattern", 1, **SLIDING, layer_types=MIXED)
case("_sliding_window_pattern", 2, **SLIDING)
without("tie_word_embeddings")
case("hidden_activation", "silu", "gelu", "gelu_pytorch_tanh", "quick_gelu", None, 7)
without("hidden_activation")
for key in ("attn_logit_softcapping", "final_logit_softcapping"):
    case(key, 0.5, 1, 0, 0.0, -1.0, None, "1.0", True)
case("query_pre_attn_scalar", 256, 4.0, 2.5, 10**30, 0, -4, None, "4", True)
without("query_pre_attn_scalar")
without("sliding_window_pattern", **SLIDING)
# What the classes of models with images, in the same files, read.
for key in ("boi_token_index", "eoi_token_index", "image_token_id", "image_token_index", "mm_tokens_per_image"):
    case(key, 7)
case("vision_config", {"hidden_size": 8})
case("rope_local_base_freq", 500.0, 500, None, "500", 0, **SLIDING)
case("rope_theta", 500.0, **SLIDING, layer_types=MIXED)
case("rope_scaling", {"rope_type": "linear", "factor": 8.0}, **SLIDING, layer_types=MIXED)
case(
    "rope_parameters",
    kinds(rope(500.0, "linear", factor=8.0), rope(77.0)),
    kinds(rope(500.0), None),
    {FULL: rope(500.0)},
    {SLIDES: rope(500.0)},
    {"rope_type": "linear", "factor": 8.0},
    **SLIDING,
    layer_types=MIXED,
)

ROPE = Ropes()
each = ROPE.rope
for name, types in (("both kinds", MIXED), ("full layers", [FULL] * 3), ("sliding layers", [SLIDES] * 3)):
    each(f"{name}: tops", layer_types=types, rope_theta=500.0, rope_local_base_freq=77.0)
    each(f"{name}: no tops", layer_types=types, drop=("rope_theta",))
    each(f"{name}: scaling at the top", layer_types=types, rope_scaling=LINEAR, rope_local_base_freq=77.0)
each("empty scaling", layer_types=MIXED, rope_scaling={})
each("scaling null", layer_types=MIXED, rope_scaling=None)
each("scaling of neither kind", layer_types=MIXED, rope_parameters=changed(LINEAR, rope_theta=500.0))
each("scaling of the wrong type", layer_types=MIXED, rope_scaling=[1])
each("parameters of the wrong type", layer_types=MIXED, rope_parameters=[1])
each("a kind of the wrong type", layer_types=MIXED, rope_parameters=kinds([1], rope()))
for own, local in (({}, {}), ({"rope_theta": 500.0}, {}), ({}, {"rope_theta": 500.0}), (LINEAR, LINEAR), (YARN, YARN)):
    each(f"own {own}, {local}", layer_types=MIXED, rope_parameters=kinds(own, local), rope_local_base_freq=77.0)
each("full alone", layer_types=MIXED, rope_parameters={FULL: changed(YARN, rope_theta=500.0)}, rope_local_base_freq=77.0)
each("sliding alone", layer_types=MIXED, rope_parameters={SLIDES: changed(YARN, rope_theta=500.0)})
each("full null", layer_types=MIXED, rope_parameters=kinds(None, rope(500.0)))
each("theta null in a kind", layer_types=MIXED, rope_parameters=kinds({"rope_theta": None}, rope(500.0)))
each("scaling in both spellings", layer_types=MIXED, rope_scaling=LINEAR, rope_parameters=kinds(rope(500.0), rope(77.0)))
each("no original length", layer_types=MIXED, rope_parameters=kinds({"rope_type": "yarn", "factor": 4.0}, rope()))
each("original length at the top", layer_types=MIXED, original_max_position_embeddings=8, rope_scaling=YARN)
each("a part of a head at the top", layer_types=MIXED, partial_rotary_factor=0.5, rope_scaling=LINEAR)
each("a part of a head in a kind", layer_types=MIXED, rope_parameters=kinds({**LINEAR, "partial_rotary_factor": 0.5}, {}))


tensors = gemma2.tensors


def values(name: str, noise: Tensor) -> Tensor | None:
    """As in Gemma 2; the embedding is small enough for a tied head not to say what it read."""
    return 0.03 * noise if "embed_tokens" in name or "lm_head" in name else gemma2.values(name, noise)
