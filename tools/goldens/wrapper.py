"""What the families of larger models share, of which the language model is one of ours: images and text in, text out."""

from typing import Any

from tensors import Random
from variants import Cases

TEXT = "text_config"
# As small as what sees images can be.
VISION = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 4,
    "patch_size": 2,
}


def prefixed(tensors: dict[str, Random], body: str, head: str) -> dict[str, Random]:
    """The tensors of a language model under the names that they have in a larger one."""
    begin = "model."
    return {body + name[len(begin) :] if name.startswith(begin) else head + name: at for name, at in tensors.items()}


def text_cases(text: dict[str, Any], other: str) -> Cases:
    """Variants of what config.json says of the language model, and beside it; `other` is no family of this wrapper's."""
    cases = Cases()
    for name, changes in {
        "other eps": {"rms_norm_eps": 0.1},
        "eps of the wrong type": {"rms_norm_eps": "1e-6"},
        "no layer": {"num_hidden_layers": 2},
        "other model_type": {"model_type": other},
        "unknown model_type": {"model_type": "gpt2"},
        "tied": {"tie_word_embeddings": True},
        "not tied": {"tie_word_embeddings": False},
        "quantised": {"quantization_config": {"quant_method": "fp8"}},
        "other architectures": {"architectures": ["GPT2LMHeadModel"]},
        "scaling": {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        "scaling of the wrong type": {"rope_scaling": {"rope_type": "linear", "factor": "4.0"}},
        "dtype": {"torch_dtype": "float16"},
        "within": {TEXT: {}},
    }.items():
        cases.add(f"text_config: {name}", TEXT, [], {TEXT: {**text, **changes}})
    for key in ("model_type", "vocab_size", "num_attention_heads", "head_dim", "hidden_size"):
        cases.add(f"text_config: no {key}", TEXT, [], {TEXT: {name: text[name] for name in text if name != key}})
    # Without any key the model has billions of weights.
    cases.case(TEXT, [], 7)
    cases.without("vision_config")
    cases.case("vision_config", None)
    cases.without("tie_word_embeddings")
    return cases
