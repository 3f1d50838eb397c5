"""Python's values into the C interface's structs, and back."""

from __future__ import annotations

import ctypes
import difflib
import json
import operator
import os
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _abi, errors
from ._library import Handle, lib

T = TypeVar("T")
RANGES = {
    "int32_t": (-(2**31), 2**31),
    "uint32_t": (0, 2**32),
    "int64_t": (-(2**63), 2**63),
    "uint64_t": (0, 2**64),
    "size_t": (0, 2**64),
}


def utf8(text: str | os.PathLike[str], name: str = "text") -> bytes:
    """`text` for a `const char *`. Texts with a NUL, which C would cut there, are refused."""
    text = os.fspath(text)
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise errors.InvalidArgument(f"{name} holds a NUL character")
    return encoded


def json_text(value: Any, name: str) -> bytes:
    """The JSON of lists and mappings; a str is JSON already."""
    if isinstance(value, (str, os.PathLike)):
        return utf8(value, name)
    if not isinstance(value, (Mapping, Sequence)):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return utf8(json.dumps(value, ensure_ascii=False), name)


def ids_array(ids: Any) -> NDArray[np.int64]:
    """Token ids one after another as int64. An array that is so already is not copied."""
    if isinstance(ids, (int, np.integer)) and not isinstance(ids, bool):
        ids = [ids]
    array = np.asarray(ids if isinstance(ids, (np.ndarray, Sequence)) else list(ids))
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise TypeError(f"token ids are whole numbers, not {array.dtype}")
    return np.ascontiguousarray(array, np.int64).reshape(-1)


def enum_value(value: Any, enum: type[IntEnum], name: str) -> int:
    """The number of a constant, given as such, as a number or by its name in any case."""
    if isinstance(value, str):
        try:
            return int(enum[value.upper()])
        except KeyError:
            raise errors.InvalidArgument(f"{name} is {value!r}, not one of {', '.join(m.name.lower() for m in enum)}") from None
    return number(value, "int32_t", name)


def number(value: Any, kind: str, name: str) -> int:
    """A whole number that fits into the C type `kind`."""
    whole: int = operator.index(value)
    low, high = RANGES[kind]
    if not low <= whole < high:
        raise errors.OutOfRange(f"{name} is {whole}, not within {low} to {high - 1}")
    return whole


def initial(name: str) -> Any:
    """The struct `name` as its initialiser makes it."""
    layout, size, *_ = _abi.LAYOUTS[name]
    struct = layout()
    getattr(lib, f"{name}_init")(ctypes.byref(struct), size)
    return struct


def fill(name: str, options: Mapping[str, Any] | None) -> Any:
    """The struct `name` with `options` in it, which are the fields that it has; None leaves a field as it is."""
    struct = initial(name)
    struct.keep = []
    fields = [field for field, *_ in struct._fields_]
    for key, value in (options or {}).items():
        if key not in fields or key == "struct_size":
            raise no_option(key, fields)
        if value is not None:
            _set(struct, name, fields, key, value)
    return struct


def no_option(key: str, fields: list[str]) -> TypeError:
    """The error of an option that is none, with the one that may be meant."""
    near = difflib.get_close_matches(key, fields, 1)
    return TypeError(f"there is no option {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _set(struct: Any, name: str, fields: list[str], key: str, value: Any) -> None:
    kind, enum = _abi.FIELDS[name, key]
    if enum is not None:
        setattr(struct, key, enum_value(value, enum, key))
    elif kind in RANGES:
        setattr(struct, key, number(value, kind, key))
    elif kind in ("float", "double"):
        setattr(struct, key, float(value))
    elif kind == "const char *":
        setattr(struct, key, json_text(value, key))
    elif kind == "const int64_t *":
        _list(struct, fields, key, ids_array(value).copy())
    elif kind == "const char *const *":
        texts = [value] if isinstance(value, str) else list(value)
        _list(struct, fields, key, (ctypes.c_char_p * len(texts))(*(utf8(text, key) for text in texts)))
    elif kind == "const ortshard_bias *":
        _list(struct, fields, key, _biases(struct, value))
    elif kind == "const ortshard_plan_device *":
        _list(struct, fields, key, _plan_devices(value))
    elif kind.startswith("const ortshard_") and isinstance(value, Mapping):
        inner = fill(kind.removeprefix("const ").removesuffix(" *"), value)
        struct.keep.append(inner)
        setattr(struct, key, ctypes.addressof(inner))
    elif kind.startswith("const ortshard_") and isinstance(value, Handle):
        struct.keep.append(value)
        setattr(struct, key, value._handle)
    elif kind.endswith("_callback") and hasattr(value, "argtypes"):
        struct.keep.append(value)
        setattr(struct, key, ctypes.cast(value, ctypes.c_void_p).value)
    else:
        raise TypeError(f"{key} cannot be a {type(value).__name__}")


def _list(struct: Any, fields: list[str], key: str, values: Any) -> None:
    """A list and, in the field behind it, its length."""
    struct.keep.append(values)
    if len(values):
        setattr(struct, key, values.ctypes.data if isinstance(values, np.ndarray) else ctypes.addressof(values))
    setattr(struct, fields[fields.index(key) + 1], len(values))


def _biases(struct: Any, value: Any) -> Any:
    pairs = [([i], bias) for i, bias in value.items()] if isinstance(value, Mapping) else list(value)
    made = (_abi.ortshard_bias * len(pairs))()
    for place, (ids, bias) in zip(made, pairs):
        array = ids_array(ids).copy()
        struct.keep.append(array)
        place.ids, place.count, place.bias = array.ctypes.data, len(array), float(bias)
    return made


def _plan_devices(value: Any) -> Any:
    made = (_abi.ortshard_plan_device * len(value))()
    fields = [field for field, *_ in _abi.ortshard_plan_device._fields_]
    for place, device in zip(made, value):
        # A number is the memory of a device of which no more is known.
        for key, option in (device if isinstance(device, Mapping) else {"free_memory": device}).items():
            if key not in fields:
                raise no_option(key, fields)
            _set(place, "ortshard_plan_device", fields, key, option)
    return made


def read(kind: type[T], struct: Any) -> T:
    """The dataclass `kind` of what the library wrote, copied."""
    return kind(**{name: _read(struct, name, reader) for name, reader in kind._readers})  # type: ignore[attr-defined]


def _read(struct: Any, name: str, reader: str) -> Any:
    value = getattr(struct, name)
    way, _, detail = reader.partition(":")
    if way == "enum":
        try:
            return getattr(_abi, detail)(value)
        except ValueError:
            # Of a later library.
            return value
    if way == "chars":
        return value.decode("utf-8", "replace")
    if way == "text":
        address = getattr(type(struct), name).__get__(struct) and _address(struct, name)
        return ctypes.string_at(address, getattr(struct, detail)).decode("utf-8", "replace") if address else ""
    if way == "string":
        return None if value is None else value.decode("utf-8", "replace")
    if way == "bool":
        return bool(value)
    if way == "optional":
        return None if value < 0 else value
    if way == "logprobs":
        best = (_abi.ortshard_logprob * struct.best_count).from_address(value) if value else ()
        return tuple(read(_abi.Logprob, entry) for entry in best)
    return value


def _address(struct: Any, name: str) -> int | None:
    """Where a `const char *` points: ctypes itself reads it up to a NUL only, and models write NULs."""
    offset = getattr(type(struct), name).offset
    return ctypes.c_void_p.from_buffer(struct, offset).value


def describe(kind: type[T], function: str, *arguments: Any) -> T:
    """What a function that fills a struct says."""
    struct = initial(kind._layout.__name__)  # type: ignore[attr-defined]
    getattr(lib, function)(*arguments, ctypes.byref(struct))
    return read(kind, struct)


def text_of(function: str, *arguments: Any, room: int = 256) -> str:
    """The text that a function writes into (buffer, capacity, *needed)."""
    return _bytes_of(function, arguments, room).removesuffix(b"\0").decode("utf-8", "replace")


def bytes_of(function: str, *arguments: Any, room: int = 0) -> bytes:
    """The bytes that a function writes into (buffer, capacity, *needed)."""
    return _bytes_of(function, arguments, room)


def _bytes_of(function: str, arguments: tuple[Any, ...], room: int) -> bytes:
    needed = ctypes.c_size_t(room)
    while True:
        buffer = ctypes.create_string_buffer(needed.value) if needed.value else None
        try:
            getattr(lib, function)(*arguments, buffer, needed.value, ctypes.byref(needed))
        except errors.BufferTooSmall:
            continue
        if buffer is not None or needed.value == 0:
            return b"" if buffer is None else buffer.raw[: needed.value]


def ids_of(function: str, *arguments: Any, room: int = 16) -> list[int]:
    """The ids that a function writes into (ids, capacity, *needed)."""
    needed = ctypes.c_size_t(room)
    while True:
        ids = np.empty(needed.value, np.int64)
        try:
            getattr(lib, function)(*arguments, ids.ctypes.data, len(ids), ctypes.byref(needed))
        except errors.BufferTooSmall:
            continue
        return [int(id) for id in ids[: needed.value]]
