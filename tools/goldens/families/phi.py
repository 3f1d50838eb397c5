"""Phi 1, 1.5 and 2: attention and MLP side by side on one layer norm, a bias everywhere, and part of each head rotated."""

from typing import Any

from rope_variants import PLACES, YARN, Ropes
from spec import F16, Spec, rope, shape
from tensors import Random, bias, decoder, matrix, norm, with_norm_biases
from torch import Tensor
from variants import Cases

MODELS = {
    "phi_16": Spec(
        shape(52, 60, 2, 2, 2, 83, head_dim=48, rope_parameters=rope(1e4, partial_rotary_factor=0.34)),
        omit=("layer_norm_eps", "hidden_act", "qk_layernorm", "num_key_value_heads", "tie_word_embeddings"),
        v4_rope_key="rope_type",
    ),
    "phi_norms": Spec(
        shape(72, 58, 2, 6, 2, 99, qk_layernorm=True, hidden_act="relu", layer_norm_eps=1e-3),
        F16,
        files=2,
    ),
}

CONFIG = {"model_type": "phi", "architectures": ["PhiForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
case("layer_norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("layer_norm_eps")
case("qk_layernorm", True, False, None, 1)
case("hidden_act", "relu2", "silu", "gelu_new", "gelu_fast")
without("hidden_act")
case("partial_rotary_factor", 0.25, 0.4, 0.75, 0.0, 1, 1.5, -0.5, None, "0.5")
for key in ("resid_pdrop", "embd_pdrop"):
    case(key, 0.5)

ROPE = Ropes()
for place in PLACES:
    for part in (0.25, 0.75, 1.0, None):
        ROPE.rope(f"partial {part!r} in {place}", **{place: {"rope_type": "default", "partial_rotary_factor": part}})
for part in (0.25, 0.4, 0.75, 1.0, None):
    ROPE.rope(f"partial {part!r} at the top", partial_rotary_factor=part)
    ROPE.rope(f"yarn, partial {part!r} at the top", partial_rotary_factor=part, rope_scaling=YARN)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner = decoder(c), c["hidden_size"], c["intermediate_size"]
    made["model.final_layernorm.weight"] = norm(hidden)
    made["lm_head.bias"] = bias(c["vocab_size"])
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name, rows, columns in (
            ("self_attn.dense", hidden, c["num_attention_heads"] * c["head_dim"]),
            ("mlp.fc1", inner, hidden),
            ("mlp.fc2", hidden, inner),
        ):
            made[f"{at}.{name}.weight"] = matrix(rows, columns)
            made[f"{at}.{name}.bias"] = bias(rows)
        for name in ("q_layernorm", "k_layernorm"):
            made[f"{at}.self_attn.{name}.weight"] = norm(c["head_dim"])
            made[f"{at}.self_attn.{name}.bias"] = bias(c["head_dim"])
    return with_norm_biases(made)


def values(name: str, noise: Tensor) -> Tensor | None:
    """Norms of heads large enough that the attention is not the mean of all that came before."""
    return 2 + 0.2 * noise if name.endswith(("q_layernorm.weight", "k_layernorm.weight")) else None
