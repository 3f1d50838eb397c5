"""Ray and ZeroMQ, which only this part of the package needs."""

from __future__ import annotations

import importlib
import os
from typing import Any

# Ray reports home unless it is told not to, before it starts.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray gives its workers the lowest priority but four; whatever else the machine does would come before the stages.
os.environ.setdefault("RAY_worker_niceness", "0")


def needed(name: str, part: str = "ortshard.ray", extra: str = "ray") -> Any:
    """A module that only a part of the package needs, which `extra` installs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{part} needs {name}: pip install 'ortshard[{extra}]'") from error


ray: Any = needed("ray")
zmq: Any = needed("zmq")


def connect(address: str) -> None:
    """Joins the cluster at an address; "local" starts Ray on this machine alone."""
    ray.init(address=address, include_dashboard=False if address == "local" else None, log_to_driver=False)
