"""The variants of config.json that make_config_goldens.py asks transformers about."""

from typing import Any

# What all variants change: as small as three layers and a window can be.
BASE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 40,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
}
SLIDING = {"sliding_window": 5}
# Every family, and the keys that make its layers what they are.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "mistral": {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None},
    "ministral": {"model_type": "ministral", "architectures": ["MinistralForCausalLM"], "sliding_window": 64},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]},
    "gemma2": {
        "model_type": "gemma2",
        "architectures": ["Gemma2ForCausalLM"],
        "sliding_window": 64,
        "tie_word_embeddings": False,
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
    },
}
WINDOWED = ["mistral", "ministral", "gemma2"]
QWEN = ["qwen2", "qwen3", "qwen3_moe"]
GEMMA, MOE = ["gemma2"], ["qwen3_moe"]
FULL, SLIDES = "full_attention", "sliding_attention"
MIXED = [FULL, SLIDES, FULL]

CASES: list[dict[str, Any]] = []


def add(name: str, key: str, families: list[str], drop: list[str], more: dict[str, Any]) -> None:
    CASES.append({"name": name, "key": key, "set": more, "drop": drop, "families": families})


def case(key: str, *values: Any, families: list[str] = [*FAMILIES], **more: Any) -> None:
    """Variants with each of `values` under `key`, and `more` beside it."""
    for value in values:
        add(f"{key} {value!r}" + (f" with {more}" if more else ""), key, families, [], {key: value, **more})


def without(key: str, families: list[str] = [*FAMILIES], **more: Any) -> None:
    add(f"no {key}" + (f" with {more}" if more else ""), key, families, [key], more)


add("as it is", "model_type", [*FAMILIES], [], {})

# Which class the config is for.
case("model_type", None, "gpt2", "Llama", 7, ["llama"])
without("model_type")
case(
    "architectures",
    None,
    [],
    ["GPT2LMHeadModel"],
    ["LlamaModel"],
    ["Qwen2ForCausalLM"],
    ["LlamaForSequenceClassification"],
)
case("architectures", ["Qwen3Model"], tie_word_embeddings=True)
without("architectures")
case("auto_map", {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"})

# The shape.
case("vocab_size", 32, 40.0, "40", True, None)
case("hidden_size", 32, 16.0, None)
case("intermediate_size", 16, 24.0, None)
case("num_hidden_layers", 2, 4, 3.0, "3", None)
case("num_attention_heads", 4, head_dim=4, num_key_value_heads=2)
case("num_attention_heads", 2.0, None)
case("num_key_value_heads", 2, None, 1.0, 3)
case("num_key_value_heads", None, num_attention_heads=1, head_dim=8, hidden_size=16)
without("num_key_value_heads")
case("head_dim", 4, None, 8.0, 0)
case("head_dim", 4, num_attention_heads=4, num_key_value_heads=2)
without("head_dim")
case("max_position_embeddings", 4096, 64.0, "64", None)
case("tie_word_embeddings", True, False, None, "true", 1)
without("tie_word_embeddings", GEMMA)
case("attention_bias", True, None, 1)
case("mlp_bias", True, None)

# What a layer computes.
case("hidden_act", "gelu", "relu", "swish", "gelu_pytorch_tanh", "SiLU", None, "no_such_activation")
case("rms_norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
case(
    "layer_types",
    [FULL] * 3,
    MIXED,
    [SLIDES] * 3,
    [FULL] * 2,
    ["chunked_attention"] * 3,
    ["attention"] * 3,
    None,
    "full_attention",
)
case("layer_types", MIXED, [SLIDES] * 3, ["attention", SLIDES, "attention"], None, **SLIDING)
case("layer_types", MIXED, **SLIDING, use_sliding_window=True)
case("layer_types", MIXED, sliding_window=None, use_sliding_window=True)
case("layer_types", None, **SLIDING, use_sliding_window=True, max_window_layers=1)
case("sliding_window", 5, 64, 4096, 5.0, "5", True)
case("sliding_window", 0, -1, families=WINDOWED)
case("sliding_window", None, use_sliding_window=True, max_window_layers=1, families=QWEN)
without("sliding_window")
without("sliding_window", use_sliding_window=True, max_window_layers=1)
case("use_sliding_window", True, False, 1, None, **SLIDING, max_window_layers=1)
case("use_sliding_window", True, False)
case("max_window_layers", 0, 2, 3, 28, 1.0, -1, None, **SLIDING, use_sliding_window=True)
case("max_window_layers", 0)
case("is_causal", False, True)
case("use_bidirectional_attention", True, False, None)
case("attention_chunk_size", 4, None)
case("kv_sharing_modes", ["store", "reuse", "store"], None)
case("num_kv_shared_layers", 1, 0)
case("per_layer_config", {"1": {"rms_norm_eps": 0.1}}, {"1": {"intermediate_size": 16}}, {}, None)
case("skip", ["mlp"])
case("fusion_config", {"fuse_qkv": True}, None)
case("attribute_map", {"hidden_act": "other_act"}, {"rms_norm_eps": "pad_token_id"}, {})
case("mlp_layer_types", ["dense"] * 3, ["sparse"] * 3)
case("quantization_config", {"quant_method": "gptq", "bits": 4}, {"quant_method": "fp8"}, {}, None)
case("hf_quantizer", None, "x")
case("transformers_weights", "other.safetensors", "model.safetensors")
case("configuration_files", ["config.4.0.0.json"], [])
case("base_config_key", "text_config")
for nested in ("text_config", "decoder", "generator", "text_encoder"):
    case(nested, {"hidden_size": 32}, None)
case("is_encoder_decoder", True)
case("add_cross_attention", True)
case("pruned_heads", {"0": [1]}, {})
case("chunk_size_feed_forward", 2)
case("pretraining_tp", 2)

# What other families multiply, cut off or leave out.
for key, value in {
    "attn_logit_softcapping": 1.0,
    "final_logit_softcapping": 1.0,
    "query_pre_attn_scalar": 4,
    "hidden_activation": "relu",
    "logit_scale": 0.5,
    "logits_scaling": 2.0,
    "residual_multiplier": 0.5,
    "embedding_multiplier": 2.0,
    "attention_multiplier": 0.5,
    "scale_emb": 12,
    "scale_depth": 1.4,
    "dim_model_base": 8,
    "clip_qkv": 0.1,
    "use_qk_norm": True,
    "qk_norm": True,
    "qkv_bias": True,
    "use_bias": True,
    "no_rope_layers": [0, 1, 0],
    "no_rope_layer_interval": 2,
    "rope_interleaved": True,
    "use_rope": False,
    "rotary_pct": 0.5,
    "alibi": True,
    "use_alibi": True,
    "sliding_window_pattern": 2,
    "num_experts": 2,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "norm_topk_prob": True,
    "moe_intermediate_size": 16,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [1],
    "layer_norm_eps": 0.1,
    "use_parallel_residual": True,
    "attn_temperature_tuning": True,
    "num_nextn_predict_layers": 1,
    "num_mtp_layers": 1,
    "use_mtp": True,
    "mup": True,
}.items():
    case(key, value)

# Gemma 2's own.
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
    families=GEMMA,
)
without("hidden_activation", GEMMA)
for key in ("attn_logit_softcapping", "final_logit_softcapping"):
    case(key, 0.5, 1, 1e-3, 1e300, 0, 0.0, -1.0, None, "1.0", True, False, families=GEMMA)
    without(key, GEMMA)
case("query_pre_attn_scalar", 256, 4.0, 2.5, 10**30, 0, -4, None, "4", True, families=GEMMA)
without("query_pre_attn_scalar", GEMMA)

# Qwen3-MoE's own; the weights have four experts.
case("num_experts", 0, 4, 4.0, 8, 3, -1, None, "4", True, False, families=MOE)
without("num_experts", MOE)
for experts in (4, 4.0, 0, 8, None, "4"):
    without("num_experts", MOE, num_local_experts=experts)
case("num_local_experts", 4, 0, None, "4", families=MOE)
case("num_experts", None, families=MOE, num_local_experts=4)
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True, families=MOE)
case("num_experts_per_tok", 0, 5, families=MOE, num_experts=0)
without("num_experts_per_tok", MOE)
case("norm_topk_prob", False, None, 1, 0, "true", families=MOE)
case("norm_topk_prob", True, families=MOE, num_experts_per_tok=1)
case("moe_intermediate_size", 8, 4, 0, 8.0, None, "8", families=MOE)
case("moe_intermediate_size", 0, None, families=MOE, num_experts=0)
without("moe_intermediate_size", MOE)
case("decoder_sparse_step", 1, 3, 4, 28, 0, -1, -2, 2.0, None, "2", True, families=MOE)
case("decoder_sparse_step", 0, families=MOE, num_experts=0)
case("mlp_only_layers", [], [0], [0, 1, 2], [2, 0, 2], [7], [-1], [1.0], ["1"], [True], [None], families=MOE)
case("mlp_only_layers", None, "1", 1, {}, {"1": 1}, families=MOE)
case("mlp_only_layers", [1], [0], families=MOE, decoder_sparse_step=2)

# What training, other heads and other programs read.
for key, value in {
    "attention_dropout": 0.5,
    "initializer_range": 0.5,
    "initializer_factor": 2.0,
    "init_std": 0.5,
    "gradient_checkpointing": True,
    "use_cache": False,
    "dtype": "float16",
    "torch_dtype": "float16",
    "use_bfloat16": True,
    "bos_token_id": 3,
    "eos_token_id": [3, 4],
    "pad_token_id": 5,
    "sep_token_id": 3,
    "decoder_start_token_id": 3,
    "output_hidden_states": True,
    "output_attentions": True,
    "return_dict": True,
    "torchscript": True,
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
    "experts_implementation": "eager",
    "output_router_logits": True,
    "router_aux_loss_coef": 0.5,
    "id2label": {"0": "no", "1": "yes"},
    "label2id": {"no": 0},
    "num_labels": 3,
    "problem_type": "regression",
    "finetuning_task": "chat",
    "task_specific_params": {"chat": {}},
    "tokenizer_class": "LlamaTokenizer",
    "prefix": "x",
    "name_or_path": "other",
    "_name_or_path": "other",
    "transformers_version": "4.0.0",
    "is_decoder": True,
    "cross_attention_hidden_size": 8,
    "tie_encoder_decoder": True,
    "tie_last_hidden_states": True,
    "tf_legacy_loss": True,
    "has_no_defaults_at_init": True,
    "token": "x",
    "use_auth_token": "x",
    "distributed_config": None,
    "default_theta": 500.0,
    "default_rope_type": "axial",
    "ignore_keys_at_rope_validation": ["x"],
    "extra_files": ["x"],
    "extra_config_files": ["x"],
    "sub_configs": {},
    "sub_configs_defaults": {},
    "embed_dim": 4,
    "num_heads": 4,
    "first_k_dense_replace": 1,
    "mtp_layer_types": [FULL],
    "mtp_mlp_layer_types": ["dense"],
    "mtp_per_layer_config": {},
    "number_of_conv_states": 2,
    "temperature": 0.1,
}.items():
    case(key, value)
case("return_dict", False)

# Where positions are rotated; ROPE has the details.
case("rope_theta", 500.0, 500, 500000, None, "500", 0)
case("rope_scaling", {"type": "linear", "factor": 2.0}, {"rope_type": "linear", "factor": 2}, {}, None)
case("rope_parameters", {"rope_type": "default", "rope_theta": 500.0}, {}, None)
case("partial_rotary_factor", 0.5, 1.0)
case("original_max_position_embeddings", 16)
case("original_max_position_embeddings", 16, rope_scaling={"type": "yarn", "factor": 4.0})


# ---- how positions are rotated

ROPE: list[dict[str, Any]] = []
PLACES = ("rope_scaling", "rope_parameters")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "factor": 4.0}
# Heads of 16 pairs, so that every band of a scaling has some.
WIDE = {"head_dim": 32, "rope_theta": 10000.0}


def rope(name: str, family: str = "llama", drop: tuple[str, ...] = (), **keys: Any) -> None:
    ROPE.append({"name": name, "family": family, "set": {**WIDE, **keys}, "drop": list(drop)})


def changed(rope: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**rope, **changes}


def less(rope: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in rope.items() if key not in keys}


for family in FAMILIES:
    rope(f"{family}: plain", family)
    rope(f"{family}: no theta", family, drop=("rope_theta",))
    for place in PLACES:
        rope(
            f"{family}: theta in {place}",
            family,
            drop=("rope_theta",),
            **{place: {"rope_type": "default", "rope_theta": 500.0}},
        )
        for kind in (LINEAR, LLAMA3, YARN):
            rope(f"{family}: {kind['rope_type']} in {place}", family, **{place: kind})

# The base.
for theta in (1, 2, 1e6, 500000, 1e-3, 0, -5.0, None, "10000", True, 1e300, [1.0]):
    rope(f"theta {theta!r}", rope_theta=theta)
    rope(f"theta {theta!r} inside", rope_parameters={"rope_type": "default", "rope_theta": theta})
for place in PLACES:
    rope(f"theta at the top and in {place}", rope_theta=77.0, **{place: {"rope_type": "default", "rope_theta": 500.0}})
    rope(f"theta alone in {place}", rope_theta=77.0, **{place: {"rope_theta": 500.0}})
    rope(f"theta at the top for {place} without", rope_theta=77.0, **{place: {"rope_type": "default"}})
    rope(f"theta at the top, null in {place}", rope_theta=77.0, **{place: {"rope_type": "default", "rope_theta": None}})
    rope(
        f"theta null at the top, in {place}", rope_theta=None, **{place: {"rope_type": "default", "rope_theta": 500.0}}
    )
    rope(f"linear with theta in {place}", rope_theta=77.0, **{place: changed(LINEAR, rope_theta=500.0)})
    rope(f"empty {place}", **{place: {}})
    rope(f"null {place}", **{place: None})
    rope(f"{place} is a list", **{place: [1]})
    rope(f"{place} is a text", **{place: "linear"})
    rope(f"{place} is false", **{place: False})
    rope(f"{place} is a number", **{place: 2.0})
    rope(
        f"{place} for each kind of layer",
        **{place: {FULL: changed(LINEAR, rope_theta=500.0), SLIDES: {"rope_type": "default"}}},
    )
    rope(
        f"{place} for the one kind of layer",
        **{place: {FULL: changed(LINEAR, rope_theta=500.0)}},
        layer_types=[FULL] * 3,
    )
    rope(
        f"{place} for each kind of layer, qwen3",
        "qwen3",
        **{place: {FULL: changed(LINEAR, rope_theta=500.0), SLIDES: {"rope_type": "default"}}},
    )
    rope(
        f"{place} for each kind of layer, mistral",
        "mistral",
        **{place: {FULL: LINEAR, SLIDES: {"rope_type": "default"}}},
        layer_types=MIXED,
        **SLIDING,
    )

# Both places.
rope("both places", rope_scaling=LINEAR, rope_parameters=changed(YARN, rope_theta=500.0))
rope(
    "both places, scaling plain",
    rope_scaling={"rope_type": "default"},
    rope_parameters=changed(LINEAR, rope_theta=500.0),
)
rope("both places, scaling null", rope_scaling=None, rope_parameters=changed(LINEAR, rope_theta=500.0))
rope("both places, scaling empty", rope_scaling={}, rope_parameters=changed(LINEAR, rope_theta=500.0))
rope("both places, parameters empty", rope_scaling=LINEAR, rope_parameters={})

# The kind.
for place in PLACES:
    rope(f"type in {place}", **{place: {"type": "linear", "factor": 4.0}})
    rope(f"type and rope_type differ in {place}", **{place: {"type": "linear", "rope_type": "default", "factor": 4.0}})
    rope(f"rope_type and type differ in {place}", **{place: {"rope_type": "linear", "type": "default", "factor": 4.0}})
    rope(f"no kind but a factor in {place}", **{place: {"factor": 4.0}})
    rope(f"rope_type null in {place}", **{place: {"rope_type": None, "factor": 4.0}})
    rope(f"rope_type null, type linear in {place}", **{place: {"rope_type": None, "type": "linear", "factor": 4.0}})
    rope(f"type null in {place}", **{place: {"type": None, "factor": 4.0}})
for kind in ("ntk", "su", "mrope", "axial", "longrope", "Linear", "", 3):
    rope(f"kind {kind!r}", rope_scaling={"rope_type": kind, "factor": 4.0})
rope("dynamic", rope_scaling={"type": "dynamic", "factor": 4.0})
rope("proportional", rope_scaling={"type": "proportional", "partial_rotary_factor": 0.5})
rope(
    "longrope",
    rope_scaling={
        "type": "longrope",
        "factor": 4.0,
        "short_factor": [1.0] * 16,
        "long_factor": [2.0] * 16,
        "original_max_position_embeddings": 16,
    },
)

# The factor.
for factor in (8, 8.0, 1, 0.5, 1.5, 0, -2.0, None, "8", True, 1e300):
    for kind in (LINEAR, LLAMA3, YARN):
        rope(f"{kind['rope_type']}: factor {factor!r}", rope_scaling=changed(kind, factor=factor))
for kind in (LINEAR, LLAMA3, YARN):
    rope(f"{kind['rope_type']}: no factor", rope_scaling=less(kind, "factor"))
rope("default with a factor", rope_scaling={"rope_type": "default", "factor": 4.0})

# The original length.
for kind in (LLAMA3, YARN):
    name = kind["rope_type"]
    short = less(kind, "original_max_position_embeddings")
    for length in (16, 16.0, 12.5, 0, None, "16", -16, 128):
        rope(f"{name}: original {length!r}", rope_scaling=changed(kind, original_max_position_embeddings=length))
        rope(f"{name}: original {length!r} at the top", rope_scaling=short, original_max_position_embeddings=length)
    rope(f"{name}: no original", rope_scaling=short)
    rope(f"{name}: two originals", rope_scaling=kind, original_max_position_embeddings=24)
    rope(f"{name}: two originals in parameters", rope_parameters=kind, original_max_position_embeddings=24)
    rope(f"{name}: original null at the top", rope_scaling=kind, original_max_position_embeddings=None)
rope("linear: original at the top", rope_scaling=LINEAR, original_max_position_embeddings=24)

# llama3.
for key in ("low_freq_factor", "high_freq_factor"):
    rope(f"llama3: no {key}", rope_scaling=less(LLAMA3, key))
    for value in (2, 2.0, 0, None, "2", -1.0):
        rope(f"llama3: {key} {value!r}", rope_scaling=changed(LLAMA3, **{key: value}))
rope("llama3: equal bands", rope_scaling=changed(LLAMA3, high_freq_factor=1.0))
rope("llama3: bands the wrong way round", rope_scaling=changed(LLAMA3, low_freq_factor=4.0, high_freq_factor=1.0))
rope(
    "llama3 as published",
    rope_theta=500000.0,
    max_position_embeddings=512,
    rope_scaling=changed(LLAMA3, factor=32.0, original_max_position_embeddings=64),
)
rope(
    "llama3: what yarn reads",
    rope_scaling=changed(LLAMA3, beta_fast=2.0, mscale=2.0, attention_factor=3.0, truncate=False),
)

# yarn.
for key in ("beta_fast", "beta_slow"):
    for value in (4, 0.25, 0, 0.0, None, "4", -1.0):
        rope(f"yarn: {key} {value!r}", rope_scaling=changed(YARN, **{key: value}))
for value in (True, False, None, 0, 1, "false", "", []):
    rope(f"yarn: truncate {value!r}", rope_scaling=changed(YARN, truncate=value, beta_fast=4))
for value in (1.25, 1, 0, 0.0, None, "1", -1.0):
    rope(
        f"yarn: attention_factor {value!r}",
        rope_scaling=changed(YARN, attention_factor=value, mscale=2.0, mscale_all_dim=0.5),
    )
for one in (None, 0, 0.0, 1, 1.4, False, "1", -1.0):
    for all_dim in (None, 0, 0.7, 1.0):
        rope(
            f"yarn: mscale {one!r}, mscale_all_dim {all_dim!r}",
            rope_scaling=changed(YARN, mscale=one, mscale_all_dim=all_dim),
        )
rope("yarn: mscale alone", rope_scaling=changed(YARN, mscale=1.4))
rope("yarn: mscale_all_dim alone", rope_scaling=changed(YARN, mscale_all_dim=1.4))
rope("yarn: the range is a point", rope_scaling=changed(YARN, beta_fast=1.0, beta_slow=1.0, truncate=False))
rope("yarn: factor 1 with mscale", rope_scaling=changed(YARN, factor=1.0, mscale=1.4, mscale_all_dim=0.7))
rope("yarn: theta 1", rope_theta=1.0, rope_scaling=YARN)
rope(
    "yarn: theta 1e6, wide",
    rope_theta=1e6,
    head_dim=128,
    max_position_embeddings=512,
    rope_scaling=changed(YARN, original_max_position_embeddings=128),
)
rope(
    "yarn as published",
    rope_theta=1e6,
    head_dim=128,
    rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "finetuned": True},
    max_position_embeddings=40,
)

# Part of a head.
for kind in ({"rope_type": "default"}, LINEAR, LLAMA3, YARN):
    name = kind["rope_type"]
    for part in (0.5, 1.0, 1, None):
        rope(f"{name}: partial {part!r} at the top", rope_scaling=kind, partial_rotary_factor=part)
        rope(f"{name}: partial {part!r} inside", rope_parameters=changed(kind, partial_rotary_factor=part))
rope("partial without an object", partial_rotary_factor=0.5)

# What no kind of these reads.
for key, value in {
    "finetuned": True,
    "mrope_section": [4, 6, 6],
    "mrope_interleaved": True,
    "llama_4_scaling_beta": 0.1,
    "alpha": 2.0,
    "short_factor": [1.0],
    "long_factor": [2.0],
    "anything": None,
}.items():
    rope(f"linear with {key}", rope_scaling=changed(LINEAR, **{key: value}))
    rope(f"default with {key}", rope_scaling={"rope_type": "default", key: value})
rope("rope_ratio at the top", rope_ratio=2.0)
rope("rotary_emb_base at the top", drop=("rope_theta",), rotary_emb_base=500.0)
rope("rope_local_base_freq at the top", rope_local_base_freq=500.0)

# Widths of heads.
for width in (2, 4, 6, 10, 24, 80, 96, 256):
    rope(f"heads of {width}", head_dim=width)
    rope(f"yarn: heads of {width}", head_dim=width, rope_scaling=YARN)
rope("no head_dim", drop=("head_dim",))
rope("head_dim null", head_dim=None)
rope("yarn: no head_dim", drop=("head_dim",), rope_scaling=YARN)
rope("yarn: head_dim null, qwen2", "qwen2", head_dim=None, rope_scaling=YARN)
rope("heads of 7", head_dim=7)
