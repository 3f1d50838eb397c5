"""Fetch libonnxruntime once, from the `onnxruntime` wheel, with pip.

The wheel is pinned by version and sha256, and only the library in it is unpacked. ORTSHARD_ONNXRUNTIME names a library
to use instead; then nothing is fetched. Needs nothing but Python 3 with pip.

    python3 tools/fetch_onnxruntime.py [--version 1.31.1] [--out target/onnxruntime]
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
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


def tags() -> tuple[str, ...]:
    """The wheel platform tags of this machine."""
    machine = (platform.system(), platform.machine())
    known = {("Linux", "x86_64"): LINUX_X86, ("Linux", "aarch64"): LINUX_ARM, ("Darwin", "arm64"): MAC_ARM}
    if machine not in known:
        sys.exit(f"no pinned ONNX Runtime wheel for {machine}; set ORTSHARD_ONNXRUNTIME to a library of your own")
    return known[machine]


def download(version: str, folder: Path) -> Path:
    """The wheel of `version`, checked against its pinned hash by pip."""
    platforms = tags()
    if (version, platforms) not in SHA256:
        known = ", ".join(v for v, p in SHA256 if p == platforms)
        sys.exit(f"ONNX Runtime {version} is not pinned for this platform (pinned: {known})")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"onnxruntime=={version} --hash=sha256:{SHA256[version, platforms]}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--implementation", "cp", "--python-version", "3.12"]
    command += [argument for tag in platforms for argument in ("--platform", tag)]
    subprocess.run([*command, "-d", str(folder), "-r", str(requirements)], check=True)
    return next(folder.glob("onnxruntime-*.whl"))


def unpack(wheel: Path, out: Path) -> None:
    """Puts the library into `out`, under its plain name, complete or not at all."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if not name.startswith("libonnxruntime.") or "/capi/" not in member:
                continue
            plain = "libonnxruntime.dylib" if name.endswith(".dylib") else "libonnxruntime.so"
            part = out / f"{plain}.part"
            part.write_bytes(archive.read(member))
            part.rename(out / plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=DEFAULT)
    parser.add_argument("--out", type=Path, default=Path("target/onnxruntime"))
    options = parser.parse_args()
    if os.environ.get("ORTSHARD_ONNXRUNTIME"):
        print(f"using ONNX Runtime from ORTSHARD_ONNXRUNTIME={os.environ['ORTSHARD_ONNXRUNTIME']}")
        return
    stamp = options.out / "version"
    if stamp.exists() and stamp.read_text() == options.version:
        return
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"fetching ONNX Runtime {options.version}")
    with tempfile.TemporaryDirectory() as folder:
        unpack(download(options.version, Path(folder)), options.out)
    stamp.write_text(options.version)


if __name__ == "__main__":
    main()
