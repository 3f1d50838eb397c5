"""Writes src/chat/jinja/string/tables.rs: what Python's `str` knows of characters and Rust's standard library does not.

Run from the repository root; needs nothing. The tables are those of the Python that runs it.
"""

import unicodedata
from pathlib import Path

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def bounds(has):
    """Where a property begins and ends, in turns."""
    found, before = [], False
    for character in CHARACTERS:
        if has(character) != before:
            found.append(ord(character))
            before = not before
    return found


def fold(character):
    return "".join(part.lower() for part in character.lower().upper())


def title(character):
    upper = character.upper()
    return upper[0] + upper[1:].lower()


TABLES = {
    "LETTERS": ("General category L, `str.isalpha`", bounds(str.isalpha)),
    "UNPRINTABLE": ("What `str.isprintable` refuses", bounds(lambda c: not c.isprintable())),
    "DIGITS": ("`str.isdigit` without `str.isdecimal`", bounds(lambda c: c.isdigit() and not c.isdecimal())),
    "NUMERICS": ("`str.isnumeric` without `str.isdigit`", bounds(lambda c: c.isnumeric() and not c.isdigit())),
    "TITLES": ("General category Lt", bounds(lambda c: unicodedata.category(c) == "Lt")),
}
ZEROS = [ord(c) for c in CHARACTERS if c.isdecimal() and unicodedata.decimal(c) == 0]
PAIRS = {
    "FOLDS": ("`str.casefold`, where it is not the lower case of the upper case of the lower case", fold, str.casefold),
    "TITLE_CASES": ("`str.title`, where it is not the upper case with all but the first in lower case", title, str.title),
}

if __name__ == "__main__":
    text = [f"//! Written by `tools/tables/make_unicode_tables.py`: Unicode {unicodedata.unidata_version}, as Python has it.\n"]
    for name, (what, numbers) in TABLES.items():
        text.append(f"/// {what}: where it begins and ends, in turns.")
        text.append(f"pub(super) const {name}: [u32; {len(numbers)}] = [{', '.join(f'0x{n:X}' for n in numbers)}];\n")
    text.append("/// The zeros of the runs of ten that `str.isdecimal` takes.")
    text.append(f"pub(super) const ZEROS: [u32; {len(ZEROS)}] = [{', '.join(f'0x{n:X}' for n in ZEROS)}];\n")
    for name, (what, rule, real) in PAIRS.items():
        # Letters in a row that all stay what they are, or all move alike, are one entry.
        runs = []
        for character in CHARACTERS:
            if real(character) != rule(character) and len(real(character)) == 1:
                code, distance = ord(character), ord(real(character)) - ord(character)
                if runs and runs[-1][1] == code - 1 and runs[-1][2] == distance:
                    runs[-1][1] = code
                else:
                    runs.append([code, code, distance])
        entries = ", ".join(f"(0x{first:X}, 0x{last:X}, {distance})" for first, last, distance in runs)
        text.append(f"/// {what}: from, to, and how far the character moves.")
        text.append(f"pub(super) const {name}: [(u32, u32, i32); {len(runs)}] = [{entries}];\n")
    texts = [(c, c.title()) for c in CHARACTERS if c.title() != title(c) and len(c.title()) > 1]
    entries = ", ".join("(0x%X, \"%s\")" % (ord(c), "".join("\\u{%X}" % ord(part) for part in new)) for c, new in texts)
    text.append("/// `str.title` of those that become several characters by no rule.")
    text.append(f"pub(super) const TITLE_TEXTS: [(u32, &str); {len(texts)}] = [{entries}];\n")
    Path("src/chat/jinja/string/tables.rs").write_text("\n".join(text), encoding="utf-8")
