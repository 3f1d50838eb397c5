"""GLM-4 of 2025, with norms behind attention and MLP."""

from typing import Any

from rope_variants import LINEAR, LLAMA3, LONGROPE, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix, norm
from variants import Cases

MODELS = {
    # Half of each head is what ONNX Runtime's own attention can rotate.
    "glm4_32": Spec(
        shape(40, 60, 3, 3, 1, 101, head_dim=32, rms_norm_eps=1e-5, attention_bias=True,
              rope_parameters=rope(1e4, partial_rotary_factor=0.5), pad_token_id=None),
        files=2,
    ),
    # All is left to the defaults that can be, and an odd number of values is rotated.
    "glm4_plain": Spec(
        shape(60, 72, 2, 6, 2, 97, head_dim=10, attention_bias=False, tie_word_embeddings=True,
              rope_parameters=rope(1e4, partial_rotary_factor=0.5), pad_token_id=None),
        F16,
        omit=("num_key_value_heads", "rms_norm_eps", "rope_theta", "rope_scaling", "partial_rotary_factor"),
        v4_rope_key="rope_type",
    ),
}

CONFIG = {"model_type": "glm4", "architectures": ["Glm4ForCausalLM"], "pad_token_id": None, "attention_bias": False}

CASES = Cases()
case, without = CASES.case, CASES.without
case("partial_rotary_factor", 0.25, 0.75, 0.3, 0, None, "0.5", 1.5, -0.5)
case("hidden_act", "gelu_new", "relu2", "quick_gelu")
case("attention_bias", False)
case("sliding_window", 0)
for key in ("attention_bias", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings"):
    without(key)

ROPE = Ropes()
variant = ROPE.rope
for part in (1, 0.75, 0.3, 0.1, 0.02, 0, None, "0.5", 1.5, -0.5):
    variant(f"partial {part!r} at the top", partial_rotary_factor=part)
    variant(f"partial {part!r} inside", rope_parameters={"rope_type": "default", "partial_rotary_factor": part})
variant(
    "partial at the top and inside",
    rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.25},
    partial_rotary_factor=0.75,
)
for kind in (LINEAR, LLAMA3, YARN):
    name = kind["rope_type"]
    for part in (0.75, 0.3, 1.0, None):
        variant(f"{name}: partial {part!r} at the top", rope_scaling=kind, partial_rotary_factor=part)
        variant(f"{name}: partial {part!r} inside", rope_parameters=changed(kind, partial_rotary_factor=part))
variant("longrope of half the pairs", rope_scaling=changed(LONGROPE, short_factor=[1.1] * 8, long_factor=[2.1] * 8))
variant("longrope of all pairs", rope_scaling=LONGROPE)
variant("longrope of all pairs that turn", rope_scaling=LONGROPE, partial_rotary_factor=1.0)
variant("dynamic", rope_scaling={"type": "dynamic", "factor": 4.0})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = decoder(c)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made[f"{at}.mlp.gate_up_proj.weight"] = matrix(2 * c["intermediate_size"], c["hidden_size"])
        for name in ("mlp.gate_proj", "mlp.up_proj"):
            del made[f"{at}.{name}.weight"], made[f"{at}.{name}.bias"]
        for name in ("post_self_attn_layernorm", "post_mlp_layernorm"):
            made[f"{at}.{name}.weight"] = norm(c["hidden_size"])
    return made
