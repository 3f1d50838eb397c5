"""Ministral 3."""

from spec import F16, Spec, rope, shape
from variants import FULL, MIXED, SLIDES, SLIDING, Cases

# Short enough for queries to grow within a prompt.
YARN = rope(
    1e4, "yarn", factor=4.0, original_max_position_embeddings=9, llama_4_scaling_beta=0.7,
    beta_fast=4.0, beta_slow=0.5, mscale=1.0, mscale_all_dim=1.0,
)  # fmt: skip
MODELS = {
    "ministral3_16": Spec(shape(48, 70, 3, 4, 2, 101, head_dim=16, tie_word_embeddings=True, rope_parameters=YARN)),
    "ministral3_window": Spec(
        shape(42, 60, 2, 6, 3, 96, head_dim=10, sliding_window=7, rope_parameters=rope(
            1e4, llama_4_scaling_beta=0.5, original_max_position_embeddings=5,
        )),
        F16,
        files=2,
    ),
}

CONFIG = {"model_type": "ministral3", "architectures": ["Ministral3ForCausalLM"], "rope_parameters": YARN}
CASES = Cases()
add, case, without = CASES.add, CASES.case, CASES.without
case("sliding_window", 0, -1)
case("layer_types", [SLIDES] * 3, [FULL] * 3, **SLIDING)
without("rms_norm_eps")
without("max_position_embeddings")
without("rope_parameters")
case("rope_theta", 500.0, rope_parameters={key: YARN[key] for key in YARN if key != "rope_theta"})
case("rope_scaling", YARN)
case("rope_scaling", YARN, rope_parameters={}, rope_theta=500.0)
for beta in (0.1, 0, 1, -0.5, 1e30, None, "0.1", True):
    add(f"growth {beta!r}", "rope_parameters", [], {"rope_parameters": {**YARN, "llama_4_scaling_beta": beta}})
case("rope_parameters", {key: YARN[key] for key in YARN if key != "llama_4_scaling_beta"})
for original in (16, 4.5, 0, -3, None, "9"):
    case("rope_parameters", {**YARN, "original_max_position_embeddings": original})
case("rope_parameters", {key: YARN[key] for key in YARN if key != "original_max_position_embeddings"})
case("rope_parameters", rope(llama_4_scaling_beta=0.5), rope(llama_4_scaling_beta=0.5, original_max_position_embeddings=5))
case("original_max_position_embeddings", 5, rope_parameters=YARN)
add(
    "original_max_position_embeddings 5 with no length in rope_parameters",
    "original_max_position_embeddings",
    [],
    {"original_max_position_embeddings": 5, "rope_parameters": rope(llama_4_scaling_beta=0.5)},
)
case("llama_4_scaling_beta", 0.5)
