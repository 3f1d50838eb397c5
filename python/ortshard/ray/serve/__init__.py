"""A pipeline of machines behind the OpenAI API, as an app of Ray Serve.

    from ortshard.ray import serve

    serve.start("models/stories", stages=3)

`python -m ortshard serve models/stories --stages 3` is the same as a command. docs/serving.md says which fields are honoured, which are
refused, what the limits are, and who may connect. It needs `pip install ortshard[serve]`.
"""

# First, so that what is not installed is named.
from ._imports import serve as _serve  # noqa: F401
from .app import build
from .deployment import Service, application, start, stop
from .slots import Slots

__all__ = ["Service", "Slots", "application", "build", "start", "stop"]
