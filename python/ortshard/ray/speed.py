"""How fast machines read weights, which is what a token waits for. Each machine is measured once."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from .. import Device, Engine, devices, errors, load_runtime
from ._imports import ray
from .plan import machines
from .stage import Settings

#: Bytes that are read: more than caches hold.
_SIZE = 256 << 20
#: Bytes that are read at once, in less time than a thread is left to run.
_PIECE = 8 << 20
#: Seconds of repeated reads.
_SECONDS = 0.3
#: Seconds that machines have to answer. A machine starts a process in that time, and reads files from its disk.
_PATIENCE = 10.0
#: All machines are taken for as fast unless the fastest is more than so many times as fast as the slowest: files are read a quarter slower
#: than the memory of a machine that has none of them yet.
_ALIKE = 1.5

#: What was measured so far, by the machine and the threads that have read. 0: its stages run on another device than the processor.
_known: dict[tuple[str, int], float] = {}


def speed(node: str, threads: int) -> float | None:
    """Bytes that a machine was measured to read in a second."""
    return _known.get((node, threads)) or None


def speeds(settings: Settings, cpus: float, resources: Mapping[str, float]) -> dict[str, float]:
    """Bytes that a stage reads in a second on each machine that may hold one. Empty: about as many on all, or one is not known."""
    nodes = [machine.node for machine in machines({"CPU": cpus, **resources})]
    if len(nodes) > 1:
        _measure([node for node in nodes if (node, settings.threads) not in _known], settings, cpus)
    found = {node: _known.get((node, settings.threads), 0.0) for node in nodes}
    slowest = min(found.values(), default=0.0)
    return found if slowest and max(found.values()) > _ALIKE * slowest else {}


def _measure(nodes: Sequence[str], settings: Settings, cpus: float) -> None:
    """Has machines measure themselves, all at once. One that is busy or lost stays unknown."""
    calls: dict[Any, str] = {}
    for node in nodes:
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        # In a process of its own, which ends with what it has loaded.
        task = ray.remote(max_calls=1, max_retries=0)(read_speed)
        calls[task.options(scheduling_strategy=there, num_cpus=cpus).remote(settings)] = node
    done, late = ray.wait(list(calls), num_returns=len(calls), timeout=_PATIENCE) if calls else ([], [])
    for call in done:
        with suppress(ray.exceptions.RayError):
            _known[calls[call], settings.threads] = ray.get(call)
    for call in late:
        ray.cancel(call)


def read_speed(settings: Settings) -> float:
    """Bytes that this machine reads in a second with a stage's threads: of the model's files that it has, the rest of memory."""
    threads = load_runtime(threads=settings.threads).threads
    asked = settings.engine.get("device") or os.environ.get("ORTSHARD_DEVICE")
    if asked not in ("cpu", Device.CPU) and len(devices()) > 1:
        # What the processor reads says nothing of a GPU.
        return 0.0
    on_cpu: Any = {**settings.engine, "device": "cpu"}
    spec: Any = {"revision": settings.revision}
    paths: list[str] = []
    with suppress(errors.Error), Engine(**on_cpu) as engine:
        paths = [file.path for file in engine.audit_files(settings.model, **spec) if file.path]
    return measured(paths, threads)


def measured(paths: Sequence[str], threads: int) -> float:
    """Bytes that so many threads read in a second, of the largest of these files and, where they are small, of memory besides."""
    held: list[Any] = []
    left = _SIZE // 4
    for size, path in sorted(((os.path.getsize(path) // 4, path) for path in paths), reverse=True):
        if count := min(size, left):
            held.append(np.memmap(path, np.int32, "r", shape=(count,)))
            left -= count
    if left:
        # Everywhere as much is read, whatever a machine has of the files: in small pages, as theirs are, which are slower to read.
        own = mmap.mmap(-1, 4 * left)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            own.madvise(mmap.MADV_NOHUGEPAGE)
        held.append(np.frombuffer(own, np.int32))
        # Pages that nobody has written to are all the same one.
        held[-1][:] = 1
    threads = min(threads, os.cpu_count() or 1)
    pieces = [part[at : at + _PIECE // 4] for part in held for at in range(0, len(part), _PIECE // 4)]
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(_read, [pieces[i::threads] for i in range(threads)]))


def _read(pieces: Sequence[Any]) -> float:
    """Bytes that a thread reads in a second, while others do: of the piece that it was not interrupted at."""
    best, until = 0.0, None
    while until is None or time.monotonic() < until:
        for piece in pieces:
            before = time.perf_counter()
            # For the largest number a processor takes as much at once as it can, and other threads run meanwhile.
            piece.max()
            best = max(best, piece.nbytes / (time.perf_counter() - before))
        # The first time was from the disk.
        until = until or time.monotonic() + _SECONDS
    return best
