"""Measure what a long context takes of memory, beside llama.cpp: same model, same tokens.

    python3 tools/bench/bench_memory.py --shape lfm2-1.2b [--layers N] [--run 32768] [--context 32768]

Needs what bench_peers.py needs, and makes the same models. A process opens the model for the tokens to be run, runs a prompt
that fills them and a few steps, and tells what memory it has of its own: pages of mapped files, which the system may take
back, do not count. Another process does so with a short prompt; the difference is what a token takes, and so many times that
is what a context takes: layers without a window, which is all that these shapes have, keep as much of every token.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bench_peers import folder
from peers import engines, setup
from peers.engines import Engine
from peers.process import run_worker
from peers.report import table
from shapes import SHAPES

# More than any engine computes at once, and than eight snapshots of states are 256 tokens apart: what does not grow is the same in both.
SHORT = 2560
STEPS = 4
KV_TYPES = {"f32": "F32", "f16": "F16", "int8": "INT8"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("target/peers"), help="where the peers are kept")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--layers", type=int, help="so many instead of all: of a model larger than the memory")
    parser.add_argument("--model", type=Path, help="the folder, written if missing; target/models/SHAPE unless given")
    parser.add_argument("--library", type=Path, default=Path("target/release/libortshard.so"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--run", type=int, default=32768, help="tokens that are run; with few, what arenas keep is much beside them")
    parser.add_argument("--context", type=int, default=32768, help="tokens that the table is about")
    return parser.parse_args()


def rows(options: argparse.Namespace, peers: setup.Peers) -> list[Engine]:
    """Int4 with every type of KV cache, and llama.cpp with the one that it has unless told: f16."""
    ours = [
        Engine(f"ortshard int4, KV as {name}", "ortshard", {
            "library": str(options.library),
            "model": str(options.model),
            "precision": engines.constants("ORTSHARD_PRECISION_")["INT4"],
            "kv_type": engines.constants("ORTSHARD_DTYPE_")[kind],
            "shards": 1,
        })
        for name, kind in KV_TYPES.items()
    ]  # fmt: skip
    return ours + [engine for engine in engines.others(peers, options.shape) if engine.name == engines.Q4_0]


def held(engine: Engine, options: argparse.Namespace, python: Path, tokens: int) -> int:
    """Bytes of a process with so many tokens in its context.

    llama.cpp clears the caches of all tokens that there is room for when it makes a context, so that few of them need to be run: its
    prompts of 32,768 tokens take half an hour.
    """
    prompt = min(tokens, SHORT) if engine.kind == "llama" else tokens
    job: dict[str, Any] = {
        "kind": engine.kind,
        "options": engine.options,
        "threads": options.threads,
        "prompt": prompt - STEPS,
        "tokens": STEPS,
        "capacity": tokens,
        "vocabulary": json.loads((options.model / "config.json").read_text())["vocab_size"],
    }
    answer = run_worker(python, job, options.cache / f"{engine.kind}.log")
    if "refused" in answer:
        raise SystemExit(f"{engine.name}: {answer['refused']}")
    return answer["held"]


def main() -> None:
    options = parse()
    options.model = options.model or folder(options.shape, options.layers)
    for path in ("cache", "model", "library"):
        setattr(options, path, getattr(options, path).resolve())
    peers = setup.prepare(options.cache, options.model, options.shape, options.layers, os.cpu_count())
    found = []
    for engine in rows(options, peers):
        short, whole = (held(engine, options, peers.python, tokens) for tokens in (SHORT, options.run))
        per_token = (whole - short) / (options.run - SHORT)
        context = per_token * (options.context - SHORT)
        found.append([engine.name, f"{short / 1e6:.0f}", f"{per_token:.0f}", f"{context / 1e6:.0f}", f"{(short + context) / 1e6:.0f}"])
        print(f"  {engine.name}: {short / 1e6:.0f} MB, and {per_token:.0f} bytes a token", flush=True)
    header = ["", f"own memory at {SHORT:,} tokens, MB", "bytes a token", f"{options.context:,} tokens, MB", "together, MB"]
    print(f"\n{table(header, found)}")


if __name__ == "__main__":
    main()
