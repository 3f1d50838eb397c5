"""Variants of config.json that make_config_goldens.py asks transformers about: those that every family gets."""

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
FULL, SLIDES = "full_attention", "sliding_attention"
MIXED = [FULL, SLIDES, FULL]


class Cases(list[dict[str, Any]]):
    """Variants of one config.json, under names."""

    def add(self, name: str, key: str, drop: list[str], more: dict[str, Any]) -> None:
        self.append({"name": name, "key": key, "set": more, "drop": drop})

    def case(self, key: str, *values: Any, **more: Any) -> None:
        """Variants with each of `values` under `key`, and `more` beside it."""
        for value in values:
            self.add(f"{key} {value!r}" + (f" with {more}" if more else ""), key, [], {key: value, **more})

    def without(self, key: str, **more: Any) -> None:
        """A variant that lacks `key`, with `more` in it."""
        self.add(f"no {key}" + (f" with {more}" if more else ""), key, [key], more)


COMMON = Cases()
case, without = COMMON.case, COMMON.without
COMMON.add("as it is", "model_type", [], {})

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
