"""Makes ortshard/_abi.py of include/ortshard.json, which has the layouts, and include/ortshard.h, which has the words.

setup.py calls it at each build, so that no struct, constant or option is typed twice, and what a later library has comes along.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

# Python's name where it is not the C name in CamelCase.
RENAMED = {
    "ortshard_dtype": "DType",
    "ortshard_device_kind": "Device",
    "ortshard_status_code": "Status",
    "ortshard_engine_estimate": "Estimate",
    "ortshard_file": "ModelFile",
    "ortshard_shard_spec": "ShardSpec",
}
SCALARS = {
    "int32_t": "c_int32",
    "uint32_t": "c_uint32",
    "int64_t": "c_int64",
    "uint64_t": "c_uint64",
    "size_t": "c_size_t",
    "double": "c_double",
    "float": "c_float",
    "const char *": "c_char_p",
}
# Options that hold other options' structs, or lists of something that is no number.
LISTS = {"const int64_t *": "Sequence[int]", "const char *const *": "Sequence[str]", "const ortshard_bias *": "Biases"}

HEAD = '''"""Constants, layouts, options and descriptions of the C interface. Made by generate_abi.py; do not edit."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypedDict

#: A text. A path becomes one, and lists and mappings become JSON.
Text = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any] | None
#: Numbers added to logits: of single tokens, {id: bias}, or of sequences of tokens, [(ids, bias), ...].
Biases = Mapping[int, float] | Sequence[tuple[Sequence[int], float]]
#: Brings a file of a model here: given model, revision and file, it returns the file's path or raises FileNotFoundError.
Fetch = Callable[[str, str | None, str], str | os.PathLike[str]]
'''


def python_name(name: str) -> str:
    """`ortshard_shard_info` is ShardInfo."""
    return RENAMED.get(name) or "".join(part.capitalize() for part in name.removeprefix("ortshard_").split("_"))


def prefix_of(names: list[str]) -> str:
    """What the constants of an enum begin with, up to the last `_` they share."""
    first, last = min(names), max(names)
    shared = next((i for i, pair in enumerate(zip(first, last)) if pair[0] != pair[1]), len(first))
    return first[: first.rindex("_", 0, shared) + 1]


class Header:
    """The documentation comments of ortshard.h."""

    def __init__(self, text: str) -> None:
        self.text = text

    def before(self, pattern: str, within: str | None = None) -> str:
        """The comment in front of what `pattern` matches, as one paragraph after another; "" if there is none."""
        text = self.text if within is None else within
        found = re.search(r"/\*\*((?:(?!\*/).)*)\*/\s*" + pattern, text, re.DOTALL)
        if not found:
            return ""
        lines = [re.sub(r"^\s*\* ?", "", line).rstrip() for line in found[1].strip().splitlines()]
        return "\n".join(lines).strip()

    def body(self, keyword: str, name: str) -> str:
        """What stands between the braces of a struct or enum."""
        found = re.search(rf"{keyword} {name} \{{(.*?)\n\}}", self.text, re.DOTALL)
        return found[1] if found else ""


class Words:
    """Puts Python's names into the header's sentences."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.names = {}
        for enum, members in facts["enums"].items():
            prefix = enum_prefix(enum, members)
            self.names[f"{prefix}*"] = f"`{python_name(enum)}`"
            for member in members:
                self.names[member] = f"`{python_name(enum)}.{member.removeprefix(prefix)}`"
        self.names |= {"ORTSHARD_NO_ID": "None", "ORTSHARD_NO_LAYER": "None", "ORTSHARD_LAST_LAYER": "None", "NULL": "None"}
        self.kinds = sorted((name.removeprefix("ortshard_") for name in facts["handles"]), key=len, reverse=True)

    def python(self, text: str) -> str:
        """`text` with Python's names."""
        text = re.sub(r"ORTSHARD_[A-Z0-9_]*[A-Z0-9](?:_\*)?|\bNULL\b", lambda m: self.names.get(m[0], m[0]), text)
        text = re.sub(r"\bNot 0:", "True:", text)
        text = re.sub(r"\b([Aa])n? (`\w+`) constant", lambda m: ("One of " if m[1] == "A" else "one of ") + m[2], text)
        text = re.sub(r"ortshard_(\w+)\(\)", lambda m: self.function(m[1]), text)
        return re.sub(r"ortshard_(\w+_(?:options|info))(?:'s)?", lambda m: python_name(m[0].removesuffix("'s")), text)

    def function(self, name: str) -> str:
        for kind in self.kinds:
            if name.startswith(kind + "_"):
                return f"{python_name(kind)}.{name.removeprefix(kind + '_').removeprefix('get_')}()"
        return f"{name.replace('_get', '')}()"


def enum_prefix(name: str, members: list[str]) -> str:
    """Statuses are the only enum whose members begin in two ways."""
    return "ORTSHARD_ERROR_" if name == "ortshard_status_code" else prefix_of(members)


def wrapped(text: str) -> str:
    """A point of a list on lines of a readable length."""
    return textwrap.fill(text, 110, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def docstring(text: str, indent: str = "    ") -> str:
    """`text` as a docstring."""
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    lines = [f"{indent}{line}".rstrip() for line in text.splitlines()]
    lines[0] = f'{indent}"""{lines[0].strip()}'
    closing = '"""' if len(lines) == 1 else f'\n{indent}"""'
    return "\n".join(lines) + closing


class Generator:
    """Writes the module."""

    def __init__(self, json_text: str, header: str) -> None:
        self.facts: dict[str, Any] = json.loads(json_text)
        self.header = Header(header)
        self.words = Words(self.facts)
        self.prefixes: dict[str, str] = {enum_prefix(name, members): name for name, members in self.facts["enums"].items()}
        self.out = [HEAD]

    def module(self) -> str:
        for name, members in self.facts["enums"].items():
            self.enum(name, members)
        for name in self.facts["structs"]:
            self.layout(name)
        infos = [name for name in self.facts["structs"] if self.is_given(name)]
        for name in infos:
            self.description(name)
        for name, struct in self.facts["structs"].items():
            if (struct["has_init"] or name == "ortshard_plan_device") and not self.is_given(name) and name != "ortshard_oom":
                self.options(name)
        self.tables()
        public = re.findall(r"^class ([A-Z]\w+)\((?:IntEnum|TypedDict)|^class ([A-Z]\w+):", "\n".join(self.out), re.MULTILINE)
        names = sorted(first or second for first, second in public)
        self.out.insert(1, "__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + "]")
        return "\n\n".join(self.out) + "\n"

    def is_given(self, name: str) -> bool:
        """Whether the library fills the struct, which Python then has as a dataclass."""
        texts = {"ortshard_progress", "ortshard_file", "ortshard_logprob", "ortshard_chat_event", "ortshard_step", "ortshard_plan_stage"}
        filled = name.endswith(("_info", "_stats", "_estimate")) or name == "ortshard_boundary"
        return name in texts or filled

    def doc(self, name: str, field: str) -> str:
        return self.header.before(rf"[\w\s*]+\b{field}(?:\[\d+\])?;", self.header.body("struct", name))

    def enum_of(self, name: str, field: dict[str, Any]) -> str | None:
        """The enum that an int32_t field takes, as its documentation says."""
        if field["type"] != "int32_t":
            return None
        if field["name"].endswith("dtype"):
            return "ortshard_dtype"
        for found in re.finditer(r"ORTSHARD_[A-Z0-9]+_", self.doc(name, field["name"])):
            if found[0] in self.prefixes:
                return self.prefixes[found[0]]
        return None

    def enum(self, name: str, members: list[str]) -> None:
        prefix, body = enum_prefix(name, members), self.header.body("enum", name)
        about = [self.header.before(f"enum {name} ") or name]
        lines = []
        for member in members:
            short = member.removeprefix(prefix).removeprefix("ORTSHARD_")
            short = f"_{short}" if short[0].isdigit() else short
            lines.append(f"    {short} = {self.facts['constants'][member]}")
            words = " ".join(self.header.before(rf"{member} =", body).split())
            about.append(wrapped(self.words.python(f"- {short}: {words}")))
        text = docstring(self.words.python(about[0]) + "\n\n" + "\n".join(about[1:]))
        self.out.append(f"\nclass {python_name(name)}(IntEnum):\n{text}\n\n" + "\n".join(lines))

    def ctype(self, kind: str) -> str:
        kind = self.facts["aliases"].get(kind, kind)
        array = re.fullmatch(r"(\w+)\[(\d+)\]", kind)
        if array:
            return f"{'c_char' if array[1] == 'char' else SCALARS[array[1]]} * {array[2]}"
        return SCALARS.get(kind, "c_void_p")

    def layout(self, name: str) -> None:
        fields = self.facts["structs"][name]["fields"]
        lines = [f'        ("{field["name"]}", {self.ctype(field["type"])}),' for field in fields]
        types = "".join(f"    {field['name']}: Any\n" for field in fields)
        body = "    _fields_ = [\n" + "\n".join(lines) + "\n    ]"
        self.out.append(f"\nclass {name}(ctypes.Structure):\n{types}\n{body}")

    def attributes(self, name: str, fields: list[dict[str, Any]]) -> str:
        about = self.header.before(rf"typedef struct {name} ") or name
        # What is C's alone: lifetimes, since Python copies, and initialisers.
        about = re.sub(
            r"(?:^|(?<=\.)\s)[^.]*(?:Its layout is final|during\s+the\s+call|until|for the length of|as long as|_INIT\b)[^.]*(?:\.|$)",
            "",
            about,
        )
        about = about.replace("All zero but struct_size:", "Without any:")
        lines = []
        for field in fields:
            words = " ".join(self.doc(name, field["name"]).split())
            lines.append(wrapped(self.words.python(f"- {field['name']}: {words}")))
        return docstring(self.words.python(about) + "\n\n" + "\n".join(lines))

    def description(self, name: str) -> None:
        """A dataclass of a struct that the library fills, and in GIVEN how each of its fields is read."""
        fields, readers, lines = [], [], []
        facts = self.facts["structs"][name]["fields"]
        names = {field["name"] for field in facts}
        lengths = {"length", "size", "text_length"} if name != "ortshard_file" else set()
        for field in facts:
            short, kind = field["name"], field["type"]
            if (
                short == "struct_size"
                or (short in lengths and "const char *" in {f["type"] for f in facts})
                or short == "best_count"
            ):
                continue
            enum = self.enum_of(name, field)
            if enum:
                annotation, reader = f"{python_name(enum)} | int", f"enum:{python_name(enum)}"
            elif kind.startswith("char["):
                annotation, reader = "str", "chars"
            elif kind == "const char *":
                length = next((n for n in (f"{short}_length", "length") if n in names and short == "text"), "")
                annotation, reader = ("str", f"text:{length}") if length else ("str | None", "string")
                if name == "ortshard_chat_event":
                    annotation = "str" if short == "text" else "str | None"
            elif kind == "const ortshard_logprob *":
                annotation, reader = "tuple[Logprob, ...]", "logprobs"
            elif kind in ("double", "float"):
                annotation, reader = "float", "number"
            elif short.startswith(("is_", "can_")):
                annotation, reader = "bool", "bool"
            elif re.search("ORTSHARD_NO_(ID|LAYER)", self.doc(name, short)):
                annotation, reader = "int | None", "optional"
            else:
                annotation, reader = "int", "number"
            fields.append(field)
            lines.append(f"    {short}: {annotation}")
            readers.append(f'        ("{short}", "{reader}"),')
        text = self.attributes(name, fields)
        self.out.append(
            f"\n@dataclass(frozen=True)\nclass {python_name(name)}:\n{text}\n\n" + "\n".join(lines) + "\n\n"
            f"    _layout = {name}\n    _readers = (\n" + "\n".join(readers) + "\n    )"
        )

    def options(self, name: str) -> None:
        """A TypedDict of a struct that a program fills."""
        fields, lines = [], []
        facts = self.facts["structs"][name]["fields"]
        names = [field["name"] for field in facts]
        for field in facts:
            short, kind = field["name"], field["type"]
            counts = short.endswith("_count") and any(n.rstrip("es") == short[:-6].rstrip("es") for n in names if n != short)
            if short in ("struct_size", "fetch_user_data") or (counts and kind == "size_t"):
                continue
            enum = self.enum_of(name, field)
            if enum:
                annotation = f"{python_name(enum)} | str | int"
            elif (name, short) in (("ortshard_shard_spec", "model"), ("ortshard_plan_options", "devices")):
                continue
            elif kind == "const char *":
                annotation = "Text"
            elif kind in LISTS:
                annotation = LISTS[kind]
            elif kind.removeprefix("const ").removesuffix(" *") in self.facts["handles"]:
                annotation = "Any"
            elif kind.startswith("const ortshard_"):
                annotation = f"{python_name(kind.removeprefix('const ').removesuffix(' *'))} | None"
            elif kind == "ortshard_fetch_callback":
                annotation = "Fetch | None"
            elif kind in ("float", "double"):
                annotation = "float"
            else:
                annotation = "int"
            fields.append(field)
            lines.append(f"    {short}: {annotation}")
        text = self.attributes(name, fields)
        self.out.append(f"\nclass {python_name(name)}(TypedDict, total=False):\n{text}\n\n" + "\n".join(lines))

    def tables(self) -> None:
        constants = {n.removeprefix("ORTSHARD_"): v for n, v in self.facts["constants"].items()}
        members = {member for enum in self.facts["enums"].values() for member in enum}
        plain = [f"{name} = {value}" for name, value in constants.items() if f"ORTSHARD_{name}" not in members]
        self.out.append("\n" + "\n".join(plain))
        layouts, kinds = [], []
        for name, struct in self.facts["structs"].items():
            offsets = {field["name"]: field["offset"] for field in struct["fields"]}
            defaults = {f["name"]: self.default(f["default"]) for f in struct["fields"] if "default" in f}
            layouts.append(f'    "{name}": ({name}, {struct["size"]}, {offsets}, {struct["has_init"]}, {defaults}),')
            for field in struct["fields"]:
                enum = self.enum_of(name, field)
                types = f'"{field["type"]}", {python_name(enum) if enum else None}'
                kinds.append(f'    ("{name}", "{field["name"]}"): ({types}),')
        self.out.append(
            "#: Of each struct: its class, size, offsets, whether it has an initialiser, and defaults that are not zero."
        )
        self.out.append(
            "LAYOUTS: dict[str, tuple[type[ctypes.Structure], int, dict[str, int], bool, dict[str, float]]] = {\n"
            + "\n".join(layouts)
            + "\n}"
        )
        self.out.append("#: Of each field: its C type, and the enum it takes.")
        self.out.append("FIELDS: dict[tuple[str, str], tuple[str, type[IntEnum] | None]] = {\n" + "\n".join(kinds) + "\n}")
        functions = []
        for name, facts in self.facts["functions"].items():
            parameters = ", ".join(self.parameter(kind) for _, kind in facts["parameters"])
            result = "None" if facts["result"] == "void" else self.ctype(facts["result"])
            status = facts["result"] == "ortshard_status"
            functions.append(f'    "{name}": ({result}, [{parameters}], {status}),')
        self.out.append("#: Of each function: its result, its parameters, and whether the result is a status.")
        self.out.append("FUNCTIONS: dict[str, tuple[Any, list[Any], bool]] = {\n" + "\n".join(functions) + "\n}")
        callbacks = []
        for name, facts in self.facts["callbacks"].items():
            takes = [self.ctype(kind) for _, kind in facts["parameters"]]
            result = "None" if facts["result"] == "void" else self.ctype(facts["result"])
            callbacks.append(f"{name} = ctypes.CFUNCTYPE({', '.join([result, *takes])})")
        self.out.append("\n".join(callbacks))

    def default(self, text: str) -> float:
        value = self.facts["constants"].get(text, text)
        return float(value) if "." in str(value) else int(value)

    def parameter(self, kind: str) -> str:
        return "c_void_p" if kind in self.facts["callbacks"] else self.ctype(kind)


def generate(include: Path) -> str:
    """The text of _abi.py for the header and JSON in the folder `include`."""
    return Generator((include / "ortshard.json").read_text("utf-8"), (include / "ortshard.h").read_text("utf-8")).module()


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    (here / "ortshard/_abi.py").write_text(generate(here.parent / "include"), "utf-8")
