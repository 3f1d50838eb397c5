"""ERNIE 4.5."""

from typing import Any

from rope_variants import Ropes
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, quiet
from variants import Cases

MODELS = {
    "ernie4_5_bias": Spec(
        shape(44, 70, 3, 6, 2, 101, head_dim=10, use_bias=True, tie_word_embeddings=False, rope_parameters=rope(1e4)),
        F16,
        omit=("num_key_value_heads",),
        files=2,
    ),
    # A head that is tied by default, and the base of the rotation.
    "ernie4_5_16": Spec(
        shape(40, 50, 2, 4, 2, 99, head_dim=16, rope_parameters=rope(5e5)),
        v4_rope_key="type",
        omit=("rms_norm_eps", "tie_word_embeddings", "rope_theta"),
    ),
}

CONFIG = {"model_type": "ernie4_5", "architectures": ["Ernie4_5ForCausalLM"], "tie_word_embeddings": False}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
without("tie_word_embeddings")
case("use_bias", False, None, 1)
without("use_bias")

ROPE = Ropes()
ROPE.rope("no head_dim", drop=("head_dim",))
ROPE.rope("head_dim null", head_dim=None)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return quiet(decoder(c), c)
