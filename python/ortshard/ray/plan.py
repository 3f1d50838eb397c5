"""Which layers go into which stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    #: The machine that it is meant for; None: any.
    node: str | None = None


@dataclass(frozen=True)
class Machine:
    """A machine that may hold stages, and the memory that it has for work."""

    node: str
    memory: int


def machines(asked: Mapping[str, float]) -> list[Machine]:
    """The machines of the cluster that have memory, and what is asked for besides."""
    found = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return [
        Machine(node, int(has["memory"]))
        for node, has in found
        if has.get("memory") and all(has.get(name, 0) >= count for name, count in asked.items())
    ]


def plan(
    engine: Engine, model: str, stages: Stages, speeds: Mapping[str, float], *, context: int, requests: int, revision: str | None
) -> list[Planned]:
    """Cuts a model by `Engine.plan()` for the machines that there are, or as it is told.

    `speeds`: bytes that a stage reads in a second on each machine; each stage is then meant for one of these machines. Empty: all
    machines are taken for as fast.
    """
    if stages is None or isinstance(stages, int):
        found = [machine for machine in machines({}) if machine.node in speeds or not speeds]
        found.sort(key=lambda machine: (speeds.get(machine.node, 0.0), machine.memory), reverse=True)
        if not found:
            raise NoCapacity("the cluster has no machine with memory for stages")
        if stages is not None and stages < 1:
            raise errors.InvalidArgument(f"{stages} stages are none")
        if stages is not None:
            # Several stages may share a machine, and then its memory.
            each = -(-stages // len(found))
            found = [replace(machine, memory=machine.memory // each) for machine in found for _ in range(each)][:stages]
        devices: Any = [
            {
                "free_memory": machine.memory,
                "bandwidth": speeds.get(machine.node, 0.0),
                "hop_seconds": _HOP,
                "is_required": stages is not None,
            }
            for machine in found
        ]
        try:
            # Ray leaves each machine a margin already.
            cut = engine.plan(model, devices[:_MOST], context=context, requests=requests, margin=0, revision=revision)
        except errors.OutOfMemory as error:
            raise NoCapacity(f"{model} does not fit into the {len(found)} machines of the cluster: {error}") from error
        nodes = [found[stage.device].node if speeds else None for stage in cut]
        return [Planned(stage.first_layer, stage.last_layer, stage.needed_bytes, node) for stage, node in zip(cut, nodes)]
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
