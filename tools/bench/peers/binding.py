"""ortshard's C interface by ctypes, all of it made from include/ortshard.json: no struct is typed here."""

import ctypes
import json
import re
from ctypes import c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

FACTS = json.loads((Path(__file__).resolve().parents[3] / "include/ortshard.json").read_text())
CONSTANTS: dict[str, int] = FACTS["constants"]
SCALARS = {
    "int32_t": c_int32,
    "uint32_t": c_uint32,
    "int64_t": c_int64,
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "double": c_double,
    "float": c_float,
    "char": c_char,
}


def kind(name: str) -> Any:
    """The ctypes type of a C type. A pointer to anything but a text is an address, for which byref() and arrays do."""
    name = FACTS["aliases"].get(name, name)
    array = re.fullmatch(r"(\w+)\[(\d+)\]", name)
    if array:
        return SCALARS[array[1]] * int(array[2])
    if name == "const char *":
        return c_char_p
    if name.endswith("*") or name in FACTS["callbacks"]:
        return c_void_p
    return None if name == "void" else SCALARS[name]


def struct(name: str) -> type[ctypes.Structure]:
    """The struct `name`, where pointers have 8 bytes with its fields where the compiler puts them."""
    facts = FACTS["structs"][name]
    fields = [(field["name"], kind(field["type"])) for field in facts["fields"]]
    made = type(name, (ctypes.Structure,), {"_fields_": fields})
    if ctypes.sizeof(c_void_p) == 8:
        assert ctypes.sizeof(made) == facts["size"], name
        for field in facts["fields"]:
            assert getattr(made, field["name"]).offset == field["offset"], f"{name}.{field['name']}"
    return made


STRUCTS = {name: struct(name) for name in FACTS["structs"]}


def initial(name: str, **fields: Any) -> Any:
    """The struct as its ORTSHARD_..._INIT makes it, but for `fields`."""
    made = STRUCTS[name](struct_size=ctypes.sizeof(STRUCTS[name]))
    for field in FACTS["structs"][name]["fields"]:
        if "default" in field:
            default = field["default"]
            value = CONSTANTS.get(default, default)
            setattr(made, field["name"], float(value) if field["type"] in ("double", "float") else int(value))
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def load(path: str) -> ctypes.CDLL:
    """The library, with the types of all its functions."""
    library = ctypes.CDLL(path)
    for name, facts in FACTS["functions"].items():
        function = getattr(library, name)
        function.restype = kind(facts["result"])
        function.argtypes = [kind(parameter) for _, parameter in facts["parameters"]]
    assert library.ortshard_abi_version() == CONSTANTS["ORTSHARD_ABI_VERSION"], path
    return library


if __name__ == "__main__":
    # What tests/suite/host/bindings.rs runs: every function is there, and takes what the JSON says.
    import sys

    loaded = load(sys.argv[1])
    for struct_name, of in STRUCTS.items():
        if FACTS["structs"][struct_name]["has_init"]:
            place = of()
            status = getattr(loaded, f"{struct_name}_init")(ctypes.byref(place), ctypes.sizeof(of))
            assert status == CONSTANTS["ORTSHARD_OK"], struct_name
            assert bytes(place) == bytes(initial(struct_name)), struct_name
    print(f"{len(STRUCTS)} structs, {len(FACTS['functions'])} functions, {len(CONSTANTS)} constants")
