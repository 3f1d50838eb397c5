"""Writes tests/grammars.json: the samples of the test suite of the llguidance crate (MIT licence, Microsoft Corporation), as its
source package has them: JSON schemas with values that match and others, Lark grammars with texts that match and others.

    python3 tools/goldens/make_grammar_samples.py

needs nothing but cargo, which has the package.
"""

import json
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
OPEN = {"(": ")", "{": "}", "[": "]"}


def package():
    out = subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"], cwd=ROOT)
    found = [p for p in json.loads(out)["packages"] if p["name"] == "llguidance"]
    return found[0]["version"], pathlib.Path(found[0]["manifest_path"]).parent


def balanced(text, begin):
    """What stands in the brackets that open at `begin`."""
    depth, i = 0, begin
    while i < len(text):
        raw = re.compile(r'r(#*)"').match(text, i)
        if raw and not text[i - 1].isalnum():
            i = text.index('"' + raw[1], raw.end()) + 1 + len(raw[1])
            continue
        if text[i] == '"':
            i += 1
            while text[i] != '"':
                i += 2 if text[i] == "\\" else 1
        elif text.startswith("//", i):
            i = text.index("\n", i)
        elif text[i] in OPEN:
            depth += 1
        elif text[i] in OPEN.values():
            depth -= 1
            if depth == 0:
                return text[begin + 1 : i]
        i += 1
    raise ValueError("no end")


def value(text):
    """The value of a json!(), or None where it is more than JSON."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r",(\s*[}\]])", r"\1", text)
    try:
        return json.loads(text)
    except ValueError:
        return None


def strings(text):
    """All string literals of Rust in `text`, or None if there is anything else."""
    found, i = [], 0
    while i < len(text):
        raw = re.compile(r'r(#*)"').match(text, i)
        if raw:
            end = text.index('"' + raw[1], raw.end())
            found.append(text[raw.end() : end])
            i = end + 1 + len(raw[1])
        elif text[i] == '"':
            end = i + 1
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            try:
                found.append(json.loads(text[i : end + 1], strict=False))
            except ValueError:
                return None
            i = end + 1
        elif text.startswith("//", i):
            i = text.find("\n", i) if "\n" in text[i:] else len(text)
        elif text[i] in " \t\n,&":
            i += 1
        else:
            return None
    return found


def schemas(source):
    named = {}
    for match in re.finditer(r"static ref (\w+): Value\s*=\s*json!", source):
        named[match[1]] = value(balanced(source, match.end()))
    samples = {}
    for match in re.finditer(r"#\[rstest\](.*?)json_schema_check\(&(\w+),\s*\w+,\s*(true|false)\)", source, re.S):
        cases, name, matches = match.groups()
        if "#[rstest]" in cases or named.get(name) is None:
            continue
        for case in re.finditer(r"#\[case[^(]*\(&json!", cases):
            sample = value(balanced(cases, case.end()))
            if sample is not None or balanced(cases, case.end()).strip() == "null":
                entry = samples.setdefault(name, {"schema": named[name], "matches": [], "others": []})
                entry["matches" if matches == "true" else "others"].append(sample)
    return list(samples.values())


def grammars(source):
    samples = []
    for match in re.finditer(r"\blark_str_test_many\(", source):
        inside = balanced(source, match.end() - 1)
        grammar = re.match(r'\s*r(#*)"(.*?)"\1,', inside, re.S)
        # Options of llguidance's own within a schema are refused here.
        if not grammar or "x-guidance" in grammar[2]:
            continue
        rest = inside[grammar.end() :]
        lists, i = [], 0
        while (i := rest.find("&[", i)) >= 0:
            body = balanced(rest, i + 1)
            lists.append(strings(body))
            i += len(body) + 3
        if len(lists) == 2 and None not in lists:
            others = [text.removeprefix("FINAL_REJECT:") for text in lists[1]]
            samples.append({"lark": grammar[2], "matches": lists[0], "others": others})
    return samples


def main():
    version, folder = package()
    sources = {path.name: path.read_text() for path in sorted((folder / "tests").glob("*.rs"))}
    made = {
        "source": f"llguidance {version}, MIT licence, Copyright (c) Microsoft Corporation",
        "schemas": [sample for source in sources.values() for sample in schemas(source)],
        "grammars": [sample for source in sources.values() for sample in grammars(source)],
    }
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    (ROOT / "tests/grammars.json").write_text(text + "\n")


main()
