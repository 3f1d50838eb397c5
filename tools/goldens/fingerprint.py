"""Computes the fingerprint of a shard as src/engine/identity.rs describes it, from config.json and model.safetensors alone: what a
test holds the library's own to. For Llama folders with plain rotary positions, weights as stored. Needs nothing but Python.

    python3 tools/goldens/fingerprint.py tests/models/llama_256 0 1 f32
"""

import hashlib
import json
import pathlib
import struct
import sys


def number(value):
    return struct.pack("<Q", value)


def text(value):
    return number(len(value.encode())) + value.encode()


def float_bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def computed(value):
    return number((float_bits(value) + 128) >> 8)


def model(config, first, last, kv):
    heads = config["num_attention_heads"]
    dim = config["head_dim"]
    sizes = [config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"], heads]
    sizes += [config["num_key_value_heads"], dim, config["vocab_size"]]
    bias = config["attention_bias"]
    flags = [config["tie_word_embeddings"], bias, bias, config["mlp_bias"]]
    theta = config["rope_parameters"]["rope_theta"]
    frequencies = [theta ** -(2 * pair / dim) for pair in range(dim // 2)]
    return b"".join(
        [text("ortshard shard"), number(3), text(config["architectures"][0])]
        + [number(size) for size in sizes]
        + [number(float_bits(config["rms_norm_eps"]))]
        + [number(int(flag)) for flag in flags]
        + [number(0), number(1), number(len(frequencies)), number(0)]
        + [computed(frequency) for frequency in frequencies]
        + [computed(1.0), number(first), number(last), text(kv)]
    )


def tensors(config, first, last):
    if first == 0:
        yield "model.embed_tokens.weight"
    parts = ["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts += ["post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    for layer in range(first, last + 1):
        yield from (f"model.layers.{layer}.{part}.weight" for part in parts)
    if last + 1 == config["num_hidden_layers"]:
        yield "model.norm.weight"
        if not config["tie_word_embeddings"]:
            yield "lm_head.weight"
        elif first > 0:
            yield "model.embed_tokens.weight"


def main():
    folder, first, last, kv = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    config = json.loads((folder / "config.json").read_text())
    file = (folder / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8:start])
    fingerprint = hashlib.sha256(model(config, first, last, kv))
    for name in tensors(config, first, last):
        about = header[name]
        begin, end = (start + offset for offset in about["data_offsets"])
        shape = about["shape"]
        fingerprint.update(text(name) + number(len(shape)) + b"".join(map(number, shape)) + text(about["dtype"].lower()))
        fingerprint.update(file[begin : min(end, begin + 4096)] + file[max(begin, end - 4096) : end])
    print(fingerprint.hexdigest())


main()
