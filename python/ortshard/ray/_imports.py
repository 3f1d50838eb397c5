"""Ray and ZeroMQ, which only this part of the package needs."""

from __future__ import annotations

import importlib
import os
from typing import Any

# Ray reports home unless it is told not to, before it starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray gives its workers the lowest priority but four; whatever else the machine does would come before the stages.
os.environ.setdefault("RAY_worker_niceness", "0")


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"ortshard.ray needs {name}: pip install 'ortshard[ray]'") from error


ray: Any = _needed("ray")
zmq: Any = _needed("zmq")
