"""LFM2."""

from typing import Any

import torch
from spec import F16, Spec, rope, shape
from tensors import Random, bias, matrix, norm
from transformers import DynamicCache, PreTrainedModel
from transformers.models.lfm2 import modeling_lfm2
from variants import FULL, Cases

CONV = "conv"

MODELS = {
    # The keys that published models have, whose inner width is made from the one that is given.
    "lfm2_conv": Spec(
        shape(36, 60, 4, 6, 2, 101, head_dim=6, conv_L_cache=4, conv_bias=True, block_multiple_of=8,
              block_ffn_dim_multiplier=1.3, full_attn_idxs=[2], rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        omit=("layer_types",),
        written={"block_ff_dim": 60, "theta": 1e6, "tie_embedding": True, "full_attn_idxs": [2]},
        files=2,
    ),
    "lfm2_16": Spec(
        shape(32, 44, 3, 4, 4, 99, head_dim=16, layer_types=[FULL, CONV, CONV], block_auto_adjust_ff_dim=False,
              tie_word_embeddings=False),
        F16,
    ),
}

CONFIG = {
    "model_type": "lfm2",
    "architectures": ["Lfm2ForCausalLM"],
    "layer_types": [CONV, FULL, CONV],
    "block_auto_adjust_ff_dim": False,
}
CASES = Cases()
case, without = CASES.case, CASES.without
ADJUSTED = {"block_auto_adjust_ff_dim": True}
case("layer_types", [CONV] * 3, [FULL, CONV, FULL], [CONV, "attention", CONV], [CONV, "sliding_attention", CONV], [CONV] * 2)
without("layer_types")
case("full_attn_idxs", [0], [2, 7], [], [1.0], [-1], None, "1", 1, layer_types=None)
case("full_attn_idxs", [0])
case("conv_L_cache", 2, 3, 4, 1, 0, -1, 3.0, None, "3")
without("conv_L_cache")
case("conv_bias", True, False, None, 1, "true")
case("norm_eps", 1e-1, 1, 0, 0.0, "1e-6", None, -1.0)
without("norm_eps")
# With the weights' inner width of 24.
case("block_auto_adjust_ff_dim", True, False, None, 1, 0, intermediate_size=36, block_multiple_of=8)
without("block_auto_adjust_ff_dim", intermediate_size=36, block_multiple_of=8)
case("block_multiple_of", 4, 1, 8.0, 0, -8, None, "8", 12, **ADJUSTED, intermediate_size=36)
case("block_multiple_of", 7)
case("block_ffn_dim_multiplier", 1.5, 1.45, 0.5, 1, 0, -1.0, None, "1", **ADJUSTED, block_multiple_of=8)
case("block_ffn_dim_multiplier", None, 1, **ADJUSTED, intermediate_size=36)
case("block_ffn_dim_multiplier", 2.0)
case("block_ff_dim", 16, 24.0, 0, None, "24")
case("tie_embedding", True, False, None, "true")
case("tie_embedding", True, tie_word_embeddings=False)
case("tie_embedding", False, tie_word_embeddings=True)
without("tie_word_embeddings")
case("theta", 1e6, 500.0, None, "500")
case("theta", 500.0, rope_theta=500.0)
case("theta", 500.0, rope_theta=1e4)
for key, value in {
    "block_dim": 8, "conv_dim": 8, "conv_dim_out": 8, "block_norm_eps": 0.1, "block_mlp_init_scale": 2.0,
    "block_out_init_scale": 2.0, "block_use_swiglu": False, "block_use_xavier_init": False,
    "conv_use_xavier_init": False, "use_pos_enc": False, "num_heads": 4,
}.items():
    case(key, value)


def cache(model: PreTrainedModel) -> Any:
    """What version 4 keeps of convolutions is none of its usual caches."""
    own = getattr(modeling_lfm2, "Lfm2HybridConvCache", None)
    return own(model.config, 1, dtype=torch.float32) if own else DynamicCache(config=model.config)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    """Convolutions and attention on every layer, and the width that adjustments lead to at most."""
    hidden, inner, head = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    query, pair = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    made = {
        "model.embed_tokens.weight": Random((c["vocab_size"], hidden), spread=0.02),
        "lm_head.weight": Random((c["vocab_size"], hidden), spread=0.5),
        "model.embedding_norm.weight": norm(hidden),
    }
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name, width in (("operator_norm", hidden), ("ffn_norm", hidden), ("self_attn.q_layernorm", head),
                            ("self_attn.k_layernorm", head)):
            made[f"{at}.{name}.weight"] = norm(width)
        for name, rows, columns in (
            ("conv.in_proj", 3 * hidden, hidden),
            ("conv.out_proj", hidden, hidden),
            ("self_attn.q_proj", query, hidden),
            ("self_attn.k_proj", pair, hidden),
            ("self_attn.v_proj", pair, hidden),
            ("self_attn.out_proj", hidden, query),
            ("feed_forward.w1", inner, hidden),
            ("feed_forward.w3", inner, hidden),
            ("feed_forward.w2", hidden, inner),
        ):
            made[f"{at}.{name}.weight"] = matrix(rows, columns)
            made[f"{at}.{name}.bias"] = bias(rows)
        made[f"{at}.conv.conv.weight"] = Random((hidden, 1, c.get("conv_L_cache") or 3), spread=0.8)
        made[f"{at}.conv.conv.bias"] = bias(hidden)
    return made
