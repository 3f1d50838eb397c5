"""Builds the wheel: the package, the C library as cargo releases it, and _abi.py, which is made of the library's description.

One wheel serves every Python, since the library is called by ctypes. Its tag names the glibc that the library was linked with.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
CARGO = os.environ.get("CARGO", "cargo")
NAME = {"darwin": "libortshard.dylib", "win32": "ortshard.dll"}.get(sys.platform, "libortshard.so")
sys.path.insert(0, str(HERE))
from generate_abi import generate


def library() -> Path:
    """The one that ORTSHARD_LIBRARY names, or cargo's, which is built here."""
    if os.environ.get("ORTSHARD_LIBRARY"):
        return Path(os.environ["ORTSHARD_LIBRARY"])
    subprocess.run([CARGO, "build", "--release", "--locked"], cwd=TOP, check=True)
    return Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")) / "release" / NAME


def version() -> str:
    found = re.search(r'^version = "([^"]+)"', (TOP / "Cargo.toml").read_text("utf-8"), re.MULTILINE)
    assert found, "Cargo.toml has no version"
    return found[1]


def needed_glibc(library: Path) -> int:
    """The N of the newest GLIBC_2.N that the library was linked with."""
    return max((int(minor) for minor in re.findall(rb"\0GLIBC_2\.(\d+)", library.read_bytes())), default=17)


class Build(build_py):
    """The Python files, and what is made or copied beside them."""

    def run(self) -> None:
        # What a former build left would come along.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        package = HERE / "ortshard" if self.editable_mode else Path(self.build_lib) / "ortshard"
        (package / "_abi.py").write_text(generate(TOP / "include"), "utf-8")
        placed = package / NAME
        shutil.copyfile(library(), placed)
        if sys.platform == "linux" and shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", placed], check=True)
        for licence in TOP.glob("LICENSE*"):
            shutil.copyfile(licence, package / licence.name)
        # Those of all that is linked into the library, where they can be collected.
        script = TOP / "tools/install/licences.py"
        if script.exists() and shutil.which(CARGO):
            subprocess.run([sys.executable, script, "--out", package / "THIRD-PARTY.txt"], cwd=TOP, check=True)


class Wheel(bdist_wheel):
    """A wheel for one platform and any Python 3."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        found = list(Path(self.bdist_dir).rglob("libortshard.so"))
        if platform.startswith("linux_") and found:
            # The manylinux policies begin at 2.17; 2.28 is the one that wheels are usually made for.
            platform = f"manylinux_2_{max(needed_glibc(found[0]), 28)}_{platform.removeprefix('linux_')}"
        return "py3", "none", platform


class Binary(Distribution):
    def has_ext_modules(self) -> bool:
        return True


BUILD = TOP / "target/python"
BUILD.mkdir(parents=True, exist_ok=True)
PLACES = {"build": {"build_base": str(BUILD / "build")}, "egg_info": {"egg_base": str(BUILD)}}

setup(options=PLACES, version=version(), distclass=Binary, cmdclass={"build_py": Build, "bdist_wheel": Wheel})
