"""Links the static library to a shared one that runs on an old glibc, with zig: pip install ziglang.

    link_for_glibc.py target/release/libortshard.a libortshard.so

Rust links with the glibc of the machine that it runs on, and what comes of it needs that glibc or a newer one. zig has the symbols of
every glibc. Linked are the objects as cargo has compiled them, so this takes seconds, and the code is the same to the last bit.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# That of the tag manylinux_2_28: Debian 10, Ubuntu 20.04, Red Hat 8 and newer.
GLIBC = "2.28"


def main(archive: str, shared: str) -> None:
    """Links `archive` to `shared`."""
    functions = json.loads((Path(__file__).resolve().parents[1] / "include/ortshard.json").read_text("utf-8"))["functions"]
    with tempfile.TemporaryDirectory() as folder:
        exports = Path(folder, "exports.map")
        exports.write_text("{ global: " + " ".join(f"{name};" for name in functions) + " local: *; };\n")
        options = ["-soname,libortshard.so.0", f"--version-script={exports}", "--gc-sections", "-z,relro,-z,now", "--strip-debug"]
        whole = ["-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"]
        libraries = ["-lpthread", "-ldl", "-lm", "-lunwind"]
        command = [sys.executable, "-m", "ziglang", "cc", "-target", f"x86_64-linux-gnu.{GLIBC}", "-shared", "-o", shared]
        subprocess.run([*command, *(f"-Wl,{option}" for option in options), *whole, *libraries], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
