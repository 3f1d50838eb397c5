"""Qwen3.5 with images."""

from typing import Any

from tensors import Random
from variants import BASE, Cases
from wrapper import TEXT, prefixed, text_cases

from . import qwen3_5_text

VISION = {
    "depth": 1,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_heads": 2,
    "out_hidden_size": BASE["hidden_size"],
    "num_position_embeddings": 4,
    "patch_size": 2,
}
CONFIG = {
    "model_type": "qwen3_5",
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    TEXT: {**BASE, **qwen3_5_text.CONFIG},
    "vision_config": VISION,
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "qwen3")


def outer_cases(cases: Cases) -> None:
    """Beside the language model's config: what is read for images, and what counts only inside."""
    qwen3_5_text.vision_cases(cases)
    for key in ("vision_start_token_id", "vision_end_token_id", "full_attention_interval", "linear_conv_kernel_dim",
                "linear_key_head_dim", "linear_num_key_heads", "linear_num_value_heads", "linear_value_head_dim",
                "shared_expert_intermediate_size"):
        cases.case(key, 7)


outer_cases(CASES)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(qwen3_5_text.tensors(c[TEXT]), "model.language_model.", "")
