"""Make a folder that runs the tests and benchmarks of a GPU on a machine with no compiler, no Rust and no network.

    python3 tools/device/make_gpu_suite.py [--out target/gpu-suite]
    target/gpu-suite/run [--device cuda]

The folder may be moved and copied. It holds the program of all tests, of which `tests/on_device.txt` is run, the C programs, the library as
it is released, models and what transformers answered for them, and, if `make onnxruntime-gpu` has fetched it, ONNX Runtime
with CUDA. Without that (`--runtime none`) it is small, `tar -cJf` makes 16 MB of it, and needs an ONNX Runtime there:
ORTSHARD_ONNXRUNTIME names it, or python3 has the package onnxruntime-gpu. The target needs NVIDIA's driver and, for the
benchmarks, python3 with numpy.
"""

import argparse
import json
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "target"
# Copied as they are. Of the tokenizers the tests of devices use one.
COPIED = (
    "tests/on_device.txt",
    "tests/models",
    "tests/tokenizers/qwen",
    "models/stories",
    "tools/device",
    "tools/bench",
    "include/ortshard.h",
    "include/ortshard.json",
)
# As tests/suite/c/mod.rs compiles them.
CFLAGS = ("-std=c11", "-D_XOPEN_SOURCE=700", "-O1")
RUN = '#!/bin/sh\nexec "$(dirname "$0")/tools/device/run_on_device.sh" "$@"\n'


def built() -> Path:
    """The program of all tests, built by cargo."""
    command = [os.environ.get("CARGO", "cargo"), "test", "--locked", "--no-run", "--message-format=json-render-diagnostics"]
    command += ["--test", "suite"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = map(json.loads, done.stdout.splitlines())
    return next(Path(m["executable"]) for m in messages if m.get("executable") and m["target"]["name"] == "suite")


def strip(program: Path, out: Path) -> None:
    """A copy without debugging symbols, which are most of it."""
    subprocess.run(["strip", "-o", out, program], check=True)


def compile_c(source: Path, out: Path) -> None:
    """A C program that finds libortshard in the folder, wherever that lies."""
    command = [os.environ.get("CC", "cc"), *CFLAGS, "-I", ROOT / "include", "-I", ROOT / "c_tests", source, "-o", out]
    command += ["-L", out.parent.parent / "lib", "-lortshard", "-lpthread", "-lm", "-ldl", "-Wl,-rpath,$ORIGIN/../lib"]
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TARGET / "gpu-suite")
    parser.add_argument("--runtime", type=Path, default=TARGET / "onnxruntime-gpu", help="libraries to copy, if there")
    options = parser.parse_args()
    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    for folder in ("bin", "c", "lib"):
        (out / folder).mkdir(parents=True)

    strip(TARGET / "release/libortshard.so", out / "lib/libortshard.so.0")
    (out / "lib/libortshard.so").symlink_to("libortshard.so.0")
    for library in options.runtime.glob("lib*.so*"):
        shutil.copy2(library, out / "lib")
    strip(built(), out / "bin/suite")
    for source in sorted((ROOT / "c_tests").glob("*/*.c")):
        if source.stem not in ("two_units", "handles"):  # half of it is C++; half of it is made by the tests
            compile_c(source, out / "c" / source.stem)
    for name in ("devices", "generate"):
        compile_c(ROOT / "examples" / f"{name}.c", out / "bin" / name)
    for path in COPIED:
        source, copy = ROOT / path, out / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy)
    run = out / "run"
    run.write_text(RUN)
    run.chmod(0o755)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"{out} has {size / 1e6:.0f} MB; run {out}/run")


if __name__ == "__main__":
    main()
