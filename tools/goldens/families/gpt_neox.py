"""GPT-NeoX and Pythia: names of their own, query, key and value fused head by head, and two norms side by side or not."""

from typing import Any

from rope_variants import PLACES, YARN, Ropes
from spec import F16, Spec, rope, shape
from tensors import Random, bias, matrix, norm
from torch import Tensor
from variants import Cases

MODELS = {
    "gpt_neox_16": Spec(
        shape(64, 70, 2, 2, 2, 101, rope_parameters=rope(1e4, partial_rotary_factor=0.5)),
        omit=("layer_norm_eps", "hidden_act", "use_parallel_residual", "tie_word_embeddings", "attention_bias"),
        v4_rope_key="rope_type",
        v4_names={"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"},
    ),
    # One after the other, no bias around the attention, and the head's name in transformers 5.
    "gpt_neox_serial": Spec(
        shape(60, 50, 3, 5, 5, 99, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_fast",
              layer_norm_eps=1e-3),
        F16,
        files=2,
        stacked=True,
    ),
    "gpt_neox_tied": Spec(
        shape(48, 64, 2, 3, 3, 97, tie_word_embeddings=True, rope_parameters=rope(1e4, partial_rotary_factor=1.0)),
    ),
}

CONFIG = {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"]}
# All heads together are as wide as a hidden state.
WIDE = {"hidden_size": 64}
CASES = Cases()
case, without = CASES.case, CASES.without
case("layer_norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("layer_norm_eps")
case("use_parallel_residual", True, False, None, 1)
case("attention_bias", False)
without("attention_bias")
case("hidden_act", "relu2", "silu", "gelu_new", "gelu_fast")
without("hidden_act")
case("rotary_pct", 0.25, 0.4, 0.75, 1.0, 0.0, 1, 1.5, -0.5, None, "0.5")
case("rotary_emb_base", 500, 500.0, 0, None, "500")
case("rotary_emb_base", 500, rope_theta=70.0)
case("hidden_dropout", 0.5)
case("classifier_dropout", 0.5)
case("hidden_size", 17)

ROPE = Ropes()
for place in PLACES:
    for part in (0.25, 0.75, 1.0, None):
        ROPE.rope(f"partial {part!r} in {place}", **{place: {"rope_type": "default", "partial_rotary_factor": part}})
for part in (0.25, 0.5, 1.0, None):
    ROPE.rope(f"partial {part!r} at the top", rotary_pct=part)
    ROPE.rope(f"yarn, partial {part!r} at the top", rotary_pct=part, rope_scaling=YARN)
ROPE.rope("base at the top", rotary_emb_base=500)
ROPE.rope("base at the top and inside", rotary_emb_base=500, rope_scaling={"rope_type": "default", "rope_theta": 70.0})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    hidden, inner, vocabulary = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    made = {
        "gpt_neox.embed_in.weight": Random((vocabulary, hidden), spread=0.5),
        "embed_out.weight": Random((vocabulary, hidden), spread=0.5),
        "gpt_neox.final_layer_norm.weight": norm(hidden),
        "gpt_neox.final_layer_norm.bias": bias(hidden),
    }
    for layer in range(c["num_hidden_layers"]):
        at = f"gpt_neox.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            made[f"{at}.{name}.weight"] = norm(hidden)
            made[f"{at}.{name}.bias"] = bias(hidden)
        for name, rows, columns in (
            ("attention.query_key_value", 3 * hidden, hidden),
            ("attention.dense", hidden, hidden),
            ("mlp.dense_h_to_4h", inner, hidden),
            ("mlp.dense_4h_to_h", hidden, inner),
        ):
            made[f"{at}.{name}.weight"] = matrix(rows, columns)
            made[f"{at}.{name}.bias"] = bias(rows)
    return made


def values(name: str, noise: Tensor) -> Tensor | None:
    return 0.35 * noise if "embed_in" in name else None
