"""The module that ctypesgen makes of the header as it is: arguments are the folder it lies in and ortshard.json."""

import ctypes
import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import made_by_ctypesgen as library  # noqa: E402

facts = json.loads(Path(sys.argv[2]).read_text())
for name, value in facts["constants"].items():
    assert getattr(library, name) == value, name
for name, struct in facts["structs"].items():
    made = getattr(library, f"struct_{name}")
    assert ctypes.sizeof(made) == struct["size"], name
    for field in struct["fields"]:
        assert getattr(made, field["name"]).offset == field["offset"], (name, field)
for name in facts["functions"]:
    assert hasattr(library, name), name
options = library.ortshard_sampler_options()
assert library.ortshard_sampler_options_init(ctypes.byref(options), ctypes.sizeof(options)) == library.ORTSHARD_OK
assert options.top_k == 35
