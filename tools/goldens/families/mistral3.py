"""Mistral 3: Mistral and Ministral 3 with images."""

from typing import Any

from families import ministral3
from spec import F32, Spec, shape
from tensors import Random, decoder
from variants import BASE
from wrapper import TEXT, VISION, prefixed, text_cases

VISION = {**VISION, "head_dim": 4}
MODELS = {
    "mistral3_ministral3": Spec(
        {
            TEXT: {"model_type": "ministral3"} | shape(40, 60, 2, 4, 1, 96, head_dim=16, rope_parameters=ministral3.YARN),
            "vision_config": VISION,
            "tie_word_embeddings": False,
        },
        stacked=True,
    ),
    # A Mistral, under the names of older files.
    "mistral3_mistral": Spec(
        {
            TEXT: shape(36, 50, 2, 6, 2, 91, head_dim=10, sliding_window=None),
            "vision_config": VISION,
            "tie_word_embeddings": False,
        },
        F32,
        v4_rope_key="type",
        omit=("model_type", "tie_word_embeddings", "rope_theta"),
    ),
}

CONFIG = {
    "model_type": "mistral3",
    "architectures": ["Mistral3ForConditionalGeneration"],
    TEXT: {**BASE, "model_type": "mistral", "sliding_window": None},
    "vision_config": VISION,
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "llama")
for key, value in {
    "image_token_id": 7,
    "image_token_index": 7,
    "multimodal_projector_bias": True,
    "projector_hidden_act": "relu",
    "spatial_merge_size": 4,
    "vision_feature_layer": -2,
}.items():
    CASES.case(key, value)
CASES.case(TEXT, {**BASE, "model_type": "ministral3", "rope_parameters": ministral3.YARN})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(decoder(c[TEXT]), "language_model.model.", "language_model.")
