"""Granite 3 with experts."""

from typing import Any

from spec import F16, Spec, rope, shape
from tensors import Random, decoder, matrix, quiet
from variants import Cases

MODELS = {
    "granite_moe_16": Spec(
        shape(48, 28, 2, 3, 1, 101, num_local_experts=6, num_experts_per_tok=3, attention_bias=True,
              embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.6, logits_scaling=1.5,
              rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        files=2,
    ),
    "granite_moe_stacked": Spec(
        shape(60, 20, 2, 6, 2, 99, num_local_experts=5, num_experts_per_tok=2, tie_word_embeddings=True),
        F16,
        omit=("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"),
        stacked=True,
    ),
}

CONFIG = {
    "model_type": "granitemoe",
    "architectures": ["GraniteMoeForCausalLM"],
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}
CASES = Cases()
case, without = CASES.case, CASES.without
for key in ("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"):
    case(key, 1, 2.0, 0.22, 1e300, 0, -1.0, None, "1.0", True)
    without(key)
without("rms_norm_eps")
case("position_embedding_type", "rope", "nope", None)
without("max_position_embeddings")
# The weights have four experts.
case("num_local_experts", 4, 4.0, 8, 3, 0, -1, None, "4", True)
without("num_local_experts")
case("num_experts_per_tok", 2, 3, 4, 5, 0, -1, 2.0, None, "2", True)
without("num_experts_per_tok")


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made, hidden, inner, count = quiet(decoder(c), c), c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
    for layer in range(c["num_hidden_layers"]):
        moe = f"model.layers.{layer}.block_sparse_moe"
        made[f"{moe}.router.layer.weight"] = matrix(count, hidden)
        made[f"{moe}.input_linear.weight"] = Random((count, 2 * inner, hidden), spread=1.6 / hidden**0.5)
        made[f"{moe}.output_linear.weight"] = Random((count, hidden, inner), spread=1.6 / inner**0.5)
    return made
