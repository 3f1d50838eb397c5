"""The actor of one stage: what Ray starts on a machine, and calls to load, link and mend it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import Engine, Shard, __version__, load_runtime
from ._imports import ray
from .fingerprint import fingerprint
from .link import Key, Links
from .runner import Keep, Runner


@dataclass(frozen=True)
class Settings:
    """What every stage of a pipeline is told."""

    model: str
    revision: str | None
    key: Key
    #: The address of the network to listen on; None: the machine's own.
    bind: str | None
    #: Tokens that a request has room for.
    context: int
    #: Tokens between two states that are given away; 0: none are.
    every: int
    threads: int
    engine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What a stage says of itself when it is loaded."""

    address: str
    first_layer: int
    last_layer: int
    weight_bytes: int
    load_seconds: float
    files: dict[str, str]
    version: str
    #: Tokens of a text whose positions are rotated as in short ones; 0: the model makes no difference.
    short_context: int
    host: str
    node: str
    pid: int


@dataclass
class Kept:
    """What is kept of a request's state: parts by the positions where they begin, each with the position where it ends."""

    is_long: bool
    parts: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    @property
    def whole(self) -> list[bytes]:
        """The parts from the beginning on that follow each other."""
        return [part for _, part in self._chain()]

    @property
    def position(self) -> int:
        """Where the last of them ends."""
        return max((end for end, _ in self._chain()), default=0)

    def _chain(self) -> Iterator[tuple[int, bytes]]:
        at, part = 0, self.parts.get(0)
        while part is not None and part[0] > at:
            yield part
            at, part = part[0], self.parts.get(part[0])


class Stage:
    """Holds a shard, once it is told which. Its methods are called through Ray, several at a time; tokens go another way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        load_runtime(threads=settings.threads)
        self._engine = Engine(**settings.engine)
        self._links = Links(settings.key)
        self._runner: Runner | None = None
        #: States of the next stage's requests.
        self._kept: dict[int, Kept] = {}
        self._lock = threading.Lock()
        self._pending: list[Any] = []

    def pid(self) -> int:
        """Of its process."""
        return os.getpid()

    def watch(self) -> None:
        """Never returns: the call ends when the process does."""
        threading.Event().wait()

    def load(self, first: int, last: int) -> Card:
        """Loads and warms up the layers `first` to `last`. Requests on those that it had before are gone then."""
        started, settings = time.monotonic(), self._settings
        if self._runner is not None:
            self._runner.let_go()
        spec: Any = {"first_layer": first, "last_layer": last, "revision": settings.revision}
        shard = self._engine.ensure_shard(settings.model, **spec)
        _warm_up(shard)
        files = fingerprint(self._engine.audit_files(settings.model, **spec))
        context = ray.get_runtime_context()
        host = ray.util.get_node_ip_address()
        if self._runner is None:
            self._runner = Runner(shard, self._links, settings.bind or host, settings.context, settings.every)
        else:
            self._runner.change(shard)
        info = shard.info
        seconds = time.monotonic() - started
        numbers = (info.first_layer, info.last_layer, info.weight_bytes, seconds)
        return Card(
            self._runner.address, *numbers, files, __version__, info.short_context, host, context.get_node_id(), os.getpid()
        )

    def status(self) -> tuple[float, dict[str, Any]]:
        """For how many seconds it has been at its present group, and its counters, with the bytes that its process has in memory."""
        since = self._ready.busy_since
        counters = {**asdict(self._ready.counters), "resident_bytes": _resident_bytes()}
        return (time.monotonic() - since if since else 0.0), counters

    @property
    def _ready(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("the stage holds no layers yet")
        return self._runner

    # Mending.

    def rewire(
        self, epoch: int, address: str, first: str, keeper: Any, alive: set[int], keeper_is_new: bool
    ) -> dict[int, tuple[int, int]]:
        """Begins an epoch. `address`, `first`: of the next stage and of the first one. `keeper`: the neighbour that keeps this
        stage's states."""
        with self._lock:
            self._kept = {request: kept for request, kept in self._kept.items() if request in alive}
        keep = self._keeping(keeper) if keeper is not None else None
        return self._ready.rewire(epoch, address, first, keep, alive, keeper_is_new)

    def _keeping(self, keeper: Any) -> Keep:
        def keep(request: int, since: int, position: int, state: bytes) -> None:
            # One that dies takes nothing with it: its states are given away again to its successor.
            self._pending = ray.wait(self._pending, num_returns=len(self._pending), timeout=0)[1] if self._pending else []
            self._pending.append(keeper.keep.remote(request, since, position, state, self._ready.is_long(request)))

        return keep

    def keep(self, request: int, since: int, position: int, state: bytes, is_long: bool) -> None:
        """Keeps what a state of the next stage has gained, and lets go of the frames in front of what is whole."""
        with self._lock:
            # Calls may overtake each other.
            kept = self._kept.setdefault(request, Kept(is_long))
            # Not the memory that Ray lends.
            kept.parts[since] = (position, bytes(bytearray(state)))
            self._ready.forget(request, kept.position)
            for ended in [other for other in self._kept if not self._ready.has(other)]:
                del self._kept[ended]

    def kept(self, alive: set[int]) -> dict[int, tuple[list[bytes], bool]]:
        """The states that it keeps, of requests that are alive."""
        with self._lock:
            states = {request: (kept.whole, kept.is_long) for request, kept in self._kept.items() if request in alive}
        return {request: state for request, state in states.items() if state[0]}

    def restore(self, states: dict[int, tuple[list[bytes], bool]]) -> dict[int, int]:
        """Takes over states of the stage whose place it takes; gives their positions."""
        return self._ready.restore(states)

    def resend(self, since: dict[int, int]) -> None:
        """Sends again what was given from a position on, of each request."""
        self._ready.resend(since)


def _resident_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        # Only Linux tells.
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _warm_up(shard: Shard) -> None:
    if shard.info.input_parts > 1:
        # It takes nothing but frames, and there is none yet.
        return
    with shard.request(capacity=2, output="frame" if not shard.info.is_last else "tensor") as request:
        request.infer([0] if shard.info.is_first else np.zeros((1, 1, shard.info.hidden_size), np.float32))
