"""The package is whole: everything of the C interface is reachable, documented and typed, and the wheel says what it needs."""

import ast
import doctest
import importlib
import importlib.metadata
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
from conftest import TOP, python

import ortshard

FACTS = json.loads((TOP / "include/ortshard.json").read_text())
SOURCES = [path for path in Path(ortshard.__file__).parent.glob("*.py") if path.name != "_abi.py"]

# What Python has in another way.
LEFT_OUT = {
    "ortshard_last_error": "ortshard_error_message() with NULL tells the same",
    "ortshard_status_name": "Status has the names",
    "ortshard_generation_run": "Generation.run() is a loop of Python's, as exceptions go through it",
    "ortshard_tokenizer_encode": "ortshard_tokenizer_encode_texts() of one",
    "ortshard_tokenizer_apply_chat_template": "ortshard_tokenizer_chat_text() takes such messages, too",
}


def test_every_function_is_called():
    text = "\n".join(path.read_text() for path in SOURCES)
    for name in FACTS["functions"]:
        called = name in text or name.endswith(("_init", "_free")) or name in LEFT_OUT
        assert called, f"{name} is in the header, and not in the package"


def test_every_status_and_option_is_there():
    for name, value in FACTS["constants"].items():
        if name.startswith("ORTSHARD_ERROR_"):
            assert ortshard.errors.kind_of(value).__name__ not in ("Error", "ArgumentError", "SourceError", "StateError"), name
    assert ortshard.errors.kind_of(499) is ortshard.ResourceError and ortshard.errors.kind_of(777) is ortshard.Error
    for name, struct in FACTS["structs"].items():
        if name.endswith("_options"):
            typed = getattr(ortshard._abi, "".join(part.capitalize() for part in name.removeprefix("ortshard_").split("_")))
            # The devices of a plan are an argument of their own.
            fields = {field["name"] for field in struct["fields"]} - {"struct_size", "fetch_user_data", "devices"}
            counts = {name for name in fields if name.endswith("_count")}
            assert set(typed.__annotations__) == fields - counts, name


def test_every_public_thing_is_documented():
    for name in dir(ortshard):
        thing = getattr(ortshard, name)
        if name.startswith("_") or inspect.ismodule(thing) or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        assert inspect.getdoc(thing), name
        for method, function in vars(thing).items() if inspect.isclass(thing) else ():
            if not method.startswith("_") and (inspect.isfunction(function) or isinstance(function, (property, classmethod))):
                assert inspect.getdoc(getattr(thing, method)), f"{name}.{method}"
    assert "how many of the largest logits" in (ortshard.SamplerOptions.__doc__ or "").lower()


@pytest.mark.parametrize("module", [path.stem for path in SOURCES if not path.stem.startswith("__")])
def test_doctests(module):
    failed, _ = doctest.testmod(importlib.import_module(f"ortshard.{module}"))
    assert failed == 0


@pytest.mark.parametrize("page", ["README.md", "python/README.md", "docs/python.md"])
def test_programs_in_documents_run(page):
    path = TOP / page
    programs = re.findall(r"```python\n(.*?)```", path.read_text() if path.exists() else "", re.DOTALL)
    for program in programs:
        done = python(f"import os; os.chdir({str(TOP)!r})\n{program}")
        assert done.returncode == 0, f"{page}: {done.stderr}"
        assert len(done.stdout) > 100 or "print" not in program, done.stdout


def test_it_needs_numpy_and_onnxruntime_only():
    known = {"ortshard", "numpy", *sys.stdlib_module_names}
    lazily = {"tqdm"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in known | lazily | {"typing_extensions"}, f"{path.name} imports {name}"
    # Of what is imported at once, nothing else: typing_extensions is for type checkers.
    code = "import sys, ortshard\nprint([name for name in ('typing_extensions', 'tqdm', 'onnxruntime', 'torch') if name in sys.modules])"
    assert python(code).stdout == "[]\n"


def installed():
    try:
        return importlib.metadata.distribution("ortshard")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed from a wheel")


def test_the_wheel_says_what_it_needs():
    distribution = installed()
    assert distribution.version == ortshard.__version__
    needed = [re.match(r"[\w-]+", name)[0] for name in distribution.requires or [] if "extra ==" not in name]
    assert sorted(needed) == ["numpy", "onnxruntime"]
    names = {Path(str(file)).name for file in distribution.files or []}
    assert {"py.typed", "_abi.py", "libortshard.so", "LICENSE-MIT", "LICENSE-APACHE"} <= names
    tag = re.search(r"^Tag: (.*)$", distribution.read_text("WHEEL") or "", re.MULTILINE)[1]
    library = Path(ortshard.__file__).parent / "libortshard.so"
    glibc = max(int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", library.read_bytes()))
    found = re.fullmatch(r"py3-none-manylinux_2_(\d+)_x86_64", tag)
    assert found and int(found[1]) >= glibc, (tag, glibc)
