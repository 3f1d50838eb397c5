"""The constants and structs of include/ortshard.h for ctypes, read from the header itself."""

import ctypes
import re
from pathlib import Path
from typing import Any

HEADER = Path(__file__).resolve().parents[3] / "include/ortshard.h"
TYPES = {
    "char": ctypes.c_char,
    "float": ctypes.c_float,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


def code() -> str:
    """The header without its comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", HEADER.read_text(), flags=re.DOTALL)


def constants() -> dict[str, int]:
    """Every integer constant: a macro or a member of an enum, by its name without ORTSHARD_."""
    found = re.findall(r"(?:#define |^\s*)ORTSHARD_(\w+)(?: =)? (-?\d+)\b", code(), flags=re.MULTILINE)
    return {name: int(value) for name, value in found}


def field(declaration: str, structs: dict[str, type[ctypes.Structure]]) -> tuple[str, Any]:
    """Name and ctypes type of a field such as `const char *model` or `int64_t shape[4]`."""
    kind, pointer, name, _, length = re.fullmatch(r"(?:const )?(\w+) (\**)(\w+)(\[(\d+)\])?", declaration).groups()
    if pointer:
        return name, ctypes.c_char_p if kind == "char" else ctypes.c_void_p
    plain = ctypes.c_void_p if kind.endswith("_callback") else TYPES.get(kind) or structs[kind]
    return name, plain * int(length) if length else plain


def structs() -> dict[str, type[ctypes.Structure]]:
    """Every struct whose fields the header tells, by its name without ortshard_."""
    found: dict[str, type[ctypes.Structure]] = {}
    for name, body in re.findall(r"typedef struct ortshard_(\w+) \{(.*?)\}", code(), flags=re.DOTALL):
        declarations = [" ".join(line.split()) for line in body.split(";") if line.strip()]
        fields = [field(declaration, {f"ortshard_{n}": s for n, s in found.items()}) for declaration in declarations]
        found[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return found
