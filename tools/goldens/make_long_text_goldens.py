"""Writes tests/tokenizers/long.json: hashes of the ids and of the decoded text that Python's `tokenizers` gives for long
texts, from the generator of texts.py.

Run from the repository root after make_tokenizer_goldens.py; needs `tokenizers`.
"""

import json
from pathlib import Path

from texts import FRAGMENTS, fnv, generator
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2] / "tests" / "tokenizers"
NAMES = {"llama3": 10_000_000, "qwen": 300_000, "gpt2": 300_000, "llama2": 300_000, "mistral": 300_000, "gemma": 300_000, "unigram": 300_000}


def text(size):
    below = generator(0x9E3779B97F4A7C15)
    parts, length = [], 0
    while length < size:
        parts.append(FRAGMENTS[below(len(FRAGMENTS))])
        length += len(parts[-1].encode())
    return "".join(parts)


def main():
    golden = {}
    for name, size in NAMES.items():
        tokenizer = Tokenizer.from_file(str(ROOT / name / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids = tokenizer.encode(text(size)).ids
        decoded = tokenizer.decode(ids)
        golden[name] = {"size": size, "count": len(ids), "ids": fnv([ids]), "text": fnv([list(decoded.encode())])}
    (ROOT / "long.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
