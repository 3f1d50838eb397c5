"""Write a Qwen2 model folder as GGUF in bf16, and quantised versions of it, without a vocabulary.

    python convert_gguf.py MODEL OUT.gguf
    python convert_gguf.py --quantize q4_0 [--pure] --library DIR --binding DIR BF16.gguf OUT.gguf

llama.cpp's own converter wants a tokenizer that it knows, and a random model has none. Weights are copied as they
are; vectors become float32, as that converter does it. Quantising is llama.cpp's own.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """What GGUF calls a tensor of the checkpoint."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.{kind}"


def tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The bf16 tensors of a safetensors file, as their bits."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8 : 8 + length].tobytes())
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        if tensor["dtype"] != "BF16":
            sys.exit(f"{path}: {name} is {tensor['dtype']}; only bf16 models are converted")
        start, end = (8 + length + offset for offset in tensor["data_offsets"])
        yield name, data[start:end].view(np.uint16).reshape(tensor["shape"])


def convert(model: Path, out: Path) -> None:
    import gguf

    config = json.loads((model / "config.json").read_text())
    if config["model_type"] != "qwen2":
        sys.exit(f"{model}: only qwen2 models are converted, this is {config['model_type']}")
    writer = gguf.GGUFWriter(out, "qwen2")
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, bits in tensors(model / "model.safetensors"):
        if bits.ndim == 1:
            writer.add_tensor(gguf_name(name), (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            writer.add_tensor(gguf_name(name), bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source: Path, out: Path, kind: str, pure: bool) -> None:
    import ctypes

    import llama_cpp.llama_cpp as llama

    params = llama.llama_model_quantize_default_params()
    params.ftype = {"q4_0": llama.LLAMA_FTYPE_MOSTLY_Q4_0, "q8_0": llama.LLAMA_FTYPE_MOSTLY_Q8_0}[kind]
    params.pure = pure
    if llama.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp cannot quantise {source} to {kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quantize", choices=["q4_0", "q8_0"])
    parser.add_argument("--pure", action="store_true", help="the head, too, in the type asked for")
    parser.add_argument("--library", help="the folder with libllama")
    parser.add_argument("--binding", help="the folder with the package llama_cpp")
    options = parser.parse_args()
    if not options.quantize:
        return convert(options.source, options.out)
    os.environ["LLAMA_CPP_LIB_PATH"] = options.library
    sys.path.insert(0, options.binding)
    quantize(options.source, options.out, options.quantize, options.pure)


if __name__ == "__main__":
    main()
