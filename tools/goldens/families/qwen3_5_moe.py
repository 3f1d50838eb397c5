"""Qwen3.5 with images and experts."""

from typing import Any

from tensors import Random
from variants import BASE
from wrapper import TEXT, prefixed, text_cases

from . import qwen3_5, qwen3_5_moe_text

CONFIG = {
    **qwen3_5.CONFIG,
    "model_type": "qwen3_5_moe",
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    TEXT: {**BASE, **qwen3_5_moe_text.CONFIG},
}
CASES = text_cases(CONFIG[TEXT], "qwen3")
qwen3_5.outer_cases(CASES)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(qwen3_5_moe_text.tensors(c[TEXT]), "model.language_model.", "")
