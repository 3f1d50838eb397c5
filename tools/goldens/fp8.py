"""Matrices as eight-bit floats with a scale for each block, as DeepSeek-V3 and MiniMax-M2 are published."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

# Rows and columns of the blocks: narrow, so that a head begins within one.
BLOCK = [32, 16]
QUANTIZATION = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": BLOCK}
# The codes and scales of each matrix of rounded weights, by its bytes.
ROUNDED: dict[bytes, tuple[Tensor, Tensor]] = {}


def rounded(weights: Tensor) -> Tensor:
    """A matrix of such floats, whose codes and scales are kept."""
    rows, columns = BLOCK
    blocks = weights.float().unflatten(1, (-1, columns)).unflatten(0, (-1, rows))
    scales = blocks.abs().amax((1, 3)) / 448.0
    codes = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
    back = (codes.float() * scales[:, None, :, None]).reshape(weights.shape)
    ROUNDED[back.numpy().tobytes()] = (codes.reshape(weights.shape), scales)
    return back


def prepare(model: Any) -> None:
    """Rounds the matrices of all layers but the routers' to eight-bit floats."""
    ROUNDED.clear()
    for name, weight in model.named_parameters():
        if ".layers." not in name or name.endswith(".gate.weight"):
            continue
        if name.endswith("gate_up_proj"):
            weight.data = torch.stack([torch.cat([rounded(half) for half in both.chunk(2)]) for both in weight.data])
        elif weight.ndim == 3:
            weight.data = torch.stack([rounded(one) for one in weight.data])
        elif weight.ndim == 2:
            weight.data = rounded(weight.data)


def publish(folder: Path, config: dict[str, Any]) -> None:
    """Respells those of a saved model as published."""
    config["quantization_config"] = QUANTIZATION
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, weight in list(tensors.items()):
        if found := ROUNDED.get(weight.contiguous().numpy().tobytes()):
            tensors[name], tensors[f"{name}_scale_inv"] = found
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def reading() -> dict[str, Any]:
    """How transformers reads what is published, without kernels for it."""
    return {"quantization_config": {**QUANTIZATION, "dequantize": True}}
