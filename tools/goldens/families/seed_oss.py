"""Seed-OSS."""

from rope_variants import Ropes
from spec import F16, Spec, rope, shape
from variants import Cases

MODELS = {
    # The biases that the published models have, and eight heads of keys, as many as there are by default.
    "seed_oss": Spec(
        shape(36, 50, 2, 16, 8, 101, head_dim=10, rope_parameters=rope(1e7)),
        v4_rope_key="rope_type",
        omit=("num_key_value_heads", "attention_bias", "attention_out_bias", "mlp_bias"),
    ),
    # The other biases, and heads that ONNX Runtime's own attention can rotate.
    "seed_oss_16": Spec(
        shape(44, 50, 3, 5, 1, 99, head_dim=16, attention_bias=False, attention_out_bias=True, mlp_bias=True,
              tie_word_embeddings=True),
        F16,
        files=2,
    ),
}

CONFIG = {"model_type": "seed_oss", "architectures": ["SeedOssForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
case("attention_bias", False, 0)
case("attention_out_bias", True, False, None, 1)
without("attention_out_bias")
case("mlp_bias", False)
case("residual_dropout", 0.5, 0)

ROPE = Ropes()
ROPE.rope("no head_dim", drop=("head_dim",))
ROPE.rope("head_dim null", head_dim=None)
