"""Gemma 2."""

from typing import Any

from spec import F16, Spec, shape
from tensors import Random, decoder, norm
from torch import Tensor
from variants import Cases

MODELS = {
    # Caps low enough to bend what they cap, and heads that ONNX Runtime's own attention can rotate.
    "gemma2_16": Spec(
        shape(48, 70, 3, 4, 2, 101, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
              attn_logit_softcapping=2.0, final_logit_softcapping=2.0, tie_word_embeddings=False),
        v4_rope_key="rope_type",
    ),
    "gemma2_plain": Spec(
        shape(60, 90, 2, 6, 3, 99, head_dim=10, query_pre_attn_scalar=7, attention_bias=True, tie_word_embeddings=False,
              attn_logit_softcapping=None, final_logit_softcapping=None, hidden_activation="gelu",
              layer_types=["full_attention", "sliding_attention"], sliding_window=9),
        F16,
        files=2,
    ),
}

CONFIG = {
    "model_type": "gemma2",
    "architectures": ["Gemma2ForCausalLM"],
    "sliding_window": 64,
    "tie_word_embeddings": False,
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", 0, -1)
without("tie_word_embeddings")
case(
    "hidden_activation",
    "silu",
    "swish",
    "gelu",
    "gelu_python",
    "gelu_new",
    "gelu_fast",
    "gelu_python_tanh",
    "gelu_pytorch_tanh",
    "gelu_accurate",
    "quick_gelu",
    "relu2",
    "tanh",
    "GELU",
    "no_such_activation",
    None,
    7,
)
without("hidden_activation")
for key in ("attn_logit_softcapping", "final_logit_softcapping"):
    case(key, 0.5, 1, 1e-3, 1e300, 0, 0.0, -1.0, None, "1.0", True, False)
    without(key)
case("query_pre_attn_scalar", 256, 4.0, 2.5, 10**30, 0, -4, None, "4", True)
without("query_pre_attn_scalar")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = decoder(c)
    for layer in range(c["num_hidden_layers"]):
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            made[f"model.layers.{layer}.{name}.weight"] = norm(c["hidden_size"], around=0.0)
    return made


def values(name: str, noise: Tensor) -> Tensor | None:
    """Norms multiply by one more than their weight, and the embedding is scaled up."""
    if "norm" in name:
        return 0.2 * noise
    return 0.1 * noise if "embed_tokens" in name or "lm_head" in name else None
