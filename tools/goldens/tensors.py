"""The tensors that all variants of one family's config.json share: more than any one of them needs."""

from typing import Any, NamedTuple


class Random(NamedTuple):
    """A tensor of random values; large enough that dropping it shows."""

    shape: tuple[int, ...]
    around: float = 0.0
    spread: float = 1.0


def matrix(rows: int, columns: int) -> Random:
    return Random((rows, columns), spread=1.6 / columns**0.5)


def bias(width: int) -> Random:
    return Random((width,), spread=0.3)


def norm(width: int, around: float = 1.0) -> Random:
    return Random((width,), around, 0.2)


def decoder(c: dict[str, Any]) -> dict[str, Random]:
    """Llama's tensors, with every bias, and norms of query and key heads."""
    hidden, inner, vocabulary, head = c["hidden_size"], c["intermediate_size"], c["vocab_size"], c["head_dim"]
    query, pair = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    made = {
        "model.embed_tokens.weight": Random((vocabulary, hidden), spread=0.5),
        "lm_head.weight": Random((vocabulary, hidden), spread=0.5),
        "model.norm.weight": norm(hidden),
    }
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            made[f"{at}.{name}.weight"] = norm(hidden)
        for name in ("q_norm", "k_norm"):
            made[f"{at}.self_attn.{name}.weight"] = norm(head)
        for name, rows, columns in (
            ("self_attn.q_proj", query, hidden),
            ("self_attn.k_proj", pair, hidden),
            ("self_attn.v_proj", pair, hidden),
            ("self_attn.o_proj", hidden, query),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ):
            made[f"{at}.{name}.weight"] = matrix(rows, columns)
            made[f"{at}.{name}.bias"] = bias(rows)
    return made


def latent_attention(c: dict[str, Any]) -> dict[str, Random]:
    """The attention of DeepSeek V2 in place of Llama's, with queries by way of a latent and without, and every bias."""
    hidden, heads, rank, query_rank = (c[key] for key in ("hidden_size", "num_attention_heads", "kv_lora_rank", "q_lora_rank"))
    plain, rotated, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    made = {name: tensor for name, tensor in decoder(c).items() if ".self_attn." not in name}
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}.self_attn"
        made[f"{at}.q_a_layernorm.weight"] = norm(query_rank)
        made[f"{at}.kv_a_layernorm.weight"] = norm(rank)
        for name, rows, columns in (
            ("q_proj", heads * (plain + rotated), hidden),
            ("q_a_proj", query_rank, hidden),
            ("q_b_proj", heads * (plain + rotated), query_rank),
            ("kv_a_proj_with_mqa", rank + rotated, hidden),
            ("kv_b_proj", heads * (plain + value), rank),
            ("o_proj", hidden, heads * value),
        ):
            made[f"{at}.{name}.weight"] = matrix(rows, columns)
            made[f"{at}.{name}.bias"] = bias(rows)
    return made


def quiet(made: dict[str, Random], c: dict[str, Any]) -> dict[str, Random]:
    """With so small an embedding that the epsilon of a norm shows."""
    return made | {"model.embed_tokens.weight": Random((c["vocab_size"], c["hidden_size"]), spread=0.02)}


def with_norm_biases(made: dict[str, Random]) -> dict[str, Random]:
    """The same, and a bias for each norm of a whole row."""
    norms = [name for name in made if "norm." in name and "self_attn" not in name]
    return made | {f"{name.removesuffix('weight')}bias": bias(*made[name].shape) for name in norms}


def mlp(at: str, hidden: int, inner: int, *, biased: bool = False) -> dict[str, Random]:
    """A gated layer of that width, under the module `at`."""
    made = {}
    for name, rows, columns in (("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)):
        made[f"{at}.{name}.weight"] = matrix(rows, columns)
        if biased:
            made[f"{at}.{name}.bias"] = bias(rows)
    return made


def experts(at: str, count: int, hidden: int, inner: int, parts: tuple[str, str, str]) -> dict[str, Random]:
    """So many experts under the module `at`, whose gate, up and down are called `parts`."""
    gate, up, down = parts
    return {
        f"{at}.{expert}.{name}.weight": matrix(rows, columns)
        for expert in range(count)
        for name, rows, columns in ((gate, inner, hidden), (up, inner, hidden), (down, hidden, inner))
    }
