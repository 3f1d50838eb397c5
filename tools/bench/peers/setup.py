"""What the peers need, made once and kept in a cache folder: a venv, llama.cpp, and the model converted for each.

Each step looks for what it makes and does nothing if that is there; its output goes to a log in the cache.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]
REQUIREMENTS = BENCH / "requirements.txt"
# The shape that onnxruntime-genai is measured with, too: its builder knows few others.
MAIN_SHAPE = "qwen2.5-0.5b"
# Shapes whose experts are published in four-bit floats.
FOUR_BIT_SHAPES = ("gpt-oss-20b",)
# The source package of llama.cpp's Python binding holds llama.cpp itself.
BINDING = "0.3.36"
BINDING_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
LLAMA_CPP_OPTIONS = {"CMAKE_BUILD_TYPE": "Release", "BUILD_SHARED_LIBS": "ON", "GGML_NATIVE": "ON"}
# Programs, tests and what only they need. All that decides how fast the library is stays llama.cpp's default.
PARTS = ("APP", "COMMON", "EXAMPLES", "SERVER", "TESTS", "TOOLS")
LLAMA_CPP_OPTIONS |= {f"LLAMA_BUILD_{part}": "OFF" for part in PARTS}
GENAI_BUILD = {"block_size": "32", "accuracy_level": "4", "hf_token": "false"}
# A model without a tokenizer gets one of a single word: the builder copies it, and nothing reads it.
TOKENIZER = {
    "tokenizer.json": {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
    },
    "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"},
}


@dataclass(frozen=True)
class Peers:
    """Where everything lies."""

    python: Path
    binding: Path
    llama_cpp: Path
    memory: Path
    models: Path


def run(what: str, command: list[str | Path], log: Path, **environment: str) -> None:
    """Runs a step; if it fails, shows the end of its log and stops."""
    print(f"  {what}", flush=True)
    with log.open("wb") as out:
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment).returncode
    if status:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        sys.exit("\n".join([*tail, f"failed: {what}; the whole log is {log}"]))


def compiler(variable: str, default: str) -> str:
    """The compiler that the environment names, or the system's."""
    command = os.environ.get(variable, default)
    if not shutil.which(command.split()[0]):
        sys.exit(f"no compiler {command}: install one for C and C++ (gcc or clang), or name it in CC and CXX")
    return command


def venv(cache: Path) -> Path:
    """The Python that has the pinned packages. Pip's own settings apply: with an index of processor-only builds of
    torch it is much smaller."""
    folder = cache / "venv"
    python = folder / "bin/python"
    done = folder / f"ready-{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    if not done.exists():
        run("making a venv", [sys.executable, "-m", "venv", folder], cache / "venv.log")
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "-r", REQUIREMENTS]
        run("installing onnxruntime-genai and its model builder (several GB)", pip, cache / "pip.log")
        done.touch()
    return python


def binding(cache: Path, python: Path) -> Path:
    """The unpacked source package of the binding."""
    folder = cache / f"llama_cpp_python-{BINDING}"
    if folder.exists():
        return folder
    requirement = cache / "llama-cpp-python.txt"
    requirement.write_text(f"llama-cpp-python=={BINDING} --hash=sha256:{BINDING_SHA256}\n")
    pip = [python, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    pip += ["--no-binary", "llama-cpp-python", "-d", cache, "-r", requirement]
    run("fetching llama.cpp", pip, cache / "fetch-llama.log")
    part = cache / "llama.part"
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(cache / f"llama_cpp_python-{BINDING}.tar.gz") as archive:
        archive.extractall(part, filter="data")
    (part / folder.name).rename(folder)
    part.rmdir()
    return folder


def llama_cpp(cache: Path, python: Path, source: Path, jobs: int) -> Path:
    """The folder with libllama, compiled for this processor. An interrupted build goes on where it stopped."""
    build = cache / f"llama.cpp-build-{BINDING}"
    done = build / "ready"
    if not done.exists():
        tools = python.parent
        compilers = {"CC": compiler("CC", "cc"), "CXX": compiler("CXX", "c++")}
        configure = [tools / "cmake", "-G", "Ninja", "-S", source / "vendor/llama.cpp", "-B", build]
        configure += [f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"]
        configure += [f"-D{name}={value}" for name, value in LLAMA_CPP_OPTIONS.items()]
        run("configuring llama.cpp", configure, cache / "llama-configure.log", **compilers)
        make = [tools / "cmake", "--build", build, "--target", "llama", "--parallel", str(jobs)]
        run("compiling llama.cpp (minutes)", make, cache / "llama-build.log", **compilers)
        done.touch()
    return build / "bin"


def memory(cache: Path) -> Path:
    """The library that measures how fast memory is read."""
    source = BENCH / "peers/memory.c"
    library = cache / f"memory-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}.so"
    if not library.exists():
        native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
        command = [*compiler("CC", "cc").split(), "-std=gnu11", "-O3", native, "-pthread", "-shared", "-fPIC"]
        run("compiling the memory test", [*command, source, "-o", library], cache / "memory.log")
    return library


def weights(model: Path) -> Path:
    """The first of the model's files of weights."""
    return min(model.glob("*.safetensors"))


def fingerprint(model: Path) -> str:
    """Tells models apart: their config and the begin of their weights."""
    with weights(model).open("rb") as file:
        begin = file.read(1 << 20)
    return hashlib.sha256((model / "config.json").read_bytes() + begin).hexdigest()[:12]


def random_model(python: Path, model: Path, shape: str, layers: int | None, cache: Path) -> None:
    """The model, if it is not there."""
    if (model / "config.json").exists():
        return
    tool = [python, BENCH / "make_random_model.py", "--shape", shape, "--dtype", "bf16", "--out", model]
    tool += ["--layers", str(layers)] if layers else []
    run(f"writing the random model {model}", tool, cache / "model.log")


def gguf(peers: Peers, model: Path, shape: str, logs: Path) -> None:
    """The model as llama.cpp reads it, in bf16 and quantised. What is published in four-bit floats stays so."""
    tool = [peers.python, BENCH / "peers/convert_gguf.py"]
    libraries = ["--library", peers.llama_cpp, "--binding", peers.binding]
    source = peers.models / "bf16.gguf"
    quantised = [("q8_0", ["q8_0"]), ("q4_0", ["q4_0"]), ("q4_0-pure", ["q4_0", "--pure"])]
    if shape in FOUR_BIT_SHAPES:
        quantised = [("mxfp4", ["mxfp4"])]
    made = [(name, ["--quantize", *arguments, *libraries, source]) for name, arguments in quantised]
    for name, arguments in [("bf16", [model]), *made]:
        out, part = peers.models / f"{name}.gguf", peers.models / f"{name}.part"
        if not out.exists():
            packages = f"{peers.binding / 'vendor/llama.cpp/gguf-py'}:{BENCH}"
            command = [*tool, *arguments, part]
            run(f"converting the model: GGUF {name}", command, logs / f"gguf-{name}.log", PYTHONPATH=packages)
            part.rename(out)


def genai(peers: Peers, model: Path, logs: Path) -> None:
    """The model as onnxruntime-genai's builder makes it: int4, with logits of all tokens or of the last one only."""
    source = peers.models / "genai-source"
    for name, prune in [("genai-int4", "true"), ("genai-int4-all-logits", "false")]:
        out, part = peers.models / name, peers.models / f"{name}.part"
        if out.exists():
            continue
        shutil.rmtree(source, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)
        source.mkdir()
        for file in ("config.json", "model.safetensors"):
            (source / file).symlink_to((model / file).resolve())
        for file, content in TOKENIZER.items():
            (source / file).write_text(json.dumps(content))
        command = [peers.python, "-m", "onnxruntime_genai.models.builder", "-p", "int4", "-e", "cpu"]
        command += ["-i", source, "-o", part, "-c", peers.models / "genai-scratch", "--extra_options"]
        command += [f"{key}={value}" for key, value in (GENAI_BUILD | {"prune_lm_head": prune}).items()]
        what = f"building the model: {name}"
        run(what, command, logs / f"{name}.log", HF_HUB_OFFLINE="1", PYTHONPATH="")
        part.rename(out)


def prepare(cache: Path, model: Path, shape: str, layers: int | None, jobs: int) -> Peers:
    """Makes whatever is not in the cache yet."""
    cache.mkdir(parents=True, exist_ok=True)
    python = venv(cache)
    random_model(python, model, shape, layers, cache)
    models = cache / "models" / f"{model.name}-{fingerprint(model)}"
    models.mkdir(parents=True, exist_ok=True)
    source = binding(cache, python)
    peers = Peers(python, source, llama_cpp(cache, python, source, jobs), memory(cache), models)
    gguf(peers, model, shape, cache)
    if shape == MAIN_SHAPE:
        genai(peers, model, cache)
    return peers
