"""The header for cffi, after `cpp -P -DORTSHARD_DECLARATIONS_ONLY`: arguments are the header's text, ortshard.json, the library and
a model; printed are the ids that follow a prompt."""

import json
import os
import sys
from pathlib import Path

from cffi import FFI

ffi = FFI()
ffi.cdef(Path(sys.argv[1]).read_text())
facts = json.loads(Path(sys.argv[2]).read_text())
library = ffi.dlopen(sys.argv[3])
for name, value in facts["constants"].items():
    # Version numbers are macros, which a preprocessor eats.
    assert "VERSION_M" in name or "VERSION_P" in name or "ABI_VERSION" in name or getattr(library, name) == value, name
for name, struct in facts["structs"].items():
    assert ffi.sizeof(name) == struct["size"], name
    for field in struct["fields"]:
        assert ffi.offsetof(name, field["name"]) == field["offset"], (name, field)
for name in facts["functions"]:
    getattr(library, name)


def ok(status: int) -> None:
    if status != library.ORTSHARD_OK:
        raise RuntimeError(ffi.string(library.ortshard_last_error()).decode())


def made(function, *arguments):
    kind = ffi.typeof(function).args[-1].item.cname
    place = ffi.new(f"{kind} *".replace("* *", "**"))
    ok(function(*arguments, place))
    return place[0]


engine = made(library.ortshard_engine_create, ffi.NULL)
spec = ffi.new("ortshard_shard_spec *")
ok(library.ortshard_shard_spec_init(spec, ffi.sizeof(spec[0])))
model = ffi.new("char[]", sys.argv[4].encode())
spec.model = model
shard = made(library.ortshard_engine_ensure_shard, engine, spec, ffi.NULL, ffi.NULL)
request = made(library.ortshard_request_create, shard, ffi.NULL)
ids, following = [int(id) for id in os.environ["TEST_PROMPT"].split(",")], []
while len(following) < 8:
    id = ffi.new("int64_t *")
    ok(library.ortshard_request_sample(request, ids, len(ids), ffi.NULL, id))
    ids = [id[0]]
    following += ids
print(",".join(map(str, following)))
library.ortshard_request_free(request)
library.ortshard_shard_free(shard)
library.ortshard_engine_free(engine)
