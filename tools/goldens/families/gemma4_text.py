"""Gemma 4, its text models."""

from typing import Any

from rope_variants import LINEAR, YARN, Ropes, changed
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix, norm
from torch import Tensor
from variants import FULL, MIXED, SLIDES, Cases


def kinds(full: dict[str, Any], sliding: dict[str, Any]) -> dict[str, Any]:
    return {FULL: full, SLIDES: sliding}


def turning(part: float, theta: float, **more: Any) -> dict[str, Any]:
    """A rotation in which that part of a head turns."""
    return rope(theta, "proportional", partial_rotary_factor=part, **more)


PLAIN = {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 1}

MODELS = {
    # Heads that ONNX Runtime's own attention can rotate, and caches that have one shape.
    "gemma4_16": Spec(
        shape(32, 40, 3, 4, 2, 101, head_dim=16, global_head_dim=16, attention_k_eq_v=True, sliding_window=6,
              layer_types=[SLIDES, FULL, FULL], final_logit_softcapping=2.0, **PLAIN),
    ),
    # Under the keys that published models have: heads of two shapes, and of those without a window one value for each key.
    "gemma4_heads": Spec(
        shape(36, 50, 3, 6, 3, 99, head_dim=10, global_head_dim=14, num_global_key_value_heads=2, attention_k_eq_v=True,
              attention_bias=True, tie_word_embeddings=False, hidden_activation="gelu", layer_types=[FULL, SLIDES, FULL],
              sliding_window=9, rope_parameters=kinds(turning(0.6, 5e5, factor=2.0), rope(3e3)), **PLAIN),
        F16,
        omit=("per_layer_config",),
        written={"global_head_dim": 14, "num_global_key_value_heads": 2},
        files=2,
    ),
    # Layers that read the keys and values of an earlier one, and have an MLP twice as wide.
    "gemma4_shared": Spec(
        shape(24, 20, 5, 2, 1, 90, head_dim=6, global_head_dim=10, sliding_window=5, num_kv_shared_layers=2,
              use_double_wide_mlp=True, layer_types=[SLIDES, SLIDES, FULL, SLIDES, FULL], hidden_size_per_layer_input=6,
              vocab_size_per_layer_input=95, rope_parameters=kinds(turning(0.5, 1e6), rope(1e4))),
    ),
    "gemma4_inputs_16": Spec(
        shape(32, 36, 3, 2, 1, 80, head_dim=16, global_head_dim=16, sliding_window=7, layer_types=[SLIDES, FULL, FULL],
              hidden_size_per_layer_input=8, vocab_size_per_layer_input=80),
        F16,
    ),
    "gemma4_experts": Spec(
        shape(32, 24, 3, 4, 2, 97, head_dim=8, global_head_dim=12, num_global_key_value_heads=1, attention_k_eq_v=True,
              sliding_window=6, layer_types=[SLIDES, SLIDES, FULL], enable_moe_block=True, num_experts=5, top_k_experts=2,
              moe_intermediate_size=12, **PLAIN),
    ),
}

CONFIG = {
    "model_type": "gemma4_text",
    "architectures": ["Gemma4ForCausalLM"],
    "global_head_dim": 8,
    "layer_types": MIXED,
    "num_kv_shared_layers": 1,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": 40,
    "sliding_window": 5,
    "tie_word_embeddings": False,
}
CASES = Cases()
case, without = CASES.case, CASES.without
EXPERTS = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 8}


def text_keys(case: Any, without: Any) -> None:
    """Variants of the keys that Gemma 3n and 4 share."""
    case("sliding_window", 3, 0, -1, None, 5.0, "5")
    without("sliding_window")
    without("layer_types")
    case("layer_types", None, [SLIDES, FULL, SLIDES], [FULL, FULL, SLIDES], ["attention", SLIDES, FULL])
    without("tie_word_embeddings")
    case("hidden_activation", "silu", "gelu", "gelu_pytorch_tanh", "quick_gelu", None, 7)
    without("hidden_activation")
    case("final_logit_softcapping", 0.5, 1, 0, 0.0, -1.0, None, "1.0", True)
    case("num_kv_shared_layers", 0, 1, 2, 3, 4, -1, 1.0, None, "1", True)
    case("num_kv_shared_layers", 1, layer_types=[FULL, FULL, SLIDES])
    without("num_kv_shared_layers")
    case("hidden_size_per_layer_input", 0, 3, 4, 4.0, -1, None, "4")
    case("vocab_size_per_layer_input", 40, 30, 0, 40.0, None, "40")
    for key in ("hidden_size_per_layer_input", "vocab_size_per_layer_input"):
        without(key)
    case("attention_bias", True, False, None)


text_keys(case, without)
for key in ("num_global_key_value_heads", "global_head_dim"):
    case(key, 1, 2, 8, 8.0, 0, None, "2")
    without(key)
case("num_global_key_value_heads", 1, 2, 3, 0, None, "1", attention_k_eq_v=True)
case("attention_k_eq_v", True, False, None, 1)
case("use_bidirectional_attention", "vision", "all", "none")
case("use_double_wide_mlp", True, False, None, 1)
case("use_double_wide_mlp", True, num_kv_shared_layers=0)
case("per_layer_config", {"0": {"head_dim": 8}, "2": {"head_dim": 8}}, {"0": {"head_dim": 8, "num_key_value_heads": 1}},
     {"0": {"head_dim": 6}}, {"1": {"head_dim": 4}}, {"3": {"head_dim": 8}}, {"x": {}}, {"0": 8}, [], 7)
case("enable_moe_block", True, False, None, 1, **{key: value for key, value in EXPERTS.items() if key != "enable_moe_block"})
case("enable_moe_block", True)
for key, values_of in {
    "num_experts": (4, 4.0, 3, 0, None, "4"),
    "top_k_experts": (1, 2.0, 4, 5, 0, None, "2"),
    "moe_intermediate_size": (8.0, 4, 0, None, "8"),
}.items():
    case(key, *values_of, **{name: value for name, value in EXPERTS.items() if name != key})
    without(key, **EXPERTS)
    case(key, 2)
THETAS = kinds(rope(500.0), rope(77.0))
case("rope_parameters", THETAS, kinds(turning(0.5, 500.0), rope(77.0)), kinds(turning(1.0, 500.0, factor=2.0), rope(77.0)),
     {FULL: rope(500.0)}, {SLIDES: rope(500.0)}, rope(500.0))
case("rope_theta", 77.0, rope_parameters=THETAS)


def media_keys(case: Any) -> None:
    """What the classes of images and sounds, in the same files, read."""
    for key in (
        "attention_context_left", "attention_context_right", "attention_invalid_logits_value", "attention_logit_cap",
        "audio_token_id", "boa_token_id", "boi_token_id", "conv_kernel_size", "eoa_token_index", "eoi_token_id",
        "gradient_clipping", "image_token_id", "output_proj_dims", "patch_size", "pooling_kernel_size",
        "position_embedding_size", "residual_weight", "standardize", "subsampling_conv_channels", "use_clipped_linears",
        "video_token_id",
    ):
        case(key, 57)


media_keys(case)
case("vision_config", {"hidden_size": 8})
case("audio_config", {"hidden_size": 8})

ROPE = Ropes()
each = ROPE.rope
for name, types in (("both kinds", MIXED), ("full layers", [FULL] * 3)):
    each(f"{name}: tops", layer_types=types, rope_theta=500.0, partial_rotary_factor=0.5)
    each(f"{name}: tops beside kinds", layer_types=types, rope_theta=500.0, rope_parameters=kinds({}, {}))
    each(f"{name}: a part at the top", layer_types=types, partial_rotary_factor=0.5,
         rope_parameters=kinds(rope(500.0, "proportional"), rope(77.0)))
    each(f"{name}: scaling at the top", layer_types=types, rope_scaling=LINEAR)
each("parameters of the wrong type", rope_parameters=[1])
each("empty parameters", rope_parameters={})
each("a kind of the wrong type", rope_parameters=kinds([1], rope()))
for part in (0.0, 0.2, 0.3, 0.5, 0.75, 1.0, 1, 1.5, -0.5, None, "0.5"):
    each(f"a part of {part!r}", rope_parameters=kinds(turning(part, 500.0), rope(77.0)))
for factor in (1.0, 2.5, 8, 0.0, -1.0, None, "2"):
    each(f"a part, slowed by {factor!r}", rope_parameters=kinds(turning(0.5, 500.0, factor=factor), rope(77.0)))
each("parts of both", rope_parameters=kinds(turning(0.5, 500.0), turning(0.5, 77.0)))
for own, local in (({}, {}), (LINEAR, LINEAR), (YARN, YARN)):
    each(f"own {own}, {local}", rope_parameters=kinds(changed(own, rope_theta=500.0), changed(local, rope_theta=77.0)))
each("no theta", rope_parameters=kinds({"rope_type": "default"}, rope(77.0)))
each("full alone", rope_parameters={FULL: rope(500.0)})
each("full null", rope_parameters=kinds(None, rope(500.0)))
each("theta null in a kind", rope_parameters=kinds({"rope_theta": None}, rope(500.0)))
each("a part of a head in a kind", rope_parameters=kinds({**LINEAR, "rope_theta": 500.0, "partial_rotary_factor": 0.5}, rope(77.0)))


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    """Those of Llama, with every bias; norms around attention and MLP; per-layer embeddings; and experts beside each MLP."""
    hidden = c["hidden_size"]
    made = decoder(c) | per_layer_tensors(c)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm", "pre_feedforward_layernorm_2",
                     "post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "post_per_layer_input_norm"):
            made[f"{at}.{name}.weight"] = norm(hidden)
        made[f"{at}.layer_scalar"] = norm(1)
        made[f"{at}.router.scale"] = norm(hidden)
        made[f"{at}.router.proj.weight"] = matrix(4, hidden)
        made[f"{at}.router.per_expert_scale"] = norm(4)
        made[f"{at}.experts.gate_up_proj"] = Random((4, 16, hidden), spread=0.4)
        made[f"{at}.experts.down_proj"] = Random((4, hidden, 8), spread=0.5)
    return made


def per_layer_tensors(c: dict[str, Any]) -> dict[str, Random]:
    """What per-layer embeddings are made of and read by."""
    hidden, layers, inputs = c["hidden_size"], c["num_hidden_layers"], c["hidden_size_per_layer_input"]
    made = {
        "model.embed_tokens_per_layer.weight": Random((c["vocab_size_per_layer_input"], layers * inputs), spread=0.5),
        "model.per_layer_model_projection.weight": matrix(layers * inputs, hidden),
        "model.per_layer_projection_norm.weight": norm(inputs),
    }
    for layer in range(layers):
        at = f"model.layers.{layer}"
        made[f"{at}.per_layer_input_gate.weight"] = matrix(inputs, hidden)
        made[f"{at}.per_layer_projection.weight"] = matrix(hidden, inputs)
    return made


def values(name: str, noise: Tensor) -> Tensor | None:
    """Factors are around one; and the embedding is small enough for a tied head not to say what it read."""
    if name.endswith(("layer_scalar", "router.scale", "per_expert_scale")):
        return 1 + 0.2 * noise
    if "embed_tokens_per_layer" in name:
        return 0.35 * noise
    return 0.03 * noise if "embed_tokens" in name or "lm_head" in name else None
