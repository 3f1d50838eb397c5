"""Write a model folder of a published architecture's real shapes, with random weights.

Speed depends on shapes and not on what a model has learned, so such a folder is
enough for a benchmark, and nothing has to be downloaded for it. There is no
tokenizer. Tensors are written one by one, in blocks: a model of 16 GB needs well
under 200 MB of memory. Needs only numpy.

    python tools/bench/make_random_model.py --shape qwen2.5-0.5b --dtype bf16 --out DIR
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from shapes import SHAPES
from tensors import Tensors, tensors

# The name in config.json, the name in safetensors, and bytes per weight.
DTYPES = {"bf16": ("bfloat16", "BF16", 2), "f16": ("float16", "F16", 2), "f32": ("float32", "F32", 4)}
MAX_FILE = 5 * 10**9  # as the hub splits them
BLOCK = 1 << 22  # weights drawn at a time


def stored(name: str, dtype: str) -> tuple[str, int]:
    """The type of a tensor in safetensors, and bytes per element: of four-bit floats and their scales bytes."""
    _, kind, width = DTYPES[dtype]
    return ("U8", 1) if name.endswith(("_blocks", "_scales")) else (kind, width)


def split(shapes: Tensors, dtype: str) -> list[Tensors]:
    """Share the tensors out, in order, to files of at most MAX_FILE bytes."""
    files: list[Tensors] = [{}]
    room = MAX_FILE
    for name, shape in shapes.items():
        size = math.prod(shape) * stored(name, dtype)[1]
        if size > room:
            files.append({})
            room = MAX_FILE
        files[-1][name] = shape
        room -= size
    return files


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Round float32 to the stored type; bfloat16 is float32's upper half."""
    match dtype:
        case "bf16":
            return ((values.view(np.uint32) + 0x8000) >> 16).astype(np.uint16)
        case "f16":
            return values.astype(np.float16)
        case _:
            return values


def write_tensor(out: BinaryIO, name: str, shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> None:
    """Write a tensor's weights: norms near 1, and the rest so that activations stay near 1 too."""
    center = 1.0 if "norm" in name else 0.0
    scale = math.sqrt(3 / shape[-1]) if len(shape) > 1 and shape[-1] > 1 else 0.1
    count = math.prod(shape)
    for start in range(0, count, BLOCK):
        if stored(name, dtype)[0] == "U8":
            # Random codes are around 3, and scales are powers of two that bring so many of them to 1.
            exponent = 127 - round(math.log2(3 * math.sqrt(32 * shape[-1])))
            low, high = (exponent, exponent + 2) if name.endswith("_scales") else (0, 256)
            out.write(random.integers(low, high, min(BLOCK, count - start), dtype=np.uint8).data)
            continue
        values = random.random(min(BLOCK, count - start), dtype=np.float32)
        values *= 2 * scale
        values += center - scale
        out.write(encode(values, dtype).data)


def write_file(path: Path, shapes: Tensors, dtype: str, random: np.random.Generator) -> None:
    """Write one safetensors file: the header's length, the header, and the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        kind, width = stored(name, dtype)
        start, end = end, end + math.prod(shape) * width
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            write_tensor(out, name, shape, dtype, random)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--layers", type=int, help="so many instead of all: of a model larger than the memory")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch_dtype, _, _ = DTYPES[options.dtype]
    config = SHAPES[options.shape] | {"torch_dtype": torch_dtype}
    if options.layers:
        config["num_hidden_layers"] = options.layers
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    random = np.random.Generator(np.random.SFC64(options.seed))
    shapes = tensors(config)
    files = split(shapes, options.dtype)
    if len(files) == 1:
        return write_file(options.out / "model.safetensors", shapes, options.dtype, random)
    weight_map: dict[str, str] = {}
    for number, part in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        write_file(options.out / name, part, options.dtype, random)
        weight_map |= dict.fromkeys(part, name)
    total = sum(math.prod(shape) * stored(name, options.dtype)[1] for name, shape in shapes.items())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (options.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
