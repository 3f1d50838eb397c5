"""Qwen2."""

from rope_variants import YARN, Ropes
from spec import F16, Spec, rope, shape
from variants import Cases

MODELS = {
    # A window that use_sliding_window turns off, as the published Qwen2.5 have.
    "qwen2_tied": Spec(
        shape(56, 88, 2, 7, 1, 128, tie_word_embeddings=True, rope_parameters=rope(1e6),
              use_sliding_window=False, sliding_window=4, max_window_layers=1),
        v4_rope_key="rope_type",
    ),
    "qwen2_untied": Spec(shape(60, 70, 2, 6, 2, 97, rope_parameters=rope(1e6)), F16),
    "qwen2_window": Spec(
        shape(64, 72, 4, 4, 2, 112, use_sliding_window=True, sliding_window=5, max_window_layers=2),
        v4_rope_key="rope_type",
    ),
}

CONFIG = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", None, use_sliding_window=True, max_window_layers=1)

ROPE = Ropes()
ROPE.rope("yarn: head_dim null", head_dim=None, rope_scaling=YARN)
