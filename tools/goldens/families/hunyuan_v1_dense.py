"""HunYuan, dense."""

from typing import Any

from rope_variants import PLACES, Ropes, changed, less
from spec import F16, Spec, rope, shape
from tensors import Random, decoder, norm, quiet
from variants import Cases

# What the published models have.
ALPHA = {
    "rope_type": "dynamic",
    "alpha": 1000.0,
    "factor": 1.0,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 0.0,
}

MODELS = {
    "hunyuan_v1_dense_alpha": Spec(
        shape(44, 70, 3, 6, 2, 101, head_dim=10, attention_bias=True, rope_parameters={"rope_theta": 1e4, **ALPHA}),
        F16,
        v4_rope_key="type",
        files=2,
    ),
    "hunyuan_v1_dense_16": Spec(
        shape(40, 50, 2, 4, 4, 99, head_dim=16, tie_word_embeddings=True), omit=("num_key_value_heads", "rms_norm_eps")
    ),
}

CONFIG = {"model_type": "hunyuan_v1_dense", "architectures": ["HunYuanDenseV1ForCausalLM"]}
CASES = Cases()
case, without = CASES.case, CASES.without
without("rms_norm_eps")
without("max_position_embeddings")
case("eod_token_id", 5, None)
case("rope_scaling", ALPHA)

ROPE = Ropes()
each = ROPE.rope
for place in PLACES:
    each(f"dynamic, alpha in {place}", **{place: ALPHA})
    each(f"dynamic, alpha in {place}, type", **{place: {"type": "dynamic", **less(ALPHA, "rope_type")}})
    for alpha in (2, 1.0, 0.5, 0, 0.0, None, "2", True, 1e300):
        each(f"dynamic, alpha {alpha!r} in {place}", **{place: changed(ALPHA, alpha=alpha)})
for factor in (4.0, 0, None, "2"):
    each(f"dynamic, alpha with factor {factor!r}", rope_scaling=changed(ALPHA, factor=factor))
each("dynamic, alpha without factor", rope_scaling=less(ALPHA, "factor"))
each("dynamic without alpha", rope_scaling=less(ALPHA, "alpha"))
each("alpha alone", rope_scaling={"alpha": 1000.0})
each("alpha of no kind", rope_scaling={"rope_type": "default", "alpha": 1000.0})
each("alpha of another kind", rope_scaling={"rope_type": "linear", "factor": 4.0, "alpha": 1000.0})
each("dynamic, alpha with a base", rope_theta=500.0, rope_scaling=ALPHA)
each("dynamic, alpha with a base inside", rope_parameters={"rope_theta": 500.0, **ALPHA})
each("dynamic, alpha and a part of a head", partial_rotary_factor=0.5, rope_scaling=ALPHA)
for width in (2, 4, 6, 128):
    each(f"dynamic, alpha: heads of {width}", head_dim=width, rope_scaling=ALPHA)
each("dynamic, alpha: no head_dim", drop=("head_dim",), rope_scaling=ALPHA)


def tensors(c: dict[str, Any]) -> dict[str, Random]:
    made = quiet(decoder(c), c)
    for layer in range(c["num_hidden_layers"]):
        for name in ("query_layernorm", "key_layernorm"):
            made[f"model.layers.{layer}.self_attn.{name}.weight"] = norm(c["head_dim"])
    return made
