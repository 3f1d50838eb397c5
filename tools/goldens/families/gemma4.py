"""Gemma 4, its models with images and sounds."""

from typing import Any

from families import gemma4_text
from spec import Spec, shape
from tensors import Random
from variants import BASE, FULL, SLIDES
from wrapper import TEXT, prefixed, text_cases

MODELS = {
    "gemma4_images": Spec(
        {
            TEXT: shape(24, 28, 4, 2, 1, 99, head_dim=8, global_head_dim=12, sliding_window=6, num_kv_shared_layers=1,
                        layer_types=[FULL, SLIDES, FULL, FULL], hidden_size_per_layer_input=5, vocab_size_per_layer_input=99),
        },
    ),
}

CONFIG = {
    "model_type": "gemma4",
    "architectures": ["Gemma4ForConditionalGeneration"],
    TEXT: {**BASE, **gemma4_text.CONFIG},
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "llama")
gemma4_text.media_keys(CASES.case)
# What counts inside alone.
for key in ("attention_k_eq_v", "enable_moe_block", "global_head_dim", "hidden_size_per_layer_input",
            "num_global_key_value_heads", "top_k_experts", "use_double_wide_mlp", "vocab_size_per_layer_input"):
    CASES.case(key, 7)
CASES.case("audio_config", None)
CASES.case(TEXT, {**CONFIG[TEXT], "final_logit_softcapping": 1.0})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(gemma4_text.tensors(c[TEXT]), "model.language_model.", "")


values = gemma4_text.values
