"""Command R: attention and MLP side by side on one layer norm without a bias, and neighbours rotated."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder
from variants import Cases

MODELS = {
    "cohere_16": Spec(
        shape(48, 70, 2, 3, 3, 101, rope_parameters=rope(1e4)),
        omit=("tie_word_embeddings", "logit_scale", "layer_norm_eps", "num_key_value_heads", "use_qk_norm"),
        v4_rope_key="rope_type",
    ),
    # A norm on each head, with a weight of its own; and a rotation that config.json does not tell.
    "cohere_norms": Spec(
        shape(60, 54, 2, 6, 2, 99, use_qk_norm=True, attention_bias=True, hidden_act="gelu", logit_scale=0.3,
              layer_norm_eps=1e-3, tie_word_embeddings=False),
        F16,
        omit=("rope_theta",),
        files=2,
    ),
}

CONFIG = {"model_type": "cohere", "architectures": ["CohereForCausalLM"], "tie_word_embeddings": False}
CASES = Cases()
case, without = CASES.case, CASES.without
case("logit_scale", 1, 2.5, 0.0, -1.0, None, "1.0", True)
without("logit_scale")
case("layer_norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("layer_norm_eps")
case("use_qk_norm", True, False, None, 1)
case("use_qk_norm", True, num_key_value_heads=None)
without("tie_word_embeddings")
case("hidden_act", "gelu_new", "relu2")
without("hidden_act")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = decoder(c)
    for layer in range(c["num_hidden_layers"]):
        for name, heads in (("q_norm", c["num_attention_heads"]), ("k_norm", c["num_key_value_heads"])):
            made[f"model.layers.{layer}.self_attn.{name}.weight"] = Random((heads, c["head_dim"]), 1.0, 0.2)
    return made
