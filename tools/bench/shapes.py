"""The shapes of published models, as config.json says them, and the tensors that they have."""

from typing import Any

Tensors = dict[str, tuple[int, ...]]

# What a config.json on the hub says, as transformers 4 spelled it.
LLAMA = dict(
    architectures=["LlamaForCausalLM"],
    model_type="llama",
    attention_bias=False,
    hidden_act="silu",
    initializer_range=0.02,
    mlp_bias=False,
    rms_norm_eps=1e-5,
    rope_theta=500000.0,
    rope_scaling=None,
    use_cache=True,
)
LLAMA_3 = LLAMA | dict(vocab_size=128256, bos_token_id=128000, eos_token_id=128001)
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": LLAMA | dict(
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        vocab_size=256,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "qwen2.5-0.5b": dict(
        architectures=["Qwen2ForCausalLM"],
        model_type="qwen2",
        hidden_act="silu",
        hidden_size=896,
        initializer_range=0.02,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        max_window_layers=24,
        rms_norm_eps=1e-6,
        rope_theta=1000000.0,
        sliding_window=32768,
        tie_word_embeddings=True,
        use_cache=True,
        use_sliding_window=False,
        vocab_size=151936,
        bos_token_id=151643,
        eos_token_id=151643,
    ),
    "llama-3.2-1b": LLAMA_3 | dict(
        head_dim=64,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        rope_scaling=dict(
            factor=32.0,
            high_freq_factor=4.0,
            low_freq_factor=1.0,
            original_max_position_embeddings=8192,
            rope_type="llama3",
        ),
        tie_word_embeddings=True,
    ),
    "llama-3-8b": LLAMA_3 | dict(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
    "gemma-3-1b": dict(
        architectures=["Gemma3ForCausalLM"],
        model_type="gemma3_text",
        attention_bias=False,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        head_dim=256,
        hidden_activation="gelu_pytorch_tanh",
        hidden_size=1152,
        initializer_range=0.02,
        intermediate_size=6912,
        num_hidden_layers=26,
        num_attention_heads=4,
        num_key_value_heads=1,
        max_position_embeddings=32768,
        query_pre_attn_scalar=256,
        rms_norm_eps=1e-6,
        rope_local_base_freq=10000.0,
        rope_scaling=None,
        rope_theta=1000000.0,
        sliding_window=512,
        sliding_window_pattern=6,
        tie_word_embeddings=True,
        use_cache=True,
        vocab_size=262144,
        bos_token_id=2,
        eos_token_id=1,
    ),
    "phi-4-mini": dict(
        architectures=["Phi3ForCausalLM"],
        model_type="phi3",
        attention_bias=False,
        hidden_act="silu",
        hidden_size=3072,
        initializer_range=0.02,
        intermediate_size=8192,
        num_hidden_layers=32,
        num_attention_heads=24,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        partial_rotary_factor=0.75,
        rms_norm_eps=1e-5,
        # As published these are numbers around 1 and 30; speed does not depend on them.
        rope_scaling=dict(type="longrope", short_factor=[1.0] * 48, long_factor=[1.0] * 48),
        rope_theta=10000.0,
        sliding_window=262144,
        tie_word_embeddings=True,
        use_cache=True,
        vocab_size=200064,
        bos_token_id=199999,
        eos_token_id=199999,
    ),
    "qwen3-30b-a3b": dict(
        architectures=["Qwen3MoeForCausalLM"],
        model_type="qwen3_moe",
        attention_bias=False,
        decoder_sparse_step=1,
        head_dim=128,
        hidden_act="silu",
        hidden_size=2048,
        initializer_range=0.02,
        intermediate_size=6144,
        mlp_only_layers=[],
        moe_intermediate_size=768,
        norm_topk_prob=True,
        num_hidden_layers=48,
        num_attention_heads=32,
        num_experts=128,
        num_experts_per_tok=8,
        num_key_value_heads=4,
        max_position_embeddings=40960,
        rms_norm_eps=1e-6,
        rope_scaling=None,
        rope_theta=1000000.0,
        sliding_window=None,
        tie_word_embeddings=False,
        use_cache=True,
        use_sliding_window=False,
        vocab_size=151936,
        bos_token_id=151643,
        eos_token_id=151645,
    ),
    # Experts as published: four-bit floats.
    "gpt-oss-20b": dict(
        architectures=["GptOssForCausalLM"],
        model_type="gpt_oss",
        attention_bias=True,
        head_dim=64,
        hidden_act="silu",
        hidden_size=2880,
        initializer_range=0.02,
        intermediate_size=2880,
        num_hidden_layers=24,
        num_attention_heads=64,
        num_experts_per_tok=4,
        num_key_value_heads=8,
        num_local_experts=32,
        max_position_embeddings=131072,
        quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=[]),
        rms_norm_eps=1e-5,
        rope_scaling=dict(
            beta_fast=32.0,
            beta_slow=1.0,
            factor=32.0,
            original_max_position_embeddings=4096,
            rope_type="yarn",
            truncate=False,
        ),
        rope_theta=150000.0,
        sliding_window=128,
        swiglu_limit=7.0,
        tie_word_embeddings=False,
        use_cache=True,
        vocab_size=201088,
        bos_token_id=199998,
        eos_token_id=200002,
    ),
}


def tensors(config: dict[str, Any]) -> Tensors:
    """Every tensor's name and shape, in the order of the layers."""
    kind, hidden = config["model_type"], config["hidden_size"]
    shapes: Tensors = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    norms = ["input_layernorm", "post_attention_layernorm"]
    if kind == "gemma3_text":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for n in range(config["num_hidden_layers"]):
        layer = attention(config) | {f"{norm}.weight": (hidden,) for norm in norms}
        layer |= feed_forward(config)
        shapes |= {f"model.layers.{n}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    return shapes


def attention(config: dict[str, Any]) -> Tensors:
    kind, hidden, heads = config["model_type"], config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim", hidden // heads)
    queries, keys = heads * head, config["num_key_value_heads"] * head
    shapes: Tensors = {"self_attn.o_proj.weight": (hidden, queries)}
    if kind == "phi3":
        return shapes | {"self_attn.qkv_proj.weight": (queries + 2 * keys, hidden)}
    for name, width in (("q", queries), ("k", keys), ("v", keys)):
        shapes[f"self_attn.{name}_proj.weight"] = (width, hidden)
        if kind in ("qwen2", "gpt_oss"):
            shapes[f"self_attn.{name}_proj.bias"] = (width,)
    if kind == "gpt_oss":
        shapes |= {"self_attn.o_proj.bias": (hidden,), "self_attn.sinks": (heads,)}
    if kind in ("gemma3_text", "qwen3_moe"):
        shapes |= {f"self_attn.{name}_norm.weight": (head,) for name in "qk"}
    return shapes


def feed_forward(config: dict[str, Any]) -> Tensors:
    if config["model_type"] == "gpt_oss":
        return four_bit_experts(config)
    return experts(config) if "num_experts" in config else mlp(config)


def mlp(config: dict[str, Any]) -> Tensors:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    if config["model_type"] == "phi3":
        return {"mlp.gate_up_proj.weight": (2 * inner, hidden), "mlp.down_proj.weight": (hidden, inner)}
    return gated("mlp", hidden, inner)


def gated(module: str, hidden: int, inner: int) -> Tensors:
    shapes = {"gate_proj": (inner, hidden), "up_proj": (inner, hidden), "down_proj": (hidden, inner)}
    return {f"{module}.{name}.weight": shape for name, shape in shapes.items()}


def experts(config: dict[str, Any]) -> Tensors:
    hidden, inner, count = config["hidden_size"], config["moe_intermediate_size"], config["num_experts"]
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
