"""LLaVA."""

from typing import Any

from tensors import Random, decoder
from variants import BASE
from wrapper import TEXT, VISION, prefixed, text_cases

CONFIG = {
    "model_type": "llava",
    "architectures": ["LlavaForConditionalGeneration"],
    TEXT: {**BASE, "model_type": "llama"},
    "vision_config": VISION,
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "mistral")
for key, value in {
    "image_seq_length": 7,
    "image_token_id": 7,
    "image_token_index": 7,
    "multimodal_projector_bias": False,
    "projector_hidden_act": "relu",
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
}.items():
    CASES.case(key, value)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(decoder(c[TEXT]), "language_model.model.", "language_model.")
