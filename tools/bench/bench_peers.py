"""Measure ortshard beside onnxruntime-genai and llama.cpp: same model, same threads, taking turns.

    python3 tools/bench/bench_peers.py [--rounds 5] [--cache target/peers] [--out docs/peers.md]

The first run installs and builds the peers into the cache (some GB, minutes to an hour); later runs begin at once.
Needs Python 3.11 with pip and venv, a C and C++ compiler, and target/release/libortshard.so with an ONNX Runtime
beside it (`make bench-peers` makes both).

A round measures every engine once, one after the other, each in a process of its own that ends before the next one
starts; the order moves on by one from round to round. Before and after each the memory's speed is measured, which is
the limit of decoding and changes with the neighbours on a shared machine. A process opens the model, runs the prompt and a few tokens to
warm up, and then, from an empty context, the prompt (time to the first token) and the tokens after it, greedily.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import correlation
from typing import Any

from peers import document, engines, setup
from peers.engines import EXACT, Engine
from peers.process import run_worker
from peers.report import BUSY, Rounds, quiet, report
from shapes import SHAPES


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("target/peers"), help="where the peers are kept")
    parser.add_argument("--shape", choices=SHAPES, default=setup.MAIN_SHAPE, help="whose weights are random")
    parser.add_argument("--layers", type=int, help="so many instead of all: of a model larger than the memory")
    parser.add_argument("--model", type=Path, help="the folder, written if missing; target/models/SHAPE unless given")
    parser.add_argument("--library", type=Path, default=Path("target/release/libortshard.so"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens decoded after the first")
    parser.add_argument("--neighbour", action="store_true", help="another program computes beside them all the time")
    parser.add_argument("--busy", type=float, default=BUSY, help="a measurement counts if others used no more of the processors")
    parser.add_argument("--only", default="", help="measure only the engines whose names contain this")
    parser.add_argument("--keep", type=Path, help="add the measurements to this file and report all that are in it")
    parser.add_argument("--out", type=Path, help="write the document here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that compile llama.cpp")
    return parser.parse_args()


def folder(shape: str, layers: int | None) -> Path:
    """Where a shape's random model is, unless told."""
    return Path("target/models") / (f"{shape}-{layers}" if layers else shape)


def busy() -> tuple[float, float]:
    """Seconds of processor time that went by in use (or were taken by the host), of all and of this one's workers."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _wait, *interrupts_and_stolen = ticks
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    everything = (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")
    return everything, workers.ru_utime + workers.ru_stime


@contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """A program that does nothing but compute on one processor, if wanted. It does not count as others."""
    if not wanted:
        yield
        return
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def job(engine: Engine, options: argparse.Namespace, logits: Path) -> dict[str, Any]:
    """What peers/worker.py is told."""
    vocabulary = json.loads((options.model / "config.json").read_text())["vocab_size"]
    return {
        "kind": engine.kind,
        "options": engine.options,
        "threads": options.threads,
        "prompt": options.prompt,
        "tokens": options.tokens,
        "capacity": options.prompt + options.tokens + 64,
        "vocabulary": vocabulary,
        "logits": str(logits),
    }


def measure(engine: Engine, options: argparse.Namespace, python: Path, reference: Path) -> dict[str, Any]:
    """One measurement, as tokens per second, and how its logits agree with the reference."""
    logits = reference if engine.name == EXACT else options.cache / "logits.f32"
    before, start = busy(), time.monotonic()
    with neighbour(options.neighbour):
        result = run_worker(python, job(engine, options, logits), options.cache / f"{engine.kind}.log")
    after, seconds = busy(), time.monotonic() - start
    if "refused" not in result:
        others = (after[0] - before[0]) - (after[1] - before[1])
        result["others"] = max(0.0, others / seconds / os.cpu_count())
        result["prefill"] = options.prompt / result["prefill"]
        result["decode"] = options.tokens / result["decode"]
        if engine.name != EXACT and reference.exists():
            result["agrees"] = correlation(floats(logits), floats(reference))
    return result


def bandwidth(options: argparse.Namespace, python: Path, library: Path) -> float:
    """Bytes per second that the memory gives right now."""
    paths = {"library": str(library), "file": str(setup.weights(options.model))}
    job = {"kind": "memory", "options": paths, "threads": options.threads}
    result = run_worker(python, job, options.cache / "memory.log")
    if "refused" in result:
        sys.exit(f"the memory test {result['refused']}")
    return result["bandwidth"]


def floats(path: Path) -> array:
    """The float32 values of a file."""
    numbers = array("f")
    numbers.frombytes(path.read_bytes())
    return numbers


def line(name: str, result: dict[str, Any], busy: float) -> str:
    """A measurement for who waits."""
    if "refused" in result:
        return f"  {name}: left out: {result['refused']}"
    speeds = f"prefill {result['prefill']:.0f}, decode {result['decode']:.1f} tokens/s"
    memory = f"memory {result['bandwidth'] / 1e9:.1f} GB/s"
    others = f"; not counted: others used {result['others']:.0%} of the processors" if result["others"] > busy else ""
    return f"  {name}: ready in {1000 * result['ready']:.0f} ms, {speeds}; {memory}{others}"


def run_rounds(todo: list[Engine], options: argparse.Namespace, peers: setup.Peers, missing: dict[str, str]) -> Rounds:
    """All rounds. An engine that is refused or fails is left out of the later ones and noted in `missing`."""
    reference = options.cache / "reference.f32"
    reference.unlink(missing_ok=True)
    rounds: Rounds = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        # The reference goes first in the first round; every engine goes first once in a while.
        results = {}
        before = bandwidth(options, peers.python, peers.memory)
        for engine in todo[number % len(todo) :] + todo[: number % len(todo)]:
            if engine.name in missing:
                continue
            result = measure(engine, options, peers.python, reference)
            after = bandwidth(options, peers.python, peers.memory)
            result["bandwidth"] = (before + after) / 2
            before = after
            print(line(engine.name, result, options.busy), flush=True)
            if "refused" in result:
                missing[engine.name] = result["refused"]
            else:
                results[engine.name] = result
        rounds.append(results)
        if options.keep:
            with options.keep.open("a") as file:
                print(json.dumps(results), file=file)
    return rounds


def kept(path: Path | None) -> Rounds:
    """The rounds of earlier runs that the file holds, one a line."""
    return [json.loads(text) for text in path.read_text().splitlines()] if path and path.exists() else []


def main() -> None:
    options = parse()
    options.model = options.model or folder(options.shape, options.layers)
    for path in ("cache", "model", "library"):
        setattr(options, path, getattr(options, path).resolve())
    if not options.library.exists():
        sys.exit(f"{options.library} is not there: run `make bench-peers`, or name the library with --library")
    print("preparing", flush=True)
    peers = setup.prepare(options.cache, options.model, options.shape, options.layers, options.jobs)
    ours, missing = engines.ortshard(options.library, options.model, options.prompt)
    everything = ours + engines.others(peers, options.shape)
    todo = [e for e in everything if options.only in e.name or e.name == EXACT]
    rounds = kept(options.keep) + run_rounds(todo, options, peers, missing)
    if not any(quiet(rounds, options.busy)):
        sys.exit(f"nothing to report: other programs used more than {options.busy:.0%} of the processors all the time")
    targets = engines.targets(options.shape, options.prompt)
    text = report(rounds, everything, targets, options.threads, missing, options.busy)
    print(f"\n{text}")
    if options.out:
        options.out.write_text(document.document(text, everything, options))


if __name__ == "__main__":
    main()
