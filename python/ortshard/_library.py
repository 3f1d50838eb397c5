"""The C library: loaded, compared with the description it was packaged with, and called."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from ctypes import byref, c_size_t
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from . import _abi, errors
from ._abi import OomSite, Status

Self = TypeVar("Self", bound="Handle")


def _file() -> str:
    """The library beside this file, or the one that the environment's ORTSHARD_LIBRARY names."""
    named = os.environ.get("ORTSHARD_LIBRARY")
    if named:
        return named
    here = Path(__file__).resolve().parent
    for name in ("libortshard.so", "libortshard.dylib", "ortshard.dll"):
        if (here / name).exists():
            return str(here / name)
    raise ImportError(f"{here} holds no libortshard: reinstall ortshard, or name a library in ORTSHARD_LIBRARY")


def _compare(library: ctypes.CDLL, path: str) -> None:
    """Refuses a library of another layout before anything is called that could be misread."""

    def refuse(why: str) -> None:
        raise ImportError(f"{path} is not the library of this package: {why}. Reinstall ortshard")

    if not hasattr(library, "ortshard_abi_version"):
        refuse("it has no ortshard_abi_version()")
    library.ortshard_abi_version.restype = ctypes.c_uint32
    theirs = library.ortshard_abi_version()
    if theirs != _abi.ABI_VERSION:
        refuse(f"its ABI version is {theirs}, the package's is {_abi.ABI_VERSION}")
    for name in _abi.FUNCTIONS:
        if not hasattr(library, name):
            refuse(f"it has no {name}()")
    for name, (layout, size, offsets, has_init, defaults) in _abi.LAYOUTS.items():
        fields = {field: getattr(layout, field).offset for field in offsets}
        if ctypes.sizeof(layout) != size or fields != offsets:
            refuse(f"this machine lays {name} out otherwise")
        if not has_init:
            continue
        # What the library writes, and that it writes no byte behind the struct.
        place = (ctypes.c_ubyte * (size + 64))(*[0xAA] * (size + 64))
        expected = layout(struct_size=size)
        for field, value in defaults.items():
            setattr(expected, field, value)
        if getattr(library, f"{name}_init")(place, c_size_t(size)) != 0 or bytes(place) != bytes(expected) + b"\xaa" * 64:
            refuse(f"it lays {name} out otherwise")


def _load() -> Any:
    path = _file()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"libortshard cannot be loaded: {error}") from error
    _compare(library, path)
    for name, (result, parameters, is_status) in _abi.FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
        if is_status:
            function.errcheck = _check
    return library


def _check(status: int, _function: object, _arguments: object) -> None:
    if status:
        raise error_of(status)


def error_of(status: int, handle: int | None = None) -> errors.Error:
    """The exception of `status`: of this thread's last failing call, or of the last one on `handle`."""
    message, needed = ctypes.create_string_buffer(1024), c_size_t()
    if raw("ortshard_error_message")(handle, message, 1024, byref(needed)) == Status.BUFFER_TOO_SMALL:
        message = ctypes.create_string_buffer(needed.value)
        raw("ortshard_error_message")(handle, message, needed, byref(needed))
    error = errors.kind_of(status)(message.value.decode("utf-8", "replace"))
    error.status = Status(status) if status in Status.__members__.values() else status
    if isinstance(error, errors.OutOfMemory):
        oom = _abi.ortshard_oom(struct_size=ctypes.sizeof(_abi.ortshard_oom))
        if raw("ortshard_error_get_oom")(handle, byref(oom)) == 0:
            error.site = OomSite(oom.site) if oom.site in OomSite.__members__.values() else oom.site
            error.device, error.requested_bytes = oom.device.decode(), oom.requested_bytes
    return error


_raw: dict[str, Any] = {}


def raw(name: str) -> Any:
    """The function `name` that returns its status instead of raising it."""
    if name not in _raw:
        result, parameters, _ = _abi.FUNCTIONS[name]
        _raw[name] = ctypes.CFUNCTYPE(result, *parameters)((name, lib))
    return _raw[name]


lib: Any = _load()


class _Here(threading.local):
    """Of this thread: whether it is in a callback that must not free anything."""

    held = False


here = _Here()
_waiting: list[tuple[Callable[[int], None], int]] = []


def free_waiting() -> None:
    """Frees what was to be freed within such a callback."""
    while _waiting and not here.held:
        function, pointer = _waiting.pop()
        function(pointer)


class Handle:
    """An object of the library. It is freed by `close()`, at the end of a `with`, or with its last reference."""

    _kind: ClassVar[str]
    _free: ClassVar[Callable[[int], None]]
    _pointer: int | None = None

    def __init_subclass__(cls) -> None:
        if "_kind" in cls.__dict__:
            cls._free = getattr(lib, f"ortshard_{cls._kind}_free")

    @property
    def _handle(self) -> int:
        if self._pointer is None:
            raise errors.InvalidState(f"this {type(self).__name__} is closed")
        return self._pointer

    def _adopt(self, pointer: int | None) -> None:
        free_waiting()
        self._pointer = pointer

    @classmethod
    def _of(cls: type[Self], pointer: int | None) -> Self:
        """The Python object of a handle that a function gave."""
        made = cls.__new__(cls)
        made._adopt(pointer)
        return made

    @property
    def closed(self) -> bool:
        """Whether it was freed."""
        return self._pointer is None

    def close(self) -> None:
        """Frees it. Nothing happens if it is closed already; what another object still needs stays alive."""
        pointer, self._pointer = self._pointer, None
        if pointer is None:
            return
        if here.held:
            _waiting.append((type(self)._free, pointer))
        else:
            type(self)._free(pointer)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError(f"a {type(self).__name__} lives in this process and cannot be copied or pickled")
