"""Runs any contiguous range of a language model's layers on ONNX Runtime.

The shortest way to text:

    import ortshard

    with ortshard.load("models/stories") as model:
        for text in model.generate("Once upon a time"):
            print(text, end="", flush=True)

Below that are `Engine`, `Shard` and `Request`: ids or hidden states in, hidden states or logits out, and the same bits however a model
is cut. What takes options takes them by keyword, under the names of the C interface: `help(ortshard.EngineOptions)`.
"""

from __future__ import annotations

from ._abi import *
from ._library import lib as _lib
from .batch import *
from .callbacks import *
from .constraint import *
from .engine import *
from .errors import *
from .generation import *
from .model import *
from .runtime import *
from .shards import *
from .tensor import *
from .text import *

#: The library's version.
__version__: str = _lib.ortshard_version().decode()
