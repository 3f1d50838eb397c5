"""Fetch libonnxruntime once, from the `onnxruntime` wheel, with pip.

The wheel is pinned by version and sha256, and only the library in it is unpacked. ORTSHARD_ONNXRUNTIME names a library
to use instead; then nothing is fetched. Needs nothing but Python 3 with pip.

    python3 tools/setup/fetch_onnxruntime.py [--version 1.31.1] [--out target/onnxruntime]
    python3 tools/setup/fetch_onnxruntime.py --gpu [--out target/onnxruntime-gpu]
    python3 tools/setup/fetch_onnxruntime.py --licences --out target/onnxruntime-licensed

With --licences the texts that go with the library when it is passed on are unpacked, too, and ORTSHARD_ONNXRUNTIME is
not looked at.

With --gpu it is the library of the `onnxruntime-gpu` wheel with its CUDA provider, and beside it CUDA's libraries, which
the provider is linked with: 0.8 GB to download, 1.2 GB unpacked. Nothing of the system is needed then but NVIDIA's driver.
What is there already is not fetched again, so an attempt that broke off goes on where it was.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

# Each release ships one library per platform, whatever Python its wheel is for; cp312 wheels exist for all of these.
LINUX_X86 = ("manylinux_2_27_x86_64", "manylinux_2_28_x86_64")
LINUX_ARM = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
MAC_ARM = ("macosx_13_0_arm64", "macosx_14_0_arm64")
SHA256 = {
    ("1.22.1", LINUX_X86): "2d39a530aff1ec8d02e365f35e503193991417788641b184f5b1e8c9a6d5ce8d",
    ("1.24.1", LINUX_X86): "34b6119526eda12613f0d0498e2ae59563c247c370c9cef74c2fc93133dde157",
    ("1.27.0", LINUX_X86): "7c65a7438632d55dfbc8a02ee60bd6cf7dd9d1ba05a43d4b851452f32338e194",
    ("1.30.0", LINUX_X86): "fa688e7891a6aa206636fe7372e27ee75fd17713289f6b4fc7b190e0a7de9328",
    ("1.31.1", LINUX_X86): "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
    ("1.31.1", LINUX_ARM): "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
    ("1.31.1", MAC_ARM): "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c",
}
DEFAULT = "1.31.1"
# Beside the library's folder in the wheel.
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")


@dataclass(frozen=True)
class Wheel:
    """A wheel, and the libraries to unpack from it: how their files' names begin."""

    project: str
    version: str
    sha256: str
    libraries: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.project} {self.version}"


# The provider was built with CUDA 13.0 and takes any later 13; its wheel leaves it to others to bring one.
GPU = (
    Wheel(
        "onnxruntime-gpu",
        "1.31.1",
        "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
        ("libonnxruntime.so", "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"),
    ),
    Wheel(
        "nvidia-cuda-runtime",
        "13.0.96",
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        ("libcudart.so",),
    ),
    Wheel(
        "nvidia-cublas",
        "13.0.2.14",
        "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c",
        ("libcublas.so", "libcublasLt.so"),
    ),
    Wheel(
        "nvidia-curand",
        "10.4.0.35",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        ("libcurand.so",),
    ),
    # Some of cuBLAS's kernels are compiled when they are first used.
    Wheel(
        "nvidia-cuda-nvrtc",
        "13.0.88",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        ("libnvrtc.so", "libnvrtc-builtins.so"),
    ),
)
GPU_PLATFORMS = (*LINUX_X86, "manylinux2014_x86_64")


def tags() -> tuple[str, ...]:
    """The wheel platform tags of this machine."""
    machine = (platform.system(), platform.machine())
    known = {("Linux", "x86_64"): LINUX_X86, ("Linux", "aarch64"): LINUX_ARM, ("Darwin", "arm64"): MAC_ARM}
    if machine not in known:
        sys.exit(f"no pinned ONNX Runtime wheel for {machine}; set ORTSHARD_ONNXRUNTIME to a library of your own")
    return known[machine]


def processor_wheel(version: str) -> Wheel:
    """The wheel of `version` for this machine."""
    platforms = tags()
    if (version, platforms) not in SHA256:
        known = ", ".join(v for v, p in SHA256 if p == platforms)
        sys.exit(f"ONNX Runtime {version} is not pinned for this platform (pinned: {known})")
    return Wheel("onnxruntime", version, SHA256[version, platforms], ("libonnxruntime.",))


def download(wheel: Wheel, platforms: tuple[str, ...], folder: Path) -> Path:
    """The wheel's file, checked against its pinned hash by pip."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--implementation", "cp", "--python-version", "3.12"]
    command += [argument for tag in platforms for argument in ("--platform", tag)]
    command += [] if sys.stdout.isatty() else ["--quiet"]
    subprocess.run([*command, "-d", str(folder), "-r", str(requirements)], check=True)
    return next(folder.glob("*.whl"))


def unpack(file: Path, libraries: tuple[str, ...], out: Path) -> None:
    """Puts the libraries into `out`, each complete or not at all; ONNX Runtime's under its plain name."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if not name.startswith(libraries) or Path(member).parent.name not in ("capi", "lib", "onnxruntime"):
                continue
            if name.startswith("libonnxruntime."):
                name = "libonnxruntime.dylib" if name.endswith(".dylib") else "libonnxruntime.so"
            part = out / f"{name}.part"
            with archive.open(member) as source, part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            part.rename(out / name)


def fetch(wheel: Wheel, platforms: tuple[str, ...], stamp: Path) -> None:
    """Unpacks a wheel's libraries beside `stamp`, which says which version that was, unless it says so already."""
    if stamp.exists() and stamp.read_text() == wheel.version:
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {wheel}", flush=True)
    # Beside its destination: a temporary folder in memory may have no room for it.
    with tempfile.TemporaryDirectory(dir=stamp.parent) as folder:
        unpack(download(wheel, platforms, Path(folder)), wheel.libraries, stamp.parent)
    stamp.write_text(wheel.version)


def fetch_gpu(out: Path) -> None:
    """ONNX Runtime with its CUDA provider, and CUDA's libraries."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit("onnxruntime-gpu is pinned for Linux on x86-64 only; set ORTSHARD_ONNXRUNTIME to a library of your own")
    for wheel in GPU:
        fetch(wheel, GPU_PLATFORMS, out / f"{wheel.project}.version")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=DEFAULT)
    parser.add_argument("--gpu", action="store_true", help="with CUDA and its libraries")
    parser.add_argument("--licences", action="store_true", help="with the texts of its licences")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.gpu:
        return fetch_gpu(options.out or Path("target/onnxruntime-gpu"))
    if options.licences:
        wheel = processor_wheel(options.version)
        wheel = replace(wheel, libraries=(*wheel.libraries, *LICENCES))
        return fetch(wheel, tags(), (options.out or Path("target/onnxruntime-licensed")) / "version")
    if os.environ.get("ORTSHARD_ONNXRUNTIME"):
        print(f"using ONNX Runtime from ORTSHARD_ONNXRUNTIME={os.environ['ORTSHARD_ONNXRUNTIME']}")
        return None
    out = options.out or Path("target/onnxruntime")
    return fetch(processor_wheel(options.version), tags(), out / "version")


if __name__ == "__main__":
    main()
