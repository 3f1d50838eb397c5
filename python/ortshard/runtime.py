"""The ONNX Runtime under all shards: which one, and on what devices."""

from __future__ import annotations

import importlib.util
import os
import re
import threading
from ctypes import byref, c_uint32
from pathlib import Path

from . import errors
from ._abi import DeviceInfo, RuntimeInfo
from ._library import lib
from ._structs import describe, fill

__all__ = ["devices", "find_onnxruntime", "load_runtime", "runtime_info"]

_lock = threading.Lock()
_loaded = False

OLDEST = (1, 22)


def find_onnxruntime() -> Path | None:
    """The library of Python's onnxruntime package, which is not imported for that; None if it is not installed.

    Raises `OnnxRuntimeNotFound` if it is a version that ortshard does not run on.
    """
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except ValueError:
        # sys.modules says that there is none.
        spec = None
    found = []
    for place in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(place, "capi").glob("*onnxruntime.*"):
            name = re.fullmatch(r"(?:lib)?onnxruntime(?:\.(?:so|dll|dylib)|\.(\d[\d.]*\d)\.dylib|\.so\.(\d[\d.]*\d))", path.name)
            if name:
                numbers = name[1] or name[2]
                found.append((tuple(map(int, numbers.split("."))) if numbers else OLDEST, path))
    if not found:
        return None
    version, path = max(found)
    if version < OLDEST or version[0] != OLDEST[0]:
        raise errors.OnnxRuntimeNotFound(
            f"the onnxruntime package at {path.parents[1]} is {'.'.join(map(str, version))}, and ortshard needs 1.22 or a later 1.x: "
            "pip install --upgrade 'onnxruntime>=1.22,<2', or name another library in ORTSHARD_ONNXRUNTIME"
        )
    return path


def load_runtime(library: str | os.PathLike[str] | None = None, threads: int = 0, no_spinning: bool = False) -> RuntimeInfo:
    """Loads ONNX Runtime, once for the process, and describes it. Only needed to choose: the first engine does it by itself.

    Without `library`, it is the one that the environment's ORTSHARD_ONNXRUNTIME or ORT_DYLIB_PATH names, that of Python's onnxruntime
    package, or what is found beside this library or in the system. `threads`: those that one run may use, the calling one included;
    0: the environment's ORTSHARD_THREADS, else as many as the process may use processors. `no_spinning`: idle threads sleep at once.
    """
    global _loaded
    with _lock:
        named = library or os.environ.get("ORTSHARD_ONNXRUNTIME") or os.environ.get("ORT_DYLIB_PATH")
        if not named and not _loaded:
            library = find_onnxruntime()
        options = {"library": library, "threads": threads, "no_spinning": no_spinning}
        try:
            lib.ortshard_runtime_load(byref(fill("ortshard_runtime_options", options)))
        except errors.OnnxRuntimeNotFound as error:
            if named or library:
                raise
            raise type(error)(f"{error}; the Python package onnxruntime is not installed: pip install onnxruntime") from None
        _loaded = True
    return runtime_info()


def ensure_runtime() -> None:
    """Loads ONNX Runtime if no call has yet."""
    if not _loaded:
        load_runtime()


def runtime_info() -> RuntimeInfo:
    """The ONNX Runtime that is loaded."""
    return describe(RuntimeInfo, "ortshard_runtime_get_info")


def devices() -> list[DeviceInfo]:
    """What shards can run on here. The processor comes first."""
    ensure_runtime()
    count = c_uint32()
    lib.ortshard_device_count(byref(count))
    return [describe(DeviceInfo, "ortshard_device_get_info", index) for index in range(count.value)]
