"""InternVL, as transformers has it."""

from typing import Any

from tensors import Random, decoder
from variants import BASE
from wrapper import TEXT, VISION, prefixed, text_cases

CONFIG = {
    "model_type": "internvl",
    "architectures": ["InternVLForConditionalGeneration"],
    TEXT: {**BASE, "model_type": "qwen2"},
    "vision_config": {**VISION, "image_size": [4, 4], "patch_size": [2, 2]},
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "qwen3")
for key, value in {
    "downsample_ratio": 0.25,
    "hidden_dropout_prob": 0.5,
    "image_seq_length": 7,
    "image_size": [8, 8],
    "image_token_id": 7,
    "layer_scale_init_value": 0.5,
    "norm_type": "rms_norm",
    "num_channels": 1,
    "patch_size": [1, 1],
    "projection_dropout": 0.5,
    "projector_hidden_act": "relu",
    "use_absolute_position_embeddings": False,
    "use_mask_token": True,
    "use_mean_pooling": False,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "full",
}.items():
    CASES.case(key, value)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(decoder(c[TEXT]), "language_model.model.", "language_model.")
