"""Gemma 3, its models with images."""

from typing import Any

from families import gemma3_text
from spec import Spec, shape
from tensors import Random
from variants import BASE, SLIDING
from wrapper import TEXT, VISION, prefixed, text_cases

MODELS = {
    # As published: few keys of the text, in the older spelling, and its tensors under the older prefix.
    "gemma3_images": Spec(
        {
            TEXT: shape(32, 48, 4, 2, 1, 99, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
                        sliding_window_pattern=3, rope_parameters=gemma3_text.kinds(
                            {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0}, {"rope_theta": 1e4, "rope_type": "default"}
                        )),
            "vision_config": VISION,
        },
        v4_rope_key="rope_type",
        omit=("model_type", "tie_word_embeddings", "rms_norm_eps", "hidden_activation", "rope_theta", "rope_local_base_freq"),
    ),
}

CONFIG = {
    "model_type": "gemma3",
    "architectures": ["Gemma3ForConditionalGeneration"],
    TEXT: {**BASE, **SLIDING, "model_type": "gemma3_text", "sliding_window_pattern": 2},
    "vision_config": VISION,
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "llama")
for key in ("boi_token_index", "eoi_token_index", "image_token_id", "image_token_index", "mm_tokens_per_image"):
    CASES.case(key, 7)
CASES.case("rope_local_base_freq", 77.0)
CASES.case(TEXT, {**CONFIG[TEXT], "final_logit_softcapping": 1.0})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(gemma3_text.tensors(c[TEXT]), "language_model.model.", "language_model.")


values = gemma3_text.values
