"""OLMo 3."""

from typing import Any

from families import olmo2
from rope_variants import LINEAR, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from variants import FULL, MIXED, SLIDES, SLIDING, Cases


def kinds(full: dict[str, Any], sliding: dict[str, Any]) -> dict[str, Any]:
    return {FULL: full, SLIDES: sliding}


MODELS = {
    "olmo3_kinds": Spec(
        shape(50, 60, 3, 5, 1, 101, layer_types=[SLIDES, FULL, SLIDES], sliding_window=9, attention_bias=True,
              rope_parameters=kinds(rope(5e5, "yarn", factor=4.0, original_max_position_embeddings=64), rope(1e4))),
        F16,
        files=2,
    ),
    # As published: three of four layers slide, and rope_scaling is for the fourth. Heads that ONNX Runtime's own attention can
    # rotate.
    "olmo3_16": Spec(
        shape(32, 44, 4, 3, 3, 99, head_dim=16, sliding_window=6, tie_word_embeddings=True, rope_parameters=kinds(
            rope(5e5, "yarn", factor=8.0, original_max_position_embeddings=32, attention_factor=1.25, beta_fast=32.0,
                 beta_slow=1.0),
            rope(5e5),
        )),
        v4_rope_key="rope_type",
        omit=("num_key_value_heads", "rms_norm_eps"),
    ),
}

CONFIG = {"model_type": "olmo3", "architectures": ["Olmo3ForCausalLM"], "sliding_window": 64}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
case("sliding_window", 0, -1, None)
case("sliding_window", None, layer_types=[FULL] * 3)
case("num_hidden_layers", 2, **SLIDING)
case("rope_theta", 500.0, 500000, **SLIDING, layer_types=MIXED)
case("rope_theta", 500.0, **SLIDING, layer_types=[FULL] * 3)
case("rope_scaling", {"rope_type": "linear", "factor": 8.0}, {"type": "linear", "factor": 8.0}, **SLIDING, layer_types=MIXED)
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
    each(f"{name}: theta at the top", layer_types=types, rope_theta=500.0)
    each(f"{name}: the usual theta at the top", layer_types=types, rope_theta=500000)
    each(f"{name}: no top", layer_types=types, drop=("rope_theta",))
    each(f"{name}: scaling at the top", layer_types=types, drop=("rope_theta",), rope_scaling=YARN)
    each(
        f"{name}: theta at the top and of its own",
        layer_types=types,
        rope_theta=500.0,
        rope_parameters=kinds({}, {"rope_theta": 77.0}),
    )
for own, local in (({}, {}), ({"rope_theta": 500.0}, {}), ({}, {"rope_theta": 500.0}), (LINEAR, LINEAR), (YARN, YARN)):
    each(f"own {own}, {local}", layer_types=MIXED, drop=("rope_theta",), rope_parameters=kinds(own, local))
each("empty scaling", layer_types=MIXED, drop=("rope_theta",), rope_scaling={})
each("full alone", layer_types=MIXED, drop=("rope_theta",), rope_parameters={FULL: changed(YARN, rope_theta=500.0)})
each("sliding alone", layer_types=MIXED, drop=("rope_theta",), rope_parameters={SLIDES: changed(YARN, rope_theta=500.0)})
each("full null", layer_types=MIXED, drop=("rope_theta",), rope_parameters=kinds(None, rope(500.0)))
each("scaling of neither kind", layer_types=MIXED, drop=("rope_theta",), rope_parameters=changed(LINEAR, rope_theta=500.0))
each("scaling in both spellings", layer_types=MIXED, rope_scaling=LINEAR, rope_parameters=kinds(rope(500.0), rope(77.0)))

tensors = olmo2.tensors
