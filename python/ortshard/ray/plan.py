"""Which layers go into which stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import Engine, errors
from ._imports import ray
from .problems import NoCapacity

#: Seconds from one stage to the next, as measured in one machine; links between machines take as much or some times more.
_HOP = 0.0003
#: As many machines the planner takes.
_MOST = 64

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
    """Cuts a model for the machines that there are by `Engine.plan()`, or as it is told."""
    if stages is None or isinstance(stages, int):
        memories = machines()
        if not memories:
            raise NoCapacity("the cluster has no machine with memory for stages")
        if stages is not None and stages < 1:
            raise errors.InvalidArgument(f"{stages} stages are none")
        if stages is not None:
            # Several stages may share a machine, and then its memory.
            each = -(-stages // len(memories))
            memories = [memory // each for memory in memories for _ in range(each)][:stages]
        devices: Any = [{"free_memory": memory, "hop_seconds": _HOP, "is_required": stages is not None} for memory in memories]
        try:
            # Ray leaves each machine a margin already.
            found = engine.plan(model, devices[:_MOST], context=context, requests=requests, margin=0, revision=revision)
        except errors.OutOfMemory as error:
            raise NoCapacity(f"{model} does not fit into the {len(memories)} machines of the cluster: {error}") from error
        return [Planned(stage.first_layer, stage.last_layer, stage.needed_bytes) for stage in found]
    spec: Any = {"revision": revision}
    ranges = [(int(first), int(last)) for first, last in stages]
    _check(ranges, engine.model_info(model, **spec).layer_count)
    planned = []
    for first, last in ranges:
        needs = engine.estimate(model, context=context, requests=requests, first_layer=first, last_layer=last, **spec)
        planned.append(Planned(first, last, max(needs.total_bytes, needs.load_peak_bytes)))
    return planned


def _check(ranges: Sequence[tuple[int, int]], layers: int) -> None:
    expected = 0
    for first, last in ranges:
        if first != expected or last < first:
            raise errors.InvalidArgument(f"the stages {list(ranges)} are not all layers, 0 to {layers - 1}, one after another")
        expected = last + 1
    if expected != layers:
        raise errors.InvalidArgument(f"the stages {list(ranges)} end at layer {expected - 1}, and the model at {layers - 1}")
