"""Gemma 3n, its models with images and sounds."""

from typing import Any

from families import gemma3n_text
from tensors import Random
from torch.nn import Identity, Module
from transformers import AutoModel, PretrainedConfig
from transformers.models.gemma3n import modeling_gemma3n
from variants import BASE
from wrapper import TEXT, prefixed, text_cases


class OfText(AutoModel):
    """What sees images needs packages that a text does not, and nobody asks it: nothing stands in its place."""

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> Module:
        is_other = config.model_type.endswith(("_vision", "_audio"))
        return Identity() if is_other else AutoModel.from_config(config, **kwargs)


modeling_gemma3n.AutoModel = OfText

CONFIG = {
    "model_type": "gemma3n",
    "architectures": ["Gemma3nForConditionalGeneration"],
    TEXT: {**BASE, **gemma3n_text.CONFIG},
    "vision_config": {"hidden_size": 8, "vocab_size": 4},
    "audio_config": {"hidden_size": 8, "vocab_size": 4},
    "tie_word_embeddings": False,
}
CASES = text_cases(CONFIG[TEXT], "llama")
gemma3n_text.media_keys(CASES.case)
# What counts inside alone.
for key in ("activation_sparsity_pattern", "altup_active_idx", "altup_coef_clip", "altup_correct_scale", "altup_num_inputs",
            "hidden_size_per_layer_input", "laurel_rank", "rope_local_base_freq", "vocab_size_per_layer_input"):
    CASES.case(key, 7)
CASES.case("audio_config", None)
CASES.case(TEXT, {**CONFIG[TEXT], "final_logit_softcapping": 1.0})


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    return prefixed(gemma3n_text.tensors(c[TEXT]), "model.language_model.", "")


values = gemma3n_text.values
