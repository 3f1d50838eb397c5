"""Write the licences of everything that is linked into the library: of each crate, with the texts that its package holds.

    python3 tools/install/licences.py --out THIRD-PARTY.txt

It asks `cargo metadata` what the library is made of, for this machine and with the default features, and reads the texts
in the packages that cargo has unpacked. Needs nothing but Python 3.
"""

import argparse
import json
import os
import re
import subprocess
from pathlib import Path

# How files of licences are called, also those of C code within a package.
TEXT = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)([-._].*)?", re.IGNORECASE)
LINE = "=" * 100


def cargo(*arguments: str) -> str:
    command = [*os.environ.get("CARGO", "cargo").split(), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def host() -> str:
    rustc = subprocess.run([os.environ.get("RUSTC", "rustc"), "-vV"], check=True, stdout=subprocess.PIPE, text=True)
    return next(line.split()[1] for line in rustc.stdout.splitlines() if line.startswith("host:"))


def linked(metadata: dict) -> list[dict]:
    """The packages whose code is in the library: not those that are run to build it, such as procedural macros."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, left = set(), [metadata["resolve"]["root"]]
    while left:
        one = left.pop()
        if one in found or any("proc-macro" in target["kind"] for target in packages[one]["targets"]):
            continue
        found.add(one)
        for dependency in nodes[one]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                left.append(dependency["pkg"])
    others = [packages[one] for one in found if packages[one]["source"] is not None]
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def texts(package: dict) -> list[str]:
    """The texts in a package's folder, the one that its manifest names included."""
    folder = Path(package["manifest_path"]).parent
    files = {path for path in folder.rglob("*") if TEXT.fullmatch(path.name) and path.is_file() and path.suffix != ".rs"}
    if package["license_file"]:
        files.add(folder / package["license_file"])
    found = [file.read_text(errors="replace").replace("\r\n", "\n").strip("\n") for file in sorted(files)]
    return list(dict.fromkeys(text for text in found if text.strip()))


def document(packages: list[dict]) -> str:
    """All packages, then each text once with the packages that have it."""
    holders: dict[str, list[str]] = {}
    without = []
    lines = ["libortshard holds code of these packages:", ""]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        people = ", ".join(re.sub(r" ?<[^>]*>", "", author) for author in package["authors"])
        lines.append(f"  {name}: {package['license'] or 'see its text below'}" + (f" ({people})" if people else ""))
        found = texts(package)
        for text in found:
            holders.setdefault(text, []).append(name)
        if not found:
            without.append(name)
    lines += ["", "and of Rust's standard library, whose licences are in rust-standard-library.html or at", ""]
    lines += ["  https://github.com/rust-lang/rust/blob/main/COPYRIGHT", ""]
    if without:
        lines += ["Packages that bring no text of their licence, which is named above; the texts are among those below:", ""]
        lines += [f"  {name}" for name in without] + [""]
    for text, names in holders.items():
        lines += [LINE, ", ".join(names), LINE, "", text, ""]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--locked", "--filter-platform", host()))
    packages = linked(metadata)
    options.out.write_text(document(packages))


if __name__ == "__main__":
    main()
