"""Command R7B, Command A: Command R with windows, and no positions on layers without one."""

from spec import F16, Spec, rope, shape
from variants import FULL, MIXED, SLIDES, Cases

MODELS = {
    # Three layers with a window before one without, which no key tells.
    "cohere2_16": Spec(
        shape(48, 54, 4, 3, 1, 101, sliding_window=6, rope_parameters=rope(5e4)),
        omit=("tie_word_embeddings", "logit_scale", "layer_norm_eps"),
        v4_rope_key="rope_type",
    ),
    "cohere2_mixed": Spec(
        shape(60, 42, 3, 6, 2, 99, attention_bias=True, hidden_act="gelu", logit_scale=0.3, layer_norm_eps=1e-3,
              tie_word_embeddings=False, layer_types=["full_attention", "sliding_attention", "full_attention"],
              sliding_window=9),
        F16,
        files=2,
    ),
}

CONFIG = {
    "model_type": "cohere2",
    "architectures": ["Cohere2ForCausalLM"],
    "tie_word_embeddings": False,
    "sliding_window": 5,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", 0, -1, None)
case("sliding_window_pattern", 1, 2, 3, 3.0, 0, -1, None, "2", True)
case("sliding_window_pattern", 2, 0, layer_types=MIXED)
case("layer_types", [FULL] * 3, [SLIDES] * 3, sliding_window=None)
case("logit_scale", 1, 2.5, 0.0, -1.0, None, "1.0", True)
without("logit_scale")
case("layer_norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("layer_norm_eps")
without("tie_word_embeddings")
case("hidden_act", "gelu_new", "relu2")
without("hidden_act")
