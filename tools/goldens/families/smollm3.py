"""SmolLM3."""

from spec import F16, Spec, rope, shape
from variants import FULL, MIXED, SLIDES, Cases

MODELS = {
    # Every fourth layer does not rotate its heads, by default, and slides.
    "smollm3_16": Spec(
        shape(40, 56, 4, 4, 2, 101, head_dim=16, rope_parameters=rope(2e6), use_sliding_window=True, sliding_window=7,
              attention_bias=True, pad_token_id=None),
        omit=("no_rope_layers", "no_rope_layer_interval", "rope_theta", "rope_scaling", "tie_word_embeddings"),
        v4_rope_key="rope_type",
    ),
    "smollm3_mixed": Spec(
        shape(36, 50, 4, 6, 3, 99, head_dim=10, no_rope_layers=[0, 1, 0, 1], mlp_bias=True, tie_word_embeddings=False,
              rope_parameters=rope(1e4, "yarn", factor=4.0, original_max_position_embeddings=16), sliding_window=9,
              layer_types=["full_attention", "sliding_attention", "full_attention", "full_attention"], pad_token_id=None),
        F16,
        files=2,
    ),
}

CONFIG = {
    "model_type": "smollm3",
    "architectures": ["SmolLM3ForCausalLM"],
    "pad_token_id": None,
    "no_rope_layers": [1, 0, 1],
    "tie_word_embeddings": False,
}

CASES = Cases()
case, without = CASES.case, CASES.without
case("no_rope_layers", [1, 1, 1], [0, 0, 0], [1, 0, 1, 0], [1, 0], [], None, [2, 0, -1], [True, False, True], [1.0, 0.0, 1.0], "1")
case("no_rope_layers", None, no_rope_layer_interval=2)
case("no_rope_layer_interval", 1, 2, 3, 5, 0, -1, None, 2.0, no_rope_layers=None)
case("no_rope_layer_interval", 2)
case("use_sliding_window", True, False, 1, None, sliding_window=5)
case("use_sliding_window", True, sliding_window=5, layer_types=[SLIDES, FULL, FULL])
case("use_sliding_window", False, sliding_window=5, layer_types=MIXED)
case("sliding_window", 0, -1, None, use_sliding_window=True)
case("attention_bias", True, mlp_bias=True)
for key in ("no_rope_layers", "tie_word_embeddings", "max_position_embeddings", "rope_theta"):
    without(key)
