"""GLM-4 of 2024."""

from spec import Spec, rope, shape
from variants import Cases

from . import glm4

MODELS = {
    "glm_16": Spec(
        shape(52, 70, 2, 3, 1, 99, head_dim=16, rms_norm_eps=1e-5, attention_bias=True, tie_word_embeddings=True,
              rope_parameters=rope(5e5, partial_rotary_factor=0.75), pad_token_id=None),
        v4_rope_key="type",
    ),
    "glm_plain": Spec(
        shape(48, 64, 3, 4, 4, 96, head_dim=12, rope_parameters=rope(1e4, partial_rotary_factor=0.5), pad_token_id=None),
        omit=("attention_bias", "partial_rotary_factor"),
    ),
}

CONFIG = {"model_type": "glm", "architectures": ["GlmForCausalLM"], "pad_token_id": None, "attention_bias": False}

CASES = Cases(glm4.CASES)
tensors = glm4.tensors
