"""The coordinator's log: prompts, options and tokens, one line of JSON each, so that another coordinator can go on."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import errors

_LONGEST_LINE = 64 << 20


@dataclass
class Entry:
    """A request of the log that has not ended."""

    prompt: list[int]
    options: dict[str, Any]
    generated: list[int] = field(default_factory=list)


class Log:
    """Appends to a file. Without a path it does nothing."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.unfinished: dict[int, Entry] = {}
        self.last = 0
        self._lock = threading.Lock()
        self._file = -1
        if path is None:
            return
        if Path(path).exists():
            self._read(Path(path))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _read(self, path: Path) -> None:
        whole = 0
        with path.open("rb") as file:
            while line := file.readline(_LONGEST_LINE):
                if not line.endswith(b"\n"):
                    # The last line broke off when its coordinator died: what it told, nobody has seen.
                    break
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise errors.Malformed(f"{path} is no log of a pipeline: {error!r} at byte {whole}") from error
                whole += len(line)
        os.truncate(path, whole)

    def _take(self, line: dict[str, Any]) -> None:
        name = int(line["request"])
        self.last = max(self.last, name)
        if "prompt" in line:
            self.unfinished[name] = Entry([int(id) for id in line["prompt"]], dict(line["options"]))
        elif "tokens" in line:
            self.unfinished[name].generated += [int(id) for id in line["tokens"]]
        else:
            self.unfinished.pop(name, None)

    def begin(self, name: int, prompt: Sequence[int], options: Mapping[str, Any]) -> None:
        """Notes a request."""
        self._write({"request": name, "prompt": list(prompt), "options": dict(options)})

    def tokens(self, name: int, ids: Sequence[int]) -> None:
        """Notes tokens, before anybody hears of them."""
        self._write({"request": name, "tokens": list(ids)})

    def end(self, name: int) -> None:
        """Notes that a request has ended."""
        self._write({"request": name, "ended": True})

    def _write(self, line: dict[str, Any]) -> None:
        with self._lock:
            if self._file >= 0:
                os.write(self._file, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
