"""SmolVLM."""

from typing import Any

from tensors import Random, decoder
from variants import BASE
from wrapper import TEXT, VISION, prefixed, text_cases

CONFIG = {
    "model_type": "smolvlm",
    "architectures": ["SmolVLMForConditionalGeneration"],
    TEXT: {**BASE, "model_type": "llama"},
    "vision_config": VISION,
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "mistral")
for key, value in {
    "image_size": 8,
    "image_token_id": 7,
    "num_channels": 1,
    "patch_size": 1,
    "scale_factor": 1,
}.items():
    CASES.case(key, value)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(decoder(c[TEXT]), "model.text_model.", "")
