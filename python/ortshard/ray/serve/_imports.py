"""Ray Serve, and what it brings along, which only this part of the package needs."""

from __future__ import annotations

from typing import Any

from .._imports import needed

# Ray itself is there by now: ortshard.ray has set what it reads when it starts.
needed("fastapi", "ortshard.ray.serve", "serve")
serve: Any = needed("ray.serve", "ortshard.ray.serve", "serve")
