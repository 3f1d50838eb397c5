"""What the tests share: the goldens of the repository, and one engine for each test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ortshard

# A shell has its background jobs ignore it, and what they start after them.
signal.signal(signal.SIGINT, signal.default_int_handler)

TOP = Path(__file__).resolve().parents[2]
MODELS = TOP / "tests/models"
STORIES = str(TOP / "models/stories")


@dataclass
class Golden:
    """A tiny model, and what transformers computes with it."""

    name: str
    path: str
    prompt: list[int]
    greedy: list[int]

    def tensor(self, name: str) -> Any:
        """A tensor of golden.safetensors: a length, a JSON header, and the values."""
        raw = Path(self.path, "golden.safetensors").read_bytes()
        size = int.from_bytes(raw[:8], "little")
        entry = json.loads(raw[8 : 8 + size])[name]
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        assert entry["dtype"] == "F32"
        return np.frombuffer(raw[start:end], np.float32).reshape(entry["shape"])


def golden(name: str) -> Golden:
    told = json.loads((MODELS / name / "golden.json").read_text())
    return Golden(name, str(MODELS / name), told["prompt_ids"], told["greedy_ids"])


def all_models() -> list[str]:
    return sorted(path.parent.name for path in MODELS.glob("*/golden.json"))


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own that runs `code`, or with `code` "-m" a module."""
    command = [sys.executable, *(["-m"] if code == "-m" else ["-c", code]), *arguments]
    given = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=given, check=False)


@pytest.fixture
def engine() -> Iterator[ortshard.Engine]:
    with ortshard.Engine(device="cpu", pack_cache="") as made:
        yield made


@pytest.fixture(scope="session")
def stories() -> Iterator[ortshard.Model]:
    with ortshard.load(STORIES, device="cpu") as model:
        yield model
