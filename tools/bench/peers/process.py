"""Starts worker.py, one process for each measurement."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().with_name("worker.py")
# Variables that would change the number of threads of some engine.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "ORTSHARD_THREADS", "ORTSHARD_DEVICE")


def run_worker(python: Path, job: dict[str, Any], log: Path) -> dict[str, Any]:
    """What worker.py answers, or {"refused": why} if it fails. What it prints besides goes to a log."""
    environment = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    environment["ORTSHARD_CACHE"] = str(log.parent / "ortshard")
    with log.open("wb") as errors:
        command = [python, WORKER, json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True)
    if done.returncode:
        tail = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
        return {"refused": f"failed with status {done.returncode}: {tail[0]}"}
    return json.loads(done.stdout.splitlines()[-1])
