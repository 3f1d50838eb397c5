"""Ray Serve, and what it brings along, which only this part of the package needs."""

from __future__ import annotations

import importlib
from typing import Any


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"ortshard.ray.serve needs {name}: pip install 'ortshard[serve]'") from error


# Ray itself is there by now: ortshard.ray has set what it reads when it starts.
_needed("fastapi")
serve: Any = _needed("ray.serve")
