"""GPT-OSS."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from spec import Spec, rope, shape
from tensors import Random, bias, decoder, matrix
from torch import Tensor
from transformers import Mxfp4Config
from variants import Cases

# Waves of a head fall into all bands of yarn, and a position is far beyond the original length.
YARN = {"factor": 8.0, "beta_fast": 4.0, "beta_slow": 0.5, "truncate": False, "original_max_position_embeddings": 16}

MODELS = {
    # Experts as transformers holds them. A limit that many values meet.
    "gpt_oss_columns": Spec(
        shape(36, 20, 3, 6, 2, 65, head_dim=16, num_local_experts=5, num_experts_per_tok=3, sliding_window=5,
              swiglu_alpha=1.25, swiglu_limit=1.5, rope_parameters=rope(1e4, "yarn", **YARN),
              layer_types=["full_attention", "sliding_attention", "sliding_attention"]),
        files=2,
        prompt=28,
    ),
    # Experts as published: four-bit floats. An odd number of blocks in a row, and one.
    "gpt_oss_mxfp4": Spec(
        shape(96, 32, 2, 6, 3, 77, head_dim=10, num_local_experts=5, num_experts_per_tok=2, sliding_window=6,
              tie_word_embeddings=True, rope_parameters=rope(150000.0, "yarn", **YARN)),
        v4_rope_key="rope_type",
        omit=("swiglu_alpha", "swiglu_limit", "attention_bias"),
        published=True,
    ),
    # Two files of such, no tensor of a layer in the same file as its scales.
    "gpt_oss_mxfp4_sharded": Spec(
        shape(32, 64, 2, 4, 1, 64, head_dim=16, num_local_experts=4, num_experts_per_tok=4, sliding_window=7,
              rope_parameters=rope(1e4)),
        files=2,
        published=True,
        prompt=24,
    ),
}

# Published configs say which modules are no four-bit floats.
QUANTIZATION = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
}
VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
EXPERTS = ("gate_up_proj", "down_proj")


def values(name: str, noise: Tensor) -> Tensor | None:
    """Sinks that take much, and weights of experts, whose inputs are rows."""
    if name.endswith("sinks"):
        return 1.0 + 0.5 * noise
    if name.endswith(EXPERTS):
        return 1.6 / noise.shape[-2] ** 0.5 * noise
    return None


def rounded(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and scales of [experts, in, out]: codes [experts, out, in / 32, 32]."""
    blocks = weights.float().transpose(1, 2).unflatten(2, (-1, 32))
    exponent = blocks.abs().amax(-1).log2().floor().to(torch.int32) - 2
    scaled = torch.ldexp(blocks, -exponent[..., None])
    codes = (scaled.abs()[..., None] - VALUES).abs().argmin(-1) + 8 * (scaled < 0)
    return codes.to(torch.uint8), (exponent + 127).to(torch.uint8)


def prepare(model: Any) -> None:
    """Rounds the experts' weights to four-bit floats."""
    signed = torch.cat([VALUES, -VALUES])
    for name, weight in model.named_parameters():
        if name.endswith(EXPERTS):
            codes, scales = rounded(weight.data)
            back = torch.ldexp(signed[codes.long()], scales.to(torch.int32)[..., None] - 127)
            weight.data = back.flatten(2).transpose(1, 2).contiguous().to(weight.dtype)


def publish(folder: Path, config: dict[str, Any]) -> None:
    """Respells the experts of a saved model as published."""
    config["quantization_config"] = QUANTIZATION
    index, paths = {}, sorted(folder.glob("model*.safetensors"))
    tensors = [load_file(path) for path in paths]
    for at, own in enumerate(tensors):
        for name in [name for name in own if name.endswith(EXPERTS)]:
            codes, scales = rounded(own.pop(name))
            own[f"{name}_blocks"] = (codes[..., ::2] | codes[..., 1::2] << 4).contiguous()
            tensors[at - 1][f"{name}_scales"] = scales.contiguous()
    for path, own in zip(paths, tensors, strict=True):
        save_file(own, path, metadata={"format": "pt"})
        index |= dict.fromkeys(own, path.name)
    write_index(folder, index)


def write_index(folder: Path, files: dict[str, str]) -> None:
    path = folder / "model.safetensors.index.json"
    if path.exists():
        index = json.loads(path.read_text())
        index["weight_map"] = dict(sorted(files.items()))
        path.write_text(json.dumps(index, indent=2) + "\n")


def reading() -> dict[str, Any]:
    """How transformers reads what is published, without kernels for it."""
    return {"quantization_config": Mxfp4Config(dequantize=True)}


CONFIG = {
    "model_type": "gpt_oss",
    "architectures": ["GptOssForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
CASES = Cases()
case, without = CASES.case, CASES.without
case("num_local_experts", 4.0, 8, 3, 0, -1, None, "4", True)
without("num_local_experts")
without("num_local_experts", num_experts=4)
case("num_experts", 4, 8, 0, None, "4")
case("num_experts_per_tok", 1, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")
case("swiglu_alpha", 1.0, 0, -2.5, 1e300, None, "1.7", True)
case("swiglu_limit", 0.5, 1, 1e300, 0, 0.0, -1.0, None, "7.0", True)
without("rope_parameters")
case("rope_parameters", None)
case("rope_scaling", None, {})
without("rope_parameters", rope_scaling=None)
without("rope_parameters", rope_theta=500.0)
without("sliding_window")
case("sliding_window", 5, None, 0, -1)
case("sliding_window", 5, None, layer_types=["full_attention"] * 3)
without("attention_bias")
without("rms_norm_eps")
case("quantization_config", {"quant_method": "mxfp4"}, {"quant_method": 4}, {"modules_to_not_convert": []})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, experts = decoder(c), c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        made[f"{at}.self_attn.sinks"] = Random((c["num_attention_heads"],), around=1.0, spread=0.5)
        made[f"{at}.mlp.router.weight"] = matrix(experts, hidden)
        made[f"{at}.mlp.router.bias"] = bias(experts)
        for name, rows, columns in (("gate_up_proj", 2 * inner, hidden), ("down_proj", hidden, inner)):
            made[f"{at}.mlp.experts.{name}"] = Random((experts, columns, rows), spread=1.6 / columns**0.5)
            made[f"{at}.mlp.experts.{name}_bias"] = Random((experts, rows), spread=0.3)
    return made
