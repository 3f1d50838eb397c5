"""StarCoder 2: layer norms, a plain MLP, a bias everywhere and a window on every layer."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, bias, decoder, matrix, with_norm_biases
from variants import MIXED, Cases

MODELS = {
    # What a class default says is left out.
    "starcoder2_window": Spec(
        shape(40, 72, 3, 4, 2, 101, head_dim=16, sliding_window=6),
        omit=("tie_word_embeddings", "use_bias", "norm_epsilon", "hidden_act"),
        v4_rope_key="rope_type",
        prompt=24,
    ),
    "starcoder2_plain": Spec(
        shape(54, 70, 2, 6, 3, 97, head_dim=10, use_bias=False, hidden_act="gelu", norm_epsilon=1e-3,
              tie_word_embeddings=False, rope_parameters=rope(1e5)),
        F16,
        files=2,
    ),
}

CONFIG = {"model_type": "starcoder2", "architectures": ["Starcoder2ForCausalLM"], "tie_word_embeddings": False}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", 0, -1, None)
case("layer_types", MIXED, sliding_window=3)
without("tie_word_embeddings")
case("use_bias", True, False, None, 1, "true")
case("norm_epsilon", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("norm_epsilon")
case("hidden_act", "relu2", "silu", "gelu_new", "quick_gelu")
without("hidden_act")
for key in ("residual_dropout", "embedding_dropout"):
    case(key, 0.5)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner = decoder(c), c["hidden_size"], c["intermediate_size"]
    for layer in range(c["num_hidden_layers"]):
        for name, rows, columns in (("c_fc", inner, hidden), ("c_proj", hidden, inner)):
            made[f"model.layers.{layer}.mlp.{name}.weight"] = matrix(rows, columns)
            made[f"model.layers.{layer}.mlp.{name}.bias"] = bias(rows)
    return with_norm_biases(made)
