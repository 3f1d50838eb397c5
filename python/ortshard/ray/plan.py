"""Which layers go into which stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import Engine, errors
from .. import plan as cut
from ._imports import ray
from .problems import NoCapacity

#: What `stages` may be: nothing, a number, or the layers of each.
Stages = int | Sequence[tuple[int, int]] | None


@dataclass(frozen=True)
class Planned:
    """A stage to be: its layers, both inclusive, and the memory that it will take."""

    first_layer: int
    last_layer: int
    bytes: int


def machines() -> list[int]:
    """The memory that each machine of the cluster has for work, largest first."""
    found = (int(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"])
    return sorted((memory for memory in found if memory), reverse=True)


def plan(engine: Engine, model: str, stages: Stages, *, context: int, requests: int, revision: str | None) -> list[Planned]:
    """Cuts a model for the machines that there are: into the fewest stages that fit, or as it is told."""
    spec: Any = {"revision": revision}
    if stages is None or isinstance(stages, int):
        ranges = _cut(engine, model, stages, context=context, requests=requests, revision=revision)
    else:
        ranges = [(int(first), int(last)) for first, last in stages]
        _check(ranges, engine.model_info(model, **spec).layer_count)
    planned = []
    for first, last in ranges:
        needs = engine.estimate(model, context=context, requests=requests, first_layer=first, last_layer=last, **spec)
        planned.append(Planned(first, last, max(needs.total_bytes, needs.load_peak_bytes)))
    return planned


def _cut(engine: Engine, model: str, stages: int | None, **wanted: Any) -> list[tuple[int, int]]:
    memories = machines()
    if stages is not None:
        if stages < 1:
            raise errors.InvalidArgument(f"{stages} stages are none")
        # Several stages may share a machine, and then its memory.
        each = -(-stages // max(len(memories), 1))
        shared = [memory // each for memory in memories for _ in range(each)][:stages]
        return cut(engine, model, shared, **wanted)
    failed: errors.OutOfMemory | None = None
    for count in range(1, len(memories) + 1):
        try:
            return cut(engine, model, memories[:count], **wanted)
        except errors.OutOfMemory as error:
            failed = error
        except errors.InvalidArgument:
            break
    raise NoCapacity(f"{model} does not fit into the {len(memories)} machines of the cluster: {failed}")


def _check(ranges: Sequence[tuple[int, int]], layers: int) -> None:
    expected = 0
    for first, last in ranges:
        if first != expected or last < first:
            raise errors.InvalidArgument(f"the stages {list(ranges)} are not all layers, 0 to {layers - 1}, one after another")
        expected = last + 1
    if expected != layers:
        raise errors.InvalidArgument(f"the stages {list(ranges)} end at layer {expected - 1}, and the model at {layers - 1}")
