"""Phi-3, Phi-3.5, Phi-4 and Phi-4-mini."""

from typing import Any

from rope_variants import LINEAR, LONGROPE, YARN, Ropes, changed, less
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix
from variants import FULL, SLIDES, Cases

# For heads of 8 pairs, and for heads of 10 pairs of which 8 are rotated.
FACTORS = {
    "short_factor": [1.0, 1.02, 1.03, 1.1, 1.2, 1.3, 1.5, 1.8],
    "long_factor": [1.1, 1.6, 2.5, 4.0, 6.5, 9.0, 14.0, 20.0],
}

MODELS = {
    # As the first Phi-3 and Phi-4: plain rotation of the whole head.
    "phi3_16": Spec(
        shape(48, 70, 3, 4, 2, 101, head_dim=16, pad_token_id=None, rms_norm_eps=1e-5),
        omit=("partial_rotary_factor", "original_max_position_embeddings"),
        v4_rope_key="type",
        files=2,
    ),
    # A tied head, four fifths of each head rotated, and a window.
    "phi3_partial": Spec(
        shape(52, 72, 2, 6, 3, 97, head_dim=10, pad_token_id=None, tie_word_embeddings=True, sliding_window=6,
              rope_parameters=rope(1e4, partial_rotary_factor=0.8)),
        F16,
        prompt=28,
    ),
    # As Phi-4-mini: other factors for texts of more than 100 tokens, and a part of each head rotated.
    "phi3_longrope": Spec(
        shape(60, 70, 3, 3, 1, 99, head_dim=20, pad_token_id=None, original_max_position_embeddings=100,
              rope_parameters=rope(1e4, "longrope", partial_rotary_factor=0.8, **FACTORS)),
        generated={"long": 120, "crossing": 90},
    ),
    # As Phi-3.5-mini is published.
    "phi3_longrope_16": Spec(
        shape(48, 64, 2, 3, 3, 96, head_dim=16, pad_token_id=None, original_max_position_embeddings=80,
              rope_parameters=rope(1e4, "longrope", **FACTORS)),
        v4_rope_key="type",
        written={"rope_scaling": {"type": "longrope", **FACTORS}},
        generated={"long": 84, "crossing": 72},
    ),
}

CONFIG = {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "pad_token_id": None}
# Heads of 4 pairs.
PAIRS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}
LONG = {"type": "longrope", **PAIRS}

CASES = Cases()
case, without = CASES.case, CASES.without
case("original_max_position_embeddings", 6, 16, 64, 0, None, 6.0, "6", rope_scaling=LONG)
without("original_max_position_embeddings", rope_scaling=LONG)
case("original_max_position_embeddings", 6, 16, rope_parameters={"rope_type": "longrope", **PAIRS})
for kind in ("longrope", "su", "yarn", "linear", "llama3", "dynamic"):
    case("rope_scaling", {"type": kind, **PAIRS}, {"rope_type": kind, **PAIRS}, original_max_position_embeddings=6)
case("partial_rotary_factor", 0.25, 0.75, 0.3, 0, None, "0.5", 1.5, -0.5)
case("partial_rotary_factor", 0.5, rope_scaling={"type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [2.0, 3.0]})
case("resid_pdrop", 0.5)
case("embd_pdrop", 0.5)
case("hidden_act", "gelu_new", "relu2", "quick_gelu")
case("sliding_window", 5, 0, -1, None, layer_types=[SLIDES] * 3)
case("sliding_window", 5, layer_types=[FULL] * 3)
without("rms_norm_eps")
without("max_position_embeddings")

ROPE = Ropes()


def variant(name: str, **keys: Any) -> None:
    """The factors are as many as heads have pairs that are as wide as hidden_size makes them."""
    ROPE.rope(name, hidden_size=64, **keys)


# The ratio of the two lengths is what a factor would be.
KEYS = {"original_max_position_embeddings": 16}
OWN = less(LONGROPE, "factor", "original_max_position_embeddings")
variant("longrope", rope_scaling=OWN, **KEYS)
variant("longrope in parameters", rope_parameters=OWN, **KEYS)
variant("longrope without original", rope_scaling=OWN)
variant("longrope with original inside alone", rope_scaling=changed(OWN, original_max_position_embeddings=16))
variant("longrope beyond the default", rope_scaling=OWN, max_position_embeddings=8192)
for kind in ("su", "yarn"):
    variant(f"longrope as {kind}", rope_scaling=changed(OWN, type=kind), **KEYS)
    variant(f"longrope as {kind} with original inside", rope_scaling=changed(LONGROPE, type=kind), **KEYS)
    variant(f"longrope as rope_type {kind}", rope_scaling={**less(OWN, "type"), "rope_type": kind}, **KEYS)
variant("longrope with a factor", rope_scaling=changed(OWN, factor=8.0), **KEYS)
variant("longrope with a factor for attention", rope_scaling=changed(OWN, attention_factor=1.25), **KEYS)
for part, pairs in ((0.75, 12), (0.5, 8), (0.78, 12)):
    own = changed(OWN, short_factor=[1.1] * pairs, long_factor=[2.1] * pairs)
    variant(f"longrope: partial {part} of {pairs} pairs", rope_scaling=own, partial_rotary_factor=part, **KEYS)
    variant(f"longrope: partial {part} of too many pairs", rope_scaling=OWN, partial_rotary_factor=part, **KEYS)
for part in (1, 0.75, 0.5, 0.3, 0.1, 0.02, 0, None, "0.5", 1.5, -0.5):
    variant(f"partial {part!r} at the top", partial_rotary_factor=part)
    variant(f"partial {part!r} inside", rope_parameters={"rope_type": "default", "partial_rotary_factor": part})
variant(
    "partial at the top and inside",
    rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.25},
    partial_rotary_factor=0.75,
)
variant("linear with a part", rope_scaling=LINEAR, partial_rotary_factor=0.5)
variant("yarn with a part", rope_scaling=YARN, partial_rotary_factor=0.5)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = decoder(c)
    hidden, heads = c["hidden_size"], c["num_attention_heads"] + 2 * c["num_key_value_heads"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made[f"{at}.self_attn.qkv_proj.weight"] = matrix(heads * c["head_dim"], hidden)
        made[f"{at}.mlp.gate_up_proj.weight"] = matrix(2 * c["intermediate_size"], hidden)
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"):
            del made[f"{at}.{name}.weight"], made[f"{at}.{name}.bias"]
    return made
