"""What a tiny model of the goldens is made of."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel


@dataclass
class Spec:
    """One model: what its config says, and how the folder spells it."""

    config: dict[str, Any]
    dtype: torch.dtype = torch.bfloat16
    # Keys to leave out of config.json, so that readers need the class default.
    omit: tuple[str, ...] = ()
    # Transformers 4's name for the kind of RoPE; None: keep version 5's spelling.
    v4_rope_key: str | None = None
    # What transformers 4 called keys that version 5 has in rope_parameters.
    v4_names: dict[str, str] = field(default_factory=dict)
    files: int = 1
    # Tensors as transformers 5 holds them in memory: all experts of a layer in one, and under its own names.
    stacked: bool = False
    # Whether weights are rounded and respelled as published, which the family's own functions do: `prepare` the
    # model, `publish` its folder, and what `reading` it takes.
    published: bool = False
    prompt: int = 32
    # What config.json says otherwise than transformers would write it.
    written: dict[str, Any] = field(default_factory=dict)
    # Tokens of more prompts, under names, which are generated from as `generate` does it.
    generated: dict[str, int] = field(default_factory=dict)


def shape(hidden: int, inter: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> dict[str, Any]:
    """The config keys that every model has, with `more` for the others."""
    return dict(
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        vocab_size=vocab,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        **more,
    )


def rope(theta: float = 10000.0, kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_theta": theta, "rope_type": kind, **more}


BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


def class_of(config: PretrainedConfig) -> Any:
    """The class that loads a model: of text, or of images and text where transformers knows no other."""
    known = AutoModelForCausalLM._model_mapping
    return AutoModelForCausalLM if type(config) in known else AutoModelForImageTextToText


def decoder_of(model: PreTrainedModel) -> torch.nn.Module:
    """The layers of the language model, and what stands around them."""
    inner = model.base_model
    return next((getattr(inner, name) for name in ("language_model", "text_model", "model") if hasattr(inner, name)), inner)
