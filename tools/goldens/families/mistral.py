"""Mistral: a window on every layer."""

from rope_variants import LINEAR, PLACES, Ropes
from spec import Spec, shape
from variants import Cases, FULL, MIXED, SLIDES, SLIDING

MODELS = {
    "mistral_window": Spec(
        shape(40, 72, 3, 4, 2, 128, head_dim=16, sliding_window=6), v4_rope_key="rope_type", prompt=24
    ),
    # Mistral's default is 8 key/value heads, not as many as there are heads.
    "mistral_full": Spec(
        shape(64, 72, 2, 16, 8, 104, sliding_window=None, rms_norm_eps=1e-5),
        omit=("num_key_value_heads", "head_dim"),
        v4_rope_key="type",
    ),
}

CONFIG = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", 0, -1)

ROPE = Ropes()
for place in PLACES:
    ROPE.rope(
        f"{place} for each kind of layer",
        **{place: {FULL: LINEAR, SLIDES: {"rope_type": "default"}}},
        layer_types=MIXED,
        **SLIDING,
    )
