"""Llama 4, its models with images, of which transformers loads the language model alone where a text is asked for."""

from pathlib import Path
from typing import Any

import torch
from families import llama4_text
from safetensors.torch import load_file, save_file
from spec import Spec, rope, shape
from tensors import Random
from transformers import PreTrainedModel
from variants import BASE
from wrapper import TEXT, VISION, prefixed, text_cases

VISION = {**VISION, "vision_output_dim": 8, "projector_input_dim": 8, "projector_output_dim": 8}
MODELS = {
    "llama4_images": Spec(
        {
            TEXT: shape(32, 20, 4, 2, 1, 99, head_dim=16, intermediate_size_mlp=28, num_local_experts=3, attention_chunk_size=8,
                        interleave_moe_layer_step=2, rope_parameters=rope(1e4), pad_token_id=None),
            "vision_config": VISION,
        },
        v4_rope_key="rope_type",
        omit=("model_type", "tie_word_embeddings", "rms_norm_eps", "num_experts_per_tok", "moe_layers"),
        published=True,
    ),
}


def prepare(_: PreTrainedModel) -> None:
    """There is nothing to round."""


def publish(folder: Path, config: dict[str, Any]) -> None:
    """Puts a saved language model where the whole has it."""
    text = {**config}
    config.clear()
    config |= {"model_type": "llama4", "architectures": CONFIG["architectures"], TEXT: text, "vision_config": VISION}
    config["torch_dtype"] = text.pop("torch_dtype")
    path = folder / "model.safetensors"
    own = {f"language_model.{name}": tensor for name, tensor in load_file(path).items()}
    own["vision_model.patch_embedding.linear.weight"] = torch.ones(8, 12)
    save_file(own, path, metadata={"format": "pt"})


def reading() -> dict[str, Any]:
    """As any other."""
    return {}


CONFIG = {
    "model_type": "llama4",
    "architectures": ["Llama4ForConditionalGeneration"],
    TEXT: {**BASE, **llama4_text.CONFIG},
    "vision_config": VISION,
}
CASES = text_cases(CONFIG[TEXT], "llama")
# The language model's keys have no meaning beside it.
TEXT_KEYS = {
    "attn_scale": 0.5,
    "floor_scale": 1,
    "interleave_moe_layer_step": 1,
    "intermediate_size_mlp": 16,
    "moe_layers": [0],
    "router_jitter_noise": 0.5,
}
for key, value in {**llama4_text.IMAGES, **TEXT_KEYS}.items():
    CASES.case(key, value)
CASES.case(TEXT, {**CONFIG[TEXT], "attention_chunk_size": 5})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(llama4_text.tensors(c[TEXT]), "language_model.model.", "language_model.")


values = llama4_text.values
