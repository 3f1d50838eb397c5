"""EXAONE 4."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, norm, quiet
from variants import FULL, MIXED, SLIDES, SLIDING, Cases

MODELS = {
    # Without layer_types the pattern decides: every second layer sees everything. All heads have keys of their own by default,
    # if there are 32 of them.
    "exaone4_hybrid": Spec(
        shape(30, 44, 3, 32, 32, 101, head_dim=4, sliding_window=6, sliding_window_pattern=2, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        omit=("rms_norm_eps", "num_key_value_heads"),
    ),
    # Published models have both, and layer_types decides. Heads that ONNX Runtime's own attention can rotate.
    "exaone4_16": Spec(
        shape(48, 60, 3, 4, 2, 99, head_dim=16, sliding_window=7, sliding_window_pattern="LLLG",
              layer_types=[SLIDES, FULL, SLIDES], tie_word_embeddings=True),
        F16,
        files=2,
    ),
    "exaone4_full": Spec(
        shape(32, 44, 2, 4, 4, 64, head_dim=16, sliding_window=None, layer_types=[FULL] * 2, rope_parameters=rope(
            1e4, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64,
        )),
    ),
}

CONFIG = {"model_type": "exaone4", "architectures": ["Exaone4ForCausalLM"], "sliding_window": 64}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
case("sliding_window", 0, -1, None)
case("sliding_window", None, layer_types=[FULL] * 3)
case("sliding_window_pattern", 1, 2, 3, 4, 2.0, 0, -2, None, "LLLG", "LLG", "G", "LG", "LLGL", "", "lg", [4], **SLIDING)
case("sliding_window_pattern", 0, "LLLG", None, -1, layer_types=MIXED, **SLIDING)
case("sliding_window_pattern", 2, sliding_window=None)
without("sliding_window_pattern", **SLIDING)
without("sliding_window_pattern", num_hidden_layers=2, **SLIDING)
case("cache_implementation", "hybrid")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = quiet(decoder(c), c)
    for layer in range(c["num_hidden_layers"]):
        made[f"model.layers.{layer}.post_feedforward_layernorm.weight"] = norm(c["hidden_size"])
    return made
