"""Granite 3."""

from spec import F16, Spec, rope, shape
from variants import Cases

MODELS = {
    # Scores that are not scaled at all, as without the key.
    "granite_bias": Spec(
        shape(60, 70, 3, 6, 2, 101, attention_bias=True, mlp_bias=True, embedding_multiplier=3, residual_multiplier=0.7,
              logits_scaling=1.5, rope_parameters=rope(1e6)),
        F16,
        omit=("attention_multiplier",),
        files=2,
    ),
    # Heads that ONNX Runtime's own attention can rotate.
    "granite_16": Spec(
        shape(48, 50, 2, 3, 1, 99, head_dim=16, embedding_multiplier=1.25, attention_multiplier=0.15,
              residual_multiplier=1.5, logits_scaling=0.5, tie_word_embeddings=True),
        v4_rope_key="rope_type",
    ),
}

CONFIG = {
    "model_type": "granite",
    "architectures": ["GraniteForCausalLM"],
    "embedding_multiplier": 1.5,
    "attention_multiplier": 0.3,
    "residual_multiplier": 0.7,
    "logits_scaling": 1.5,
}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
for key in ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"):
    case(key, 1, 12.0, 0.22, 1e300, 0, -1.0, None, "1.0", True)
    without(key)
