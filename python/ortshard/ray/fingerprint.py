"""Digests of a model's files, so that machines with other weights are found before they compute anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from .. import errors
from .._abi import ModelFile
from .problems import OtherWeights

# Of each tensor so many bytes are looked at: at its start, middle and end. A fine-tune changes nearly all of them.
_PIECE = 256
_LONGEST_HEADER = 100 << 20


def digest(path: Path) -> str:
    """Of a file of weights its header and a sample of every tensor; of any other file all of it."""
    with path.open("rb") as file:
        if path.suffix != ".safetensors":
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _whole(file)
        size = int.from_bytes(file.read(8), "little")
        if size > _LONGEST_HEADER:
            raise errors.Malformed(f"{path} has a header of {size} bytes")
        header = file.read(size)
        found = hashlib.sha256(header)
        for name, tensor in sorted(json.loads(header).items()):
            if name == "__metadata__":
                continue
            start, end = tensor["data_offsets"]
            for at in sorted({start, max(start, (start + end - _PIECE) // 2), max(start, end - _PIECE)}):
                file.seek(8 + size + at)
                found.update(file.read(min(_PIECE, end - at)))
        return found.hexdigest()


def _whole(file: BinaryIO) -> str:
    found = hashlib.sha256()
    while piece := file.read(1 << 20):
        found.update(piece)
    return found.hexdigest()


def fingerprint(files: Iterable[ModelFile]) -> dict[str, str]:
    """The digest of each file that is here, by its name."""
    return {file.name: digest(Path(file.path)) for file in files if file.name and file.path}


def agree(known: dict[str, str], theirs: Mapping[str, str], who: str) -> None:
    """Refuses files that differ from those known; others are known from then on."""
    for name, value in theirs.items():
        if known.setdefault(name, value) != value:
            raise OtherWeights(f"{who} has another {name} than the rest of the pipeline: give every machine the same model")
