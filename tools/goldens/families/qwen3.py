"""Qwen3."""

from rope_variants import LINEAR, PLACES, Ropes, changed
from spec import F16, F32, Spec, rope, shape
from variants import Cases, FULL, SLIDES

MODELS = {
    "qwen3_tied": Spec(
        shape(64, 80, 2, 4, 2, 128, head_dim=24, tie_word_embeddings=True, rope_parameters=rope(1e6))
    ),
    "qwen3_bias_sharded": Spec(
        shape(42, 70, 2, 6, 3, 101, head_dim=24, attention_bias=True, rope_parameters=rope(1e6)),
        F16,
        v4_rope_key="rope_type",
        files=2,
    ),
    # An explicit layer_types wins over max_window_layers.
    "qwen3_alternating": Spec(
        shape(36, 50, 4, 4, 1, 99, head_dim=12, use_sliding_window=True, sliding_window=7,
              layer_types=["sliding_attention", "full_attention"] * 2),
        F32,
    ),
    # Head norms in front of heads that ONNX Runtime's own attention can rotate.
    "qwen3_16": Spec(
        shape(48, 70, 3, 4, 2, 101, head_dim=16, tie_word_embeddings=True, rope_parameters=rope(1e6))
    ),
}

CONFIG = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", None, use_sliding_window=True, max_window_layers=1)

ROPE = Ropes()
for place in PLACES:
    ROPE.rope(
        f"{place} for each kind of layer",
        **{place: {FULL: changed(LINEAR, rope_theta=500.0), SLIDES: {"rope_type": "default"}}},
    )
