"""Write a model folder as GGUF in bf16, and quantised versions of it, without a vocabulary.

    python convert_gguf.py MODEL OUT.gguf
    python convert_gguf.py --quantize q4_0 [--pure] --library DIR --binding DIR BF16.gguf OUT.gguf

llama.cpp's own converter wants a tokenizer that it knows, and a random model has none. Weights are copied as they
are; vectors become float32, as that converter does it. Quantising is llama.cpp's own.
"""

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
GEMMA_NAMES = LAYER_NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GPT_OSS_NAMES = LAYER_NAMES | {
    "self_attn": "attn_sinks",
    "post_attention_layernorm": "post_attention_norm",
    "mlp.router": "ffn_gate_inp",
}
NAMES_OF = {"gemma3_text": GEMMA_NAMES, "gpt_oss": GPT_OSS_NAMES}
# What llama.cpp calls the architecture of a model_type.
ARCHITECTURES = {
    "qwen2": "qwen2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "qwen3_moe": "qwen3moe",
    "gpt_oss": "gpt-oss",
}
EXPERT = re.compile(r"(.*\.mlp)\.experts\.(\d+)\.(gate|up|down)_proj\.weight")
FOURS = re.compile(r"model\.layers\.(\d+)\.mlp\.experts\.(gate_up|down)_proj_(blocks|bias)")


@dataclass
class Fours:
    """Four-bit floats of one expert as the checkpoint has them: codes [rows, blocks, 16], and scales [rows, blocks]."""

    codes: np.ndarray
    scales: np.ndarray

    def packed(self) -> np.ndarray:
        """As GGUF has them: a block's scale, and bytes whose high four bits are 16 columns on."""
        columns = np.stack([self.codes & 15, self.codes >> 4], -1).reshape(*self.scales.shape, 32)
        codes = columns[..., :16] | columns[..., 16:] << 4
        return np.concatenate([self.scales[..., None], codes], -1).reshape(len(self.scales), -1)


Part = np.ndarray | Fours


def gguf_name(name: str, names: dict[str, str]) -> str:
    """What GGUF calls a tensor of the checkpoint."""
    if name in NAMES:
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{names[part]}.{'weight' if kind == 'sinks' else kind}"


def tensors(model: Path) -> dict[str, np.ndarray]:
    """The bf16 tensors of a model folder, as their bits, and bytes."""
    found = {}
    for path in sorted(model.glob("*.safetensors")):
        data = np.memmap(path, dtype=np.uint8, mode="r")
        length = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + length].tobytes())
        header.pop("__metadata__", None)
        for name, tensor in header.items():
            if tensor["dtype"] not in ("BF16", "U8"):
                sys.exit(f"{path}: {name} is {tensor['dtype']}; only bf16 models are converted")
            start, end = (8 + length + offset for offset in tensor["data_offsets"])
            bits = data[start:end] if tensor["dtype"] == "U8" else data[start:end].view(np.uint16)
            found[name] = bits.reshape(tensor["shape"])
    return found


def gathered(model: Path, config: dict[str, Any]) -> Iterator[tuple[str, list[Part]]]:
    """GGUF's tensors, in one order: each one's name, and the checkpoint's tensors that are stacked in it."""
    names = NAMES_OF.get(config["model_type"], LAYER_NAMES)
    stacks: dict[str, list[Part]] = {}
    found = tensors(model)
    for name, bits in found.items():
        if fours := FOURS.fullmatch(name):
            yield from four_bit(fours, found)
        elif name.endswith("_scales"):
            continue
        elif expert := EXPERT.fullmatch(name):
            layer = expert[1].split(".")[2]
            # The experts of a layer lie in the order of their numbers.
            stacks.setdefault(f"blk.{layer}.ffn_{expert[3]}_exps.weight", []).append(bits)
        else:
            yield gguf_name(name, names), [bits]
    yield from stacks.items()


def four_bit(name: re.Match[str], found: dict[str, np.ndarray]) -> Iterator[tuple[str, list[Part]]]:
    """The experts of a layer, whose gate and up lie row by row in turns, or their biases."""
    layer, part, kind = name.groups()
    halves = {"ffn_gate_exps": 0, "ffn_up_exps": 1} if part == "gate_up" else {"ffn_down_exps": None}
    for out, first in halves.items():
        rows = np.s_[:] if first is None else np.s_[first::2]
        if kind == "bias":
            yield f"blk.{layer}.{out}.bias", [found[name[0]][:, rows]]
        else:
            both = zip(found[name[0]], found[name[0].replace("_blocks", "_scales")], strict=True)
            yield f"blk.{layer}.{out}.weight", [Fours(codes[rows], scales[rows]) for codes, scales in both]


def wide(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def convert(model: Path, out: Path) -> None:
    import gguf

    config = json.loads((model / "config.json").read_text())
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        sys.exit(f"{model}: only {', '.join(ARCHITECTURES)} models are converted, this is {kind}")
    writer = gguf.GGUFWriter(out, ARCHITECTURES[kind])
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
    own_keys(writer, config)

    def stored(name: str, parts: list[Part]) -> Iterator[np.ndarray]:
        """Matrices as they are; vectors, biases and routers as float32, as llama.cpp's converter has them."""
        for bits in parts:
            if isinstance(bits, Fours):
                yield bits.packed()
            elif bits.ndim == 1:
                # GGUF has the whole factor of a norm, checkpoints of Gemma what it is above 1.
                yield wide(bits) + (1 if kind == "gemma3_text" else 0)
            else:
                yield wide(bits) if "ffn_gate_inp" in name or name.endswith(".bias") else bits.view(np.uint8)

    factors = {}
    if kind == "phi3":
        scaling = config["rope_scaling"]
        factors = {
            f"rope_factors_{length}.weight": np.array(scaling[f"{length}_factor"], np.float32)
            for length in ("long", "short")
        }
    for name, values in factors.items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    for name, parts in gathered(model, config):
        first = next(stored(name, parts))
        shape = first.shape if len(parts) == 1 else (len(parts), *first.shape)
        kinds = gguf.GGMLQuantizationType
        raw = (kinds.MXFP4 if isinstance(parts[0], Fours) else kinds.BF16) if first.dtype == np.uint8 else None
        writer.add_tensor_info(name, shape, first.dtype, first.nbytes * len(parts), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in factors.values():
        writer.write_tensor_data(values)
    for name, parts in gathered(model, config):
        writer.write_tensor_data(np.concatenate([values[None] for values in stored(name, parts)]))
    writer.close()


def own_keys(writer: Any, config: dict[str, Any]) -> None:
    """The keys that not all architectures have."""
    import gguf

    head = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    match config["model_type"]:
        case "gemma3_text":
            writer.add_key_length(head)
            writer.add_value_length(head)
            writer.add_sliding_window(config["sliding_window"])
        case "phi3":
            writer.add_rope_dimension_count(int(head * config["partial_rotary_factor"]))
            original, most = config["original_max_position_embeddings"], config["max_position_embeddings"]
            writer.add_rope_scaling_orig_ctx_len(original)
            writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(most / original) / math.log(original)))
            writer.add_sliding_window(config["sliding_window"])
        case "qwen3_moe":
            writer.add_key_length(head)
            writer.add_value_length(head)
            writer.add_expert_count(config["num_experts"])
            writer.add_expert_used_count(config["num_experts_per_tok"])
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        case "gpt_oss":
            writer.add_key_length(head)
            writer.add_value_length(head)
            writer.add_expert_count(config["num_local_experts"])
            writer.add_expert_used_count(config["num_experts_per_tok"])
            writer.add_expert_feed_forward_length(config["intermediate_size"])
            writer.add_sliding_window(config["sliding_window"])
            scaling = config["rope_scaling"]
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(scaling["factor"])
            writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])


def quantize(source: Path, out: Path, kind: str, pure: bool) -> None:
    import ctypes

    import llama_cpp.llama_cpp as llama

    params = llama.llama_model_quantize_default_params()
    params.ftype = {
        "q4_0": llama.LLAMA_FTYPE_MOSTLY_Q4_0,
        "q8_0": llama.LLAMA_FTYPE_MOSTLY_Q8_0,
        # Experts that are MXFP4 stay so, and the rest becomes Q8_0.
        "mxfp4": llama.LLAMA_FTYPE_MOSTLY_MXFP4_MOE,
    }[kind]
    params.pure = pure
    if llama.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp cannot quantise {source} to {kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quantize", choices=["q4_0", "q8_0", "mxfp4"])
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
