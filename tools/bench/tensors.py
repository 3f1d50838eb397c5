"""The tensors that a model of a config.json has."""

from typing import Any

Tensors = dict[str, tuple[int, ...]]


def tensors(config: dict[str, Any]) -> Tensors:
    """Every tensor's name and shape, in the order of the layers."""
    kind, hidden = config["model_type"], config["hidden_size"]
    shapes: Tensors = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for n in range(config["num_hidden_layers"]):
        layer = mixer(config, n) | {f"{norm}.weight": (hidden,) for norm in norms(kind)} | feed_forward(config, n)
        shapes |= {f"model.layers.{n}.{name}": shape for name, shape in layer.items()}
    shapes[f"model.{'embedding_norm' if kind == 'lfm2' else 'norm'}.weight"] = (hidden,)
    if not config.get("tie_word_embeddings", config.get("tie_embedding")):
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def norms(kind: str) -> list[str]:
    """The norms over the width of a layer."""
    if kind == "lfm2":
        return ["operator_norm", "ffn_norm"]
    outer = ["pre_feedforward_layernorm", "post_feedforward_layernorm"] if kind == "gemma3_text" else []
    return ["input_layernorm", "post_attention_layernorm", *outer]


def inner_width(config: dict[str, Any]) -> int:
    """The MLP's inner width, which LFM2's config.json gives before adjustments."""
    if config["model_type"] != "lfm2":
        return config["intermediate_size"]
    width, multiple = int(config["block_ffn_dim_multiplier"] * (2 * config["block_ff_dim"] // 3)), config["block_multiple_of"]
    return -(-width // multiple) * multiple


def mixer(config: dict[str, Any], layer: int) -> Tensors:
    """What brings tokens together."""
    match config["model_type"]:
        case "lfm2" if layer not in config["full_attn_idxs"]:
            return convolution(config)
        case "qwen3_5_text" if (layer + 1) % config["full_attention_interval"]:
            return delta_rule(config)
        case "deepseek_v2":
            return latent_attention(config)
        case _:
            return attention(config)


def convolution(config: dict[str, Any]) -> Tensors:
    hidden = config["hidden_size"]
    return {
        "conv.in_proj.weight": (3 * hidden, hidden),
        "conv.conv.weight": (hidden, 1, config["conv_L_cache"]),
        "conv.out_proj.weight": (hidden, hidden),
    }


def delta_rule(config: dict[str, Any]) -> Tensors:
    hidden, heads, head = config["hidden_size"], config["linear_num_value_heads"], config["linear_value_head_dim"]
    keys, values = config["linear_num_key_heads"] * config["linear_key_head_dim"], heads * head
    return {
        "linear_attn.in_proj_qkv.weight": (2 * keys + values, hidden),
        "linear_attn.in_proj_z.weight": (values, hidden),
        "linear_attn.in_proj_b.weight": (heads, hidden),
        "linear_attn.in_proj_a.weight": (heads, hidden),
        "linear_attn.conv1d.weight": (2 * keys + values, 1, config["linear_conv_kernel_dim"]),
        "linear_attn.dt_bias": (heads,),
        "linear_attn.A_log": (heads,),
        "linear_attn.norm.weight": (head,),
        "linear_attn.out_proj.weight": (hidden, values),
    }


def latent_attention(config: dict[str, Any]) -> Tensors:
    hidden, heads, rank = config["hidden_size"], config["num_attention_heads"], config["kv_lora_rank"]
    plain, rotated, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    return {
        "self_attn.q_proj.weight": (heads * (plain + rotated), hidden),
        "self_attn.kv_a_proj_with_mqa.weight": (rank + rotated, hidden),
        "self_attn.kv_a_layernorm.weight": (rank,),
        "self_attn.kv_b_proj.weight": (heads * (plain + value), rank),
        "self_attn.o_proj.weight": (hidden, heads * value),
    }


def attention(config: dict[str, Any]) -> Tensors:
    kind, hidden, heads = config["model_type"], config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim", hidden // heads)
    queries, keys = heads * head, config["num_key_value_heads"] * head
    output = "out_proj" if kind == "lfm2" else "o_proj"
    shapes: Tensors = {f"self_attn.{output}.weight": (hidden, queries)}
    if kind == "phi3":
        return shapes | {"self_attn.qkv_proj.weight": (queries + 2 * keys, hidden)}
    gates = queries if kind == "qwen3_5_text" else 0
    for name, width in (("q", queries + gates), ("k", keys), ("v", keys)):
        shapes[f"self_attn.{name}_proj.weight"] = (width, hidden)
        if kind in ("qwen2", "gpt_oss"):
            shapes[f"self_attn.{name}_proj.bias"] = (width,)
    if kind == "gpt_oss":
        shapes |= {"self_attn.o_proj.bias": (hidden,), "self_attn.sinks": (heads,)}
    if kind in ("gemma3_text", "qwen3_moe", "qwen3_5_text", "lfm2"):
        norm = "layernorm" if kind == "lfm2" else "norm"
        shapes |= {f"self_attn.{name}_{norm}.weight": (head,) for name in "qk"}
    return shapes


def feed_forward(config: dict[str, Any], layer: int) -> Tensors:
    hidden, inner = config["hidden_size"], inner_width(config)
    match config["model_type"]:
        case "gpt_oss":
            return four_bit_experts(config)
        case "phi3":
            return {"mlp.gate_up_proj.weight": (2 * inner, hidden), "mlp.down_proj.weight": (hidden, inner)}
        case "lfm2":
            return {f"feed_forward.{name}.weight": (inner, hidden) for name in ("w1", "w3")} | {
                "feed_forward.w2.weight": (hidden, inner)
            }
        case "qwen3_moe":
            return experts(config, config["num_experts"])
        case "deepseek_v2" if layer >= config["first_k_dense_replace"]:
            shared = gated("mlp.shared_experts", hidden, config["n_shared_experts"] * config["moe_intermediate_size"])
            return experts(config, config["n_routed_experts"]) | shared
        case _:
            return gated("mlp", hidden, inner)


def gated(module: str, hidden: int, inner: int) -> Tensors:
    shapes = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
    return {f"{module}.{name}.weight": shape for name, shape in shapes.items()}


def experts(config: dict[str, Any], count: int) -> Tensors:
    hidden, inner = config["hidden_size"], config["moe_intermediate_size"]
    shapes: Tensors = {"mlp.gate.weight": (count, hidden)}
    for expert in range(count):
        shapes |= gated(f"mlp.experts.{expert}", hidden, inner)
    return shapes


def four_bit_experts(config: dict[str, Any]) -> Tensors:
    """Blocks of 32 weights of a row, two to a byte, and a scale for each block; gate and up row by row in turns."""
    hidden, inner, count = config["hidden_size"], config["intermediate_size"], config["num_local_experts"]
    shapes: Tensors = {"mlp.router.weight": (count, hidden), "mlp.router.bias": (count,)}
    for name, rows, columns in (("gate_up_proj", 2 * inner, hidden), ("down_proj", hidden, inner)):
        module = f"mlp.experts.{name}"
        shapes[f"{module}_blocks"] = (count, rows, columns // 32, 16)
        shapes[f"{module}_scales"] = (count, rows, columns // 32)
        shapes[f"{module}_bias"] = (count, rows)
    return shapes
