"""Llama, and all that says how positions are rotated."""

from rope_variants import LINEAR, LLAMA3, LONGROPE, PLACES, YARN, Ropes, changed, less
from spec import F16, F32, Spec, rope, shape
from variants import FULL, MIXED, SLIDES, SLIDING

MODELS = {
    # As small as a config gets: everything optional is left to the defaults.
    "llama_mha": Spec(
        shape(36, 70, 2, 6, 6, 101, rms_norm_eps=1e-5),
        F32,
        omit=("num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_theta", "rope_scaling", "mlp_bias"),
        v4_rope_key="rope_type",
    ),
    "llama_gqa": Spec(shape(48, 70, 3, 6, 3, 128, head_dim=10, rope_parameters=rope(5e5)), F16),
    "llama_bias_sharded": Spec(
        shape(50, 90, 3, 5, 1, 101, head_dim=18, attention_bias=True, mlp_bias=True),
        v4_rope_key="type",
        files=3,
        prompt=28,
    ),
    # Original length 64 puts head_dim 16's waves in all three of llama3's bands.
    "llama31_tied": Spec(
        shape(64, 104, 2, 4, 2, 128, tie_word_embeddings=True, rope_parameters=rope(
            1e4, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64,
        )) | {"eos_token_id": [2, 3, 5]},
        v4_rope_key="rope_type",
        prompt=40,
    ),
    "llama_linear": Spec(
        shape(48, 64, 2, 4, 2, 96, rope_parameters=rope(1e4, "linear", factor=4.0)), F16, v4_rope_key="type"
    ),
    "llama_yarn": Spec(
        shape(48, 64, 2, 3, 3, 96, rope_parameters=rope(
            1e4, "yarn", factor=4.0, original_max_position_embeddings=64,
        )),
        F32,
        prompt=40,
    ),
    "llama_yarn_mscale": Spec(
        shape(64, 80, 2, 4, 1, 96, rope_parameters=rope(
            1e4, "yarn", factor=8.0, original_max_position_embeddings=32,
            beta_fast=4.0, beta_slow=0.5, mscale=1.4, mscale_all_dim=0.7,
        )),
        v4_rope_key="type",
        prompt=40,
    ),
    # No original length: it is then max_position_embeddings.
    "llama_yarn_factor": Spec(
        shape(60, 70, 2, 3, 1, 99, rope_parameters=rope(
            1e4, "yarn", factor=2.0, attention_factor=1.25, beta_fast=8.0, beta_slow=1.0, truncate=False,
        )),
        F16,
        omit=("original_max_position_embeddings",),
        prompt=40,
    ),
    # Wide enough for a blocked kernel's main loop as well as its tail.
    "llama_256": Spec(
        shape(256, 688, 2, 4, 2, 512, tie_word_embeddings=True, rope_parameters=rope(5e5), rms_norm_eps=1e-5),
        prompt=24,
    ),
}

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}

ROPE = Ropes()
variant = ROPE.rope

# The base.
for theta in (1, 2, 1e6, 500000, 1e-3, 0, -5.0, None, "10000", True, 1e300, [1.0]):
    variant(f"theta {theta!r}", rope_theta=theta)
    variant(f"theta {theta!r} inside", rope_parameters={"rope_type": "default", "rope_theta": theta})
for place in PLACES:
    variant(f"theta at the top and in {place}", rope_theta=77.0, **{place: {"rope_type": "default", "rope_theta": 500.0}})
    variant(f"theta alone in {place}", rope_theta=77.0, **{place: {"rope_theta": 500.0}})
    variant(f"theta at the top for {place} without", rope_theta=77.0, **{place: {"rope_type": "default"}})
    variant(f"theta at the top, null in {place}", rope_theta=77.0, **{place: {"rope_type": "default", "rope_theta": None}})
    variant(
        f"theta null at the top, in {place}", rope_theta=None, **{place: {"rope_type": "default", "rope_theta": 500.0}}
    )
    variant(f"linear with theta in {place}", rope_theta=77.0, **{place: changed(LINEAR, rope_theta=500.0)})
    variant(f"empty {place}", **{place: {}})
    variant(f"null {place}", **{place: None})
    variant(f"{place} is a list", **{place: [1]})
    variant(f"{place} is a text", **{place: "linear"})
    variant(f"{place} is false", **{place: False})
    variant(f"{place} is a number", **{place: 2.0})
    variant(
        f"{place} for each kind of layer",
        **{place: {FULL: changed(LINEAR, rope_theta=500.0), SLIDES: {"rope_type": "default"}}},
    )
    variant(
        f"{place} for the one kind of layer",
        **{place: {FULL: changed(LINEAR, rope_theta=500.0)}},
        layer_types=[FULL] * 3,
    )

# Both places.
variant("both places", rope_scaling=LINEAR, rope_parameters=changed(YARN, rope_theta=500.0))
variant(
    "both places, scaling plain",
    rope_scaling={"rope_type": "default"},
    rope_parameters=changed(LINEAR, rope_theta=500.0),
)
variant("both places, scaling null", rope_scaling=None, rope_parameters=changed(LINEAR, rope_theta=500.0))
variant("both places, scaling empty", rope_scaling={}, rope_parameters=changed(LINEAR, rope_theta=500.0))
variant("both places, parameters empty", rope_scaling=LINEAR, rope_parameters={})

# The kind.
for place in PLACES:
    variant(f"type in {place}", **{place: {"type": "linear", "factor": 4.0}})
    variant(f"type and rope_type differ in {place}", **{place: {"type": "linear", "rope_type": "default", "factor": 4.0}})
    variant(f"rope_type and type differ in {place}", **{place: {"rope_type": "linear", "type": "default", "factor": 4.0}})
    variant(f"no kind but a factor in {place}", **{place: {"factor": 4.0}})
    variant(f"rope_type null in {place}", **{place: {"rope_type": None, "factor": 4.0}})
    variant(f"rope_type null, type linear in {place}", **{place: {"rope_type": None, "type": "linear", "factor": 4.0}})
    variant(f"type null in {place}", **{place: {"type": None, "factor": 4.0}})
for kind in ("ntk", "su", "mrope", "axial", "longrope", "Linear", "", 3):
    variant(f"kind {kind!r}", rope_scaling={"rope_type": kind, "factor": 4.0})
variant("dynamic", rope_scaling={"type": "dynamic", "factor": 4.0})
variant("proportional", rope_scaling={"type": "proportional", "partial_rotary_factor": 0.5})

# Two sets of factors.
variant("longrope", rope_scaling=LONGROPE)
for value in (8, 0.5, 1.0, None, "8", -2.0):
    variant(f"longrope: factor {value!r}", rope_scaling=changed(LONGROPE, factor=value))
variant("longrope: no factor", rope_scaling=less(LONGROPE, "factor"))
for value in (1.25, 1, 0, None, "1", -1.0):
    variant(f"longrope: attention_factor {value!r}", rope_scaling=changed(LONGROPE, attention_factor=value))
for length in (1, 2, 12.5, 63, 64, 128, 0, None, "16", -16):
    variant(f"longrope: original {length!r}", rope_scaling=changed(LONGROPE, original_max_position_embeddings=length))
    variant(
        f"longrope: original {length!r} and a factor for attention",
        rope_scaling=changed(LONGROPE, original_max_position_embeddings=length, attention_factor=1.5),
    )
variant("longrope: no original", rope_scaling=less(LONGROPE, "original_max_position_embeddings"))
variant("longrope: two originals", rope_scaling=LONGROPE, original_max_position_embeddings=24)
for key in ("short_factor", "long_factor"):
    variant(f"longrope: no {key}", rope_scaling=less(LONGROPE, key))
    for value in ([1.5] * 15, [1.5] * 17, [], None, 2.0, [0.0] * 16, [-1.0] * 16, ["2"] * 16, [None] * 16):
        variant(f"longrope: {key} {value!r}", rope_scaling=changed(LONGROPE, **{key: value}))
variant("longrope: partial 0.5", rope_scaling=changed(LONGROPE, partial_rotary_factor=0.5))

# The factor.
for factor in (8, 8.0, 1, 0.5, 1.5, 0, -2.0, None, "8", True, 1e300):
    for kind in (LINEAR, LLAMA3, YARN):
        variant(f"{kind['rope_type']}: factor {factor!r}", rope_scaling=changed(kind, factor=factor))
for kind in (LINEAR, LLAMA3, YARN):
    variant(f"{kind['rope_type']}: no factor", rope_scaling=less(kind, "factor"))
variant("default with a factor", rope_scaling={"rope_type": "default", "factor": 4.0})

# The original length.
for kind in (LLAMA3, YARN):
    name = kind["rope_type"]
    short = less(kind, "original_max_position_embeddings")
    for length in (16, 16.0, 12.5, 0, None, "16", -16, 128):
        variant(f"{name}: original {length!r}", rope_scaling=changed(kind, original_max_position_embeddings=length))
        variant(f"{name}: original {length!r} at the top", rope_scaling=short, original_max_position_embeddings=length)
    variant(f"{name}: no original", rope_scaling=short)
    variant(f"{name}: two originals", rope_scaling=kind, original_max_position_embeddings=24)
    variant(f"{name}: two originals in parameters", rope_parameters=kind, original_max_position_embeddings=24)
    variant(f"{name}: original null at the top", rope_scaling=kind, original_max_position_embeddings=None)
variant("linear: original at the top", rope_scaling=LINEAR, original_max_position_embeddings=24)

# llama3.
for key in ("low_freq_factor", "high_freq_factor"):
    variant(f"llama3: no {key}", rope_scaling=less(LLAMA3, key))
    for value in (2, 2.0, 0, None, "2", -1.0):
        variant(f"llama3: {key} {value!r}", rope_scaling=changed(LLAMA3, **{key: value}))
variant("llama3: equal bands", rope_scaling=changed(LLAMA3, high_freq_factor=1.0))
variant("llama3: bands the wrong way round", rope_scaling=changed(LLAMA3, low_freq_factor=4.0, high_freq_factor=1.0))
variant(
    "llama3 as published",
    rope_theta=500000.0,
    max_position_embeddings=512,
    rope_scaling=changed(LLAMA3, factor=32.0, original_max_position_embeddings=64),
)
variant(
    "llama3: what yarn reads",
    rope_scaling=changed(LLAMA3, beta_fast=2.0, mscale=2.0, attention_factor=3.0, truncate=False),
)

# yarn.
for key in ("beta_fast", "beta_slow"):
    for value in (4, 0.25, 0, 0.0, None, "4", -1.0):
        variant(f"yarn: {key} {value!r}", rope_scaling=changed(YARN, **{key: value}))
for value in (True, False, None, 0, 1, "false", "", []):
    variant(f"yarn: truncate {value!r}", rope_scaling=changed(YARN, truncate=value, beta_fast=4))
for value in (1.25, 1, 0, 0.0, None, "1", -1.0):
    variant(
        f"yarn: attention_factor {value!r}",
        rope_scaling=changed(YARN, attention_factor=value, mscale=2.0, mscale_all_dim=0.5),
    )
for one in (None, 0, 0.0, 1, 1.4, False, "1", -1.0):
    for all_dim in (None, 0, 0.7, 1.0):
        variant(
            f"yarn: mscale {one!r}, mscale_all_dim {all_dim!r}",
            rope_scaling=changed(YARN, mscale=one, mscale_all_dim=all_dim),
        )
variant("yarn: mscale alone", rope_scaling=changed(YARN, mscale=1.4))
variant("yarn: mscale_all_dim alone", rope_scaling=changed(YARN, mscale_all_dim=1.4))
variant("yarn: the range is a point", rope_scaling=changed(YARN, beta_fast=1.0, beta_slow=1.0, truncate=False))
variant("yarn: factor 1 with mscale", rope_scaling=changed(YARN, factor=1.0, mscale=1.4, mscale_all_dim=0.7))
variant("yarn: theta 1", rope_theta=1.0, rope_scaling=YARN)
variant(
    "yarn: theta 1e6, wide",
    rope_theta=1e6,
    head_dim=128,
    max_position_embeddings=512,
    rope_scaling=changed(YARN, original_max_position_embeddings=128),
)
variant(
    "yarn as published",
    rope_theta=1e6,
    head_dim=128,
    rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "finetuned": True},
    max_position_embeddings=40,
)

# Part of a head.
for kind in ({"rope_type": "default"}, LINEAR, LLAMA3, YARN):
    name = kind["rope_type"]
    for part in (0.5, 1.0, 1, None):
        variant(f"{name}: partial {part!r} at the top", rope_scaling=kind, partial_rotary_factor=part)
        variant(f"{name}: partial {part!r} inside", rope_parameters=changed(kind, partial_rotary_factor=part))
variant("partial without an object", partial_rotary_factor=0.5)

# What no kind of these reads.
for key, value in {
    "finetuned": True,
    "mrope_section": [4, 6, 6],
    "mrope_interleaved": True,
    "llama_4_scaling_beta": 0.1,
    "alpha": 2.0,
    "short_factor": [1.0],
    "long_factor": [2.0],
    "anything": None,
}.items():
    variant(f"linear with {key}", rope_scaling=changed(LINEAR, **{key: value}))
    variant(f"default with {key}", rope_scaling={"rope_type": "default", key: value})
variant("rope_ratio at the top", rope_ratio=2.0)
variant("rotary_emb_base at the top", drop=("rope_theta",), rotary_emb_base=500.0)
variant("rope_local_base_freq at the top", rope_local_base_freq=500.0)

# Widths of heads.
for width in (2, 4, 6, 10, 24, 80, 96, 256):
    variant(f"heads of {width}", head_dim=width)
    variant(f"yarn: heads of {width}", head_dim=width, rope_scaling=YARN)
variant("no head_dim", drop=("head_dim",))
variant("head_dim null", head_dim=None)
variant("yarn: no head_dim", drop=("head_dim",), rope_scaling=YARN)
variant("heads of 7", head_dim=7)
