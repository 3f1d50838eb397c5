"""Measure ortshard on a GPU, beside onnxruntime-genai where that is installed, against what the project is to reach.

    python3 tools/bench/bench_gpu.py [--device cuda] [--shapes llama-3.2-1b,llama-3-8b] [--rounds 3]

Models of the shapes are written with random weights in float16 if they are not there (18 GB for both). Everything goes
through the C interface. Needs Python 3.11 with numpy, and target/release/libortshard.so (`make bench-gpu` makes it and
names the ONNX Runtime to use). onnxruntime-genai-cuda takes part if this Python has it, with models that its builder made:
in `<models>/genai-<shape>-<precision>`, made there if its builder runs (it needs torch and transformers).

A round measures everything once, one after the other, each in a process of its own; reported is the middle of the rounds.
A process opens the model, runs the prompt and a few tokens to warm up, and then, from an empty context, the prompt (prefill)
and the tokens after it, greedily (decode); many requests at once go on with any tokens.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from peers.engines import constants
from peers.process import run_worker
from peers.setup import TOKENIZER

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parents[1]
SHORT, LONG = 256, 2048  # tokens of a prompt
MANY = 64  # requests in a batch
ROOM = 64  # for the tokens that warm up
# As onnxruntime-genai's builder calls ours.
GENAI_PRECISIONS = {"f16": "fp16", "int4": "int4"}


@dataclass
class Row:
    """Something that is measured: `job` is what peers/worker.py is told, `speeds` are tokens per second by round."""

    name: str
    job: dict[str, Any]
    what: str
    speeds: list[float] = field(default_factory=list)
    refused: str = ""

    @property
    def speed(self) -> float:
        return median(self.speeds) if self.speeds else 0.0


@dataclass(frozen=True)
class Target:
    """`row` is to have at least `least` tokens per second, or, with a `base`, that many times what the base has."""

    row: str
    least: float
    base: str = ""


ONE_B, EIGHT_B = "llama-3.2-1b", "llama-3-8b"
# On one H100 or H200.
TARGETS = (
    Target(f"{ONE_B} f16 decode", 900),
    Target(f"{ONE_B} int4 decode", 1300),
    Target(f"{EIGHT_B} f16 decode", 225),
    Target(f"{EIGHT_B} int4 decode", 450),
    Target(f"{ONE_B} f16 prefill of {LONG}", 220_000),
    Target(f"{ONE_B} f16 decode of {MANY} requests", 25, f"{ONE_B} f16 decode"),
    Target(f"{ONE_B} f16 decode in 4 shards", 0.97, f"{ONE_B} f16 decode"),
    Target(f"{EIGHT_B} f16 decode in 4 shards", 0.97, f"{EIGHT_B} f16 decode"),
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu, cuda, cuda:N or coreml")
    parser.add_argument("--shapes", default=f"{ONE_B},{EIGHT_B}", help="of tools/bench/make_random_model.py")
    parser.add_argument("--models", type=Path, default=ROOT / "target/models", help="where models are, or are written")
    parser.add_argument("--library", type=Path, default=ROOT / "target/release/libortshard.so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128, help="tokens decoded after the first")
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    parser.add_argument("--out", type=Path, help="write the tables here too")
    return parser.parse_args()


def random_model(shape: str, models: Path) -> Path:
    """The folder of a model of `shape` in float16."""
    model = models / f"{shape}-f16"
    if not (model / "config.json").exists():
        print(f"writing the random model {model}", flush=True)
        part = models / f"{shape}-f16.part"
        tool = [sys.executable, BENCH / "make_random_model.py", "--shape", shape, "--dtype", "f16", "--out", part]
        subprocess.run(tool, check=True)
        part.rename(model)
    return model


def ortshard_rows(shape: str, model: Path, options: argparse.Namespace) -> list[Row]:
    """What is measured of this library on one shape."""
    known, layers = constants("ORTSHARD_PRECISION_"), config_of(model)["num_hidden_layers"]
    long = prompt_of(model, LONG, options)

    def row(name: str, what: str, precision: str = "EXACT", prompt: int = SHORT, shards: int = 1, **more: Any) -> Row:
        engine = {"library": str(options.library.resolve()), "model": str(model), "precision": known[precision]}
        engine |= {"shards": shards, "device": options.device} | more
        return Row(f"{shape} {name}", job("ortshard", engine, model, prompt, options), what)

    return [
        row("f16 decode", "decode"),
        row("int4 decode", "decode", "INT4"),
        row(f"f16 prefill of {long}", "prefill", prompt=LONG),
        row(f"int4 prefill of {long}", "prefill", "INT4", prompt=LONG),
        row("f16 decode in 4 shards", "decode", shards=min(4, layers)),
        row(f"f16 decode of {MANY} requests", "decode", requests=MANY),
    ]


def genai_rows(shape: str, model: Path, options: argparse.Namespace) -> list[Row]:
    """The same of onnxruntime-genai, where it is here."""
    if importlib.util.find_spec("onnxruntime_genai") is None:
        print("onnxruntime-genai is not installed: nothing is measured beside")
        return []
    long = prompt_of(model, LONG, options)
    rows = []
    for precision in GENAI_PRECISIONS:
        folder = genai_model(shape, model, precision, options)
        if folder is None:
            continue
        size = (folder / "model.onnx.data").stat().st_size
        for what, prompt in (("decode", SHORT), ("prefill", LONG)):
            name = f"{shape} {precision} {what}" + (f" of {long}" if what == "prefill" else "")
            engine = {"model": str(folder), "weight_bytes": size}
            rows.append(Row(f"onnxruntime-genai {name}", job("genai", engine, model, prompt, options), what))
    return rows


def genai_model(shape: str, model: Path, precision: str, options: argparse.Namespace) -> Path | None:
    """The model as onnxruntime-genai's builder makes it for the device; None, with a line, if that cannot be."""
    folder = options.models / f"genai-{shape}-{precision}"
    if folder.exists():
        return folder
    print(f"building {folder}", flush=True)
    source, part = options.models / "genai-source", options.models / f"{folder.name}.part"
    for old in (source, part):
        shutil.rmtree(old, ignore_errors=True)
    source.mkdir()
    for file in model.iterdir():
        (source / file.name).symlink_to(file.resolve())
    for name, content in TOKENIZER.items():
        (source / name).write_text(json.dumps(content))
    provider = "cpu" if options.device == "cpu" else "cuda"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", GENAI_PRECISIONS[precision], "-e", provider]
    command += ["-i", source, "-o", part, "-c", options.models / "genai-scratch"]
    command += ["--extra_options", "hf_token=false", "prune_lm_head=true"]
    done = subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        print(f"  left out: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return None
    part.rename(folder)
    return folder


def config_of(model: Path) -> dict[str, Any]:
    """What the model's config.json says."""
    return json.loads((model / "config.json").read_text())


def prompt_of(model: Path, tokens: int, options: argparse.Namespace) -> int:
    """How many tokens a prompt has that is to have `tokens`: as many as the model takes."""
    return min(tokens, config_of(model)["max_position_embeddings"] - options.tokens - ROOM)


def job(kind: str, engine: dict[str, Any], model: Path, prompt: int, options: argparse.Namespace) -> dict[str, Any]:
    """What peers/worker.py is told."""
    prompt = prompt_of(model, prompt, options)
    return {
        "kind": kind,
        "options": engine,
        "threads": len(os.sched_getaffinity(0)),
        "prompt": prompt,
        "tokens": options.tokens,
        "capacity": prompt + options.tokens + ROOM,
        "vocabulary": config_of(model)["vocab_size"],
        "logits": os.devnull,
    }


def measure(row: Row, logs: Path) -> None:
    """One more measurement of a row."""
    result = run_worker(Path(sys.executable), row.job, logs / f"{row.job['kind']}.log")
    if "refused" in result:
        row.refused = result["refused"]
        print(f"  {row.name}: left out: {row.refused}", flush=True)
        return
    requests = row.job["options"].get("requests", 1)
    row.speeds.append(requests * row.job["prompt" if row.what == "prefill" else "tokens"] / result[row.what])
    print(f"  {row.name}: {row.speeds[-1]:.0f} tokens/s, ready in {result['ready']:.1f} s", flush=True)


def report(rows: list[Row], options: argparse.Namespace) -> str:
    """The tables, as Markdown."""
    by_name = {row.name: row for row in rows}
    lines = [f"| on {options.device}, the middle of {options.rounds} | tokens/s | from ... to |", "|---|---|---|"]
    for row in rows:
        spread = f"{min(row.speeds):.0f} ... {max(row.speeds):.0f}" if row.speeds else f"left out: {row.refused}"
        lines.append(f"| {row.name} | {row.speed:.0f} | {spread} |")
    verdicts = []
    for target in TARGETS:
        row, base = by_name.get(target.row), by_name.get(target.base)
        if row is None or not row.speeds or (target.base and (base is None or not base.speeds)):
            continue
        got = row.speed / base.speed if base else row.speed
        unit = f" x {target.base}" if base else " tokens/s"
        digits = 2 if base else 0
        verdict = "reached" if got >= target.least else "MISSED"
        verdicts.append(f"| {target.row} >= {target.least:g}{unit} | {got:.{digits}f} | {verdict} |")
    for row in rows:
        peer = by_name.get(f"onnxruntime-genai {row.name}")
        if peer and peer.speeds and row.speeds:
            verdicts.append(f"| {row.name}, beside onnxruntime-genai | {row.speed / peer.speed:.2f} x | |")
    if verdicts:
        lines += ["", "| wanted | measured | |", "|---|---|---|", *verdicts]
    return "\n".join(lines) + "\n"


def main() -> None:
    options = parse()
    if importlib.util.find_spec("numpy") is None:
        sys.exit("FAILED: the benchmarks need numpy")
    options.models.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for shape in options.shapes.split(","):
        model = random_model(shape, options.models)
        rows += [*ortshard_rows(shape, model, options), *genai_rows(shape, model, options)]
    rows = [row for row in rows if options.only in row.name]
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        for row in rows:
            if not row.refused:
                measure(row, options.models)
    text = report(rows, options)
    print(text)
    if options.out:
        options.out.write_text(text)
    # A peer that cannot run is no failure of ours.
    if any(row.refused for row in rows if row.job["kind"] == "ortshard"):
        sys.exit(1)


if __name__ == "__main__":
    main()
