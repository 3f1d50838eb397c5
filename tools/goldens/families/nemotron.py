"""Nemotron: layer norms with distances from one, a plain MLP with the square of ReLU, and half of each head rotated."""

from typing import Any

from rope_variants import LINEAR, PLACES, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, with_norm_biases
from torch import Tensor
from variants import Cases

MODELS = {
    "nemotron_16": Spec(
        shape(48, 70, 2, 3, 1, 101, head_dim=32),
        omit=("norm_eps", "hidden_act", "attention_bias", "mlp_bias"),
        v4_rope_key="rope_type",
    ),
    "nemotron_bias": Spec(
        shape(60, 66, 3, 6, 2, 99, head_dim=12, attention_bias=True, mlp_bias=True, hidden_act="gelu", norm_eps=1e-3,
              tie_word_embeddings=True, rope_parameters=rope(1e5, partial_rotary_factor=0.75)),
        F16,
        files=2,
    ),
}

CONFIG = {"model_type": "nemotron", "architectures": ["NemotronForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
case("norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("norm_eps")
case("hidden_act", "relu2", "silu", "gelu_new")
without("hidden_act")
case("mlp_bias", False, "true")
case("partial_rotary_factor", 0.25, 0.4, 0.75, 0.0, 1, 1.5, -0.5, None, "0.5")

ROPE = Ropes()
for place in PLACES:
    for part in (0.25, 0.75, 1.0, None):
        ROPE.rope(f"partial {part!r} in {place}", **{place: {"rope_type": "default", "partial_rotary_factor": part}})
        ROPE.rope(f"linear, partial {part!r} in {place}", **{place: changed(LINEAR, partial_rotary_factor=part)})
for part in (0.25, 0.75, 1.0, None):
    ROPE.rope(f"partial {part!r} at the top", partial_rotary_factor=part)
    ROPE.rope(f"yarn, partial {part!r} at the top", partial_rotary_factor=part, rope_scaling=YARN)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = with_norm_biases(decoder(c))
    for name in [name for name in made if "norm.weight" in name and "self_attn" not in name]:
        made[name] = made[name]._replace(around=0.0)
    return made


def values(name: str, noise: Tensor) -> Tensor | None:
    """Norms multiply by one more than their weight."""
    return 0.2 * noise if name.endswith("norm.weight") else None
