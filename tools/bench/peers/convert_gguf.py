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
from gguf_names import ARCHITECTURES, gguf_name
from tensors import inner_width

EXPERT = re.compile(r"(.*\.mlp)\.experts\.(\d+)\.(gate|up|down)_proj\.weight")
LATENTS = re.compile(r"model\.layers\.(\d+)\.self_attn\.kv_b_proj\.weight")
FOURS = re.compile(r"model\.layers\.(\d+)\.mlp\.experts\.(gate_up|down)_proj_(blocks|bias)")

# Checkpoints whose norms have what their factors are above 1.
ONE_MORE = ("gemma3_text", "qwen3_5_text")


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
    kind = config["model_type"]
    stacks: dict[str, list[Part]] = {}
    found = tensors(model)
    for name, bits in found.items():
        if fours := FOURS.fullmatch(name):
            yield from four_bit(fours, found)
        elif name.endswith("_scales"):
            continue
        elif latents := LATENTS.fullmatch(name):
            yield from absorbed(latents[1], bits, config)
        elif expert := EXPERT.fullmatch(name):
            layer = expert[1].split(".")[2]
            # The experts of a layer lie in the order of their numbers.
            stacks.setdefault(f"blk.{layer}.ffn_{expert[3]}_exps.weight", []).append(bits)
        else:
            yield gguf_name(name, kind), [value_of(name, bits, kind)]
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


def absorbed(layer: str, bits: np.ndarray, config: dict[str, Any]) -> Iterator[tuple[str, list[Part]]]:
    """What makes keys and values of latents, head by head; that of keys works on queries, so rows are the latents."""
    heads = bits.reshape(config["num_attention_heads"], -1, config["kv_lora_rank"])
    keys = config["qk_nope_head_dim"]
    yield f"blk.{layer}.attn_k_b.weight", [*np.ascontiguousarray(heads[:, :keys].transpose(0, 2, 1))]
    yield f"blk.{layer}.attn_v_b.weight", [*np.ascontiguousarray(heads[:, keys:])]


def value_of(name: str, bits: np.ndarray, kind: str) -> np.ndarray:
    """What GGUF has of a tensor: the whole factor of a norm, where checkpoints have what it is above 1, and a head's
    rate, where they have its logarithm. What becomes numbers is float32, and the rest bits of bf16."""
    if name.endswith("A_log"):
        return -np.exp(wide(bits))
    if name.endswith("norm.weight") and kind in ONE_MORE and "linear_attn" not in name:
        return wide(bits) + 1
    if "conv1d" in name or "conv.conv" in name:
        return wide(bits).reshape(len(bits), -1)
    return bits


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
    writer.add_feed_forward_length(inner_width(config))
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(kv_heads(config))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps") or config["norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    own_keys(writer, config)

    def stored(name: str, parts: list[Part]) -> Iterator[np.ndarray]:
        """Matrices as they are; vectors, biases and routers as float32, as llama.cpp's converter has them."""
        for bits in parts:
            if isinstance(bits, Fours):
                yield bits.packed()
            elif bits.dtype == np.float32:
                yield bits
            elif bits.ndim == 1 or "ffn_gate_inp" in name or name.endswith(".bias"):
                yield wide(bits)
            else:
                yield bits.view(np.uint8)

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


def kv_heads(config: dict[str, Any]) -> int | list[int]:
    """One of latents, and none where a layer of LFM2 has a convolution."""
    heads = config["num_key_value_heads"]
    match config["model_type"]:
        case "deepseek_v2":
            return 1
        case "lfm2":
            return [heads if layer in config["full_attn_idxs"] else 0 for layer in range(config["num_hidden_layers"])]
    return heads


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
        case "qwen3_5_text":
            writer.add_key_length(head)
            writer.add_value_length(head)
            rope = config["rope_parameters"]
            writer.add_rope_dimension_count(int(head * rope["partial_rotary_factor"]))
            writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
            writer.add_full_attention_interval(config["full_attention_interval"])
            writer.add_ssm_conv_kernel(config["linear_conv_kernel_dim"])
            writer.add_ssm_state_size(config["linear_key_head_dim"])
            writer.add_ssm_group_count(config["linear_num_key_heads"])
            writer.add_ssm_time_step_rank(config["linear_num_value_heads"])
            writer.add_ssm_inner_size(config["linear_num_value_heads"] * config["linear_value_head_dim"])
        case "lfm2":
            writer.add_shortconv_l_cache(config["conv_L_cache"])
        case "deepseek_v2":
            rank, rotated = config["kv_lora_rank"], config["qk_rope_head_dim"]
            writer.add_q_lora_rank(0)
            writer.add_kv_lora_rank(rank)
            writer.add_key_length(rank + rotated)
            writer.add_value_length(rank)
            writer.add_key_length_mla(config["qk_nope_head_dim"] + rotated)
            writer.add_value_length_mla(config["v_head_dim"])
            writer.add_rope_dimension_count(rotated)
            writer.add_leading_dense_block_count(config["first_k_dense_replace"])
            writer.add_expert_count(config["n_routed_experts"])
            writer.add_expert_used_count(config["num_experts_per_tok"])
            writer.add_expert_shared_count(config["n_shared_experts"])
            writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
            writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
            writer.add_expert_weights_scale(config["routed_scaling_factor"])
            scaling = config["rope_scaling"]
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(scaling["factor"])
            writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
            # llama.cpp takes the tenth part of it out again.
            writer.add_rope_scaling_yarn_log_mul(0.1 * scaling["mscale_all_dim"])
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
