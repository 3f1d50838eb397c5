"""Variants of what says how positions are rotated: those that every family gets."""

from typing import Any

PLACES = ("rope_scaling", "rope_parameters")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LINEAR = {"rope_type": "linear", "factor": 4.0}
LONGROPE = {
    "type": "longrope",
    "factor": 4.0,
    "short_factor": [1.0 + 0.01 * pair for pair in range(16)],
    "long_factor": [2.0 + 0.5 * pair for pair in range(16)],
    "original_max_position_embeddings": 16,
}
# Heads of 16 pairs, so that every band of a scaling has some.
WIDE = {"head_dim": 32, "rope_theta": 10000.0}




class Ropes(list[dict[str, Any]]):
    """Variants of one config.json, under names."""

    def rope(self, name: str, drop: tuple[str, ...] = (), **keys: Any) -> None:
        self.append({"name": name, "set": {**WIDE, **keys}, "drop": list(drop)})


def changed(rope: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**rope, **changes}


def less(rope: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in rope.items() if key not in keys}


COMMON_ROPE = Ropes()
rope = COMMON_ROPE.rope
rope("plain")
rope("no theta", drop=("rope_theta",))
for place in PLACES:
    rope(
        f"only theta in {place}",
        drop=("rope_theta",),
        **{place: {"rope_type": "default", "rope_theta": 500.0}},
    )
    for kind in (LINEAR, LLAMA3, YARN):
        rope(f"plain {kind['rope_type']} in {place}", **{place: kind})
