"""OLMo 2."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, norm, quiet
from variants import Cases

MODELS = {
    "olmo2_bias": Spec(
        shape(60, 70, 3, 6, 2, 101, attention_bias=True, rope_parameters=rope(5e5), rms_norm_eps=1e-6), F16, files=2
    ),
    # Heads that ONNX Runtime's own attention can rotate, more of them than the model is wide.
    "olmo2_16": Spec(
        shape(40, 50, 2, 3, 3, 99, head_dim=16, tie_word_embeddings=True),
        v4_rope_key="type",
        omit=("num_key_value_heads", "rms_norm_eps"),
    ),
}

CONFIG = {"model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    """Norms of queries and keys are as wide as all heads."""
    made = quiet(decoder(c), c)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made[f"{at}.self_attn.q_norm.weight"] = norm(c["num_attention_heads"] * c["head_dim"])
        made[f"{at}.self_attn.k_norm.weight"] = norm(c["num_key_value_heads"] * c["head_dim"])
        made[f"{at}.post_feedforward_layernorm.weight"] = norm(c["hidden_size"])
    return made
