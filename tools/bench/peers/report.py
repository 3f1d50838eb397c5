"""The measurements as tables: medians and ranges, and what ortshard reaches of its targets."""

import os
import platform
import re
from pathlib import Path
from statistics import median
from typing import Any

from .engines import Engine, Target

Rounds = list[dict[str, dict[str, Any]]]
# Measurements while other programs used more of the processors than this do not count, unless told.
BUSY = 0.1
FEATURES = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimddp", "i8mm", "bf16", "sve"]


def quiet(rounds: Rounds, busy: float) -> Rounds:
    """The measurements of which other programs took no more than that part. What is measured has no say in it."""
    return [{name: row for name, row in r.items() if row["others"] <= busy} for r in rounds]


def values(rounds: Rounds, name: str, what: str) -> list[float]:
    """One number per round: tokens per second of `prefill` or `decode`, or what was measured itself."""
    return [r[name][what] for r in rounds if name in r]


def spread(numbers: list[float], digits: int = 1, scale: float = 1) -> str:
    """Median (min..max)."""
    low, middle, high = (f"{n * scale:.{digits}f}" for n in (min(numbers), median(numbers), max(numbers)))
    return f"{middle} ({low}..{high})"


def of_limit(row: dict[str, Any]) -> float:
    """What decoding reaches of the tokens per second that reading all weights once for each allows."""
    return row["decode"] * row["weight_bytes"] / row["bandwidth"]


def ratios(rounds: Rounds, target: Target) -> list[float]:
    """One ratio per round, of measurements that were taken within it: noise that lasts longer cancels out."""
    if not target.peer:
        return [of_limit(r[target.ours]) for r in rounds if target.ours in r]
    both = [r for r in rounds if target.ours in r and target.peer in r]
    return [r[target.ours][target.what] / r[target.peer][target.what] for r in both]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up in a terminal, too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def engine_table(rounds: Rounds, engines: list[Engine]) -> str:
    """A row for each engine that was measured."""
    rows = []
    for engine in engines:
        name = engine.name
        measured = [r[name] for r in rounds if name in r]
        if not measured:
            continue
        whole = engine.options.get("shards", 1) == 1
        rows.append([
            name,
            f"{measured[0]['weight_bytes'] / 1e6:.0f}" if whole else "",
            spread(values(rounds, name, "ready"), 0, 1000),
            spread(values(rounds, name, "prefill"), 0),
            spread(values(rounds, name, "decode")),
            f"{median(of_limit(row) for row in measured):.0%}" if whole else "",
            agreement(measured),
        ])  # fmt: skip
    header = ["", "weights, MB", "ready, ms", "prefill, tokens/s", "decode, tokens/s", "of the limit", "agrees"]
    return table(header, rows)


def agreement(measured: list[dict[str, Any]]) -> str:
    """How the logits after the prompt correlate with those of the reference; empty for itself."""
    agrees = [row["agrees"] for row in measured if row.get("agrees") is not None]
    return f"{min(agrees):.4f}" if agrees else ""


def target_table(rounds: Rounds, targets: list[Target]) -> str:
    """What was reached of each target whose engines were measured."""
    rows = []
    for target in targets:
        reached = ratios(rounds, target)
        if not reached:
            continue
        against = target.peer or "weights read at the memory's speed"
        goal = f"{target.factor:.2f}" if target.factor else ""
        verdict = ("yes" if median(reached) >= target.factor else "no") if target.factor else ""
        rows.append([target.ours, target.what, against, spread(reached, 2), goal, verdict])
    return table(["", "", "against", "ratio", "target", "reached"], rows)


def machine(threads: int) -> str:
    """The processor, in the words that decide speed."""
    words = [platform.machine(), f"{os.cpu_count()} processors"]
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", info.read_text(), re.MULTILINE)
        flags = set(found[1].split()) if found else set()
        words.append(", ".join(feature for feature in FEATURES if feature in flags))
    return f"{', '.join(words)}; {threads} threads for every engine"


def report(
    rounds: Rounds, engines: list[Engine], targets: list[Target], threads: int, missing: dict[str, str], busy: float
) -> str:
    """Both tables and what to know about them. There must be a measurement that counts."""
    measured = sum(map(len, rounds))
    rounds = quiet(rounds, busy)
    counted = sum(map(len, rounds))
    bandwidth = spread([row["bandwidth"] for r in rounds for row in r.values()], 1, 1e-9)
    parts = [
        f"Machine: {machine(threads)}; memory is read at {bandwidth} GB/s.\n"
        f"{len(rounds)} rounds; median (min..max). {counted} of {measured} measurements count: during the others, other "
        f"programs used more than {busy:.0%} of the processors.",
        engine_table(rounds, engines),
        target_table(rounds, targets),
    ]
    if missing:
        parts.append("\n".join(f"Left out: {name} ({why})." for name, why in missing.items()))
    return "\n\n".join(parts)
