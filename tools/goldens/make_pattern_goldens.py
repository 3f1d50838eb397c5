r"""Writes tests/tokenizers/patterns.json: regular expressions of tokenizers, and where Python's `tokenizers` cuts texts.

The answers are an independent oracle. Run from the repository root; needs `tokenizers` 0.23. Each pattern becomes the
`Split` of a tokenizer whose ids show every cut: a WordPiece with one token for each byte at the start of a part, and
another for each byte within one. For each: a hash of the ids of 10,000 texts (of the first 2,000 for mere constructs), the ids of the first texts in full, and
`error` for patterns that are refused. The texts come from the generator of texts.py, which tests/suite/text/patterns.rs has, too.
"""

import json
from pathlib import Path

from texts import FRAGMENTS, fnv, generator
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2] / "tests" / "tokenizers" / "patterns.json"
TEXTS = 10_000
FEW = 2_000
FULL = 2

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
PREFIX = r"[^\r\n\p{L}\p{N}]?"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASES = rf"{PREFIX}[{UPPER}]*[{LOWER}]+%s|{PREFIX}[{UPPER}]+[{LOWER}]*%s"

PUBLISHED = {
    "GPT-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "CLIP": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "Llama 3": rf"{CONTRACTION}|{PREFIX}\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}",
    "Qwen 2": rf"{CONTRACTION}|{PREFIX}\p{{L}}+|\p{{N}}|{TAIL}",
    "Qwen 3.5": rf"{CONTRACTION}|{PREFIX}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": rf"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "cl100k of tiktoken": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": CASES % (CONTRACTION + "?", CONTRACTION + "?") + rf"|\p{{N}}{{1,3}}|{SLASH}",
    "tekken": CASES % ("", "") + rf"|\p{{N}}|{SLASH}",
    "Llama 4": CASES % (CONTRACTION + "?", CONTRACTION + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "Kimi K2": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "DeepSeek V3, digits": r"\p{N}{1,3}",
    "DeepSeek V3, CJK": r"[一-龥぀-ゟ゠-ヿ]+",
    "DeepSeek V3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "DeepSeek Coder, lines": r"[\r\n]",
    "DeepSeek Coder, letters": r"\s?\p{L}+",
    "DeepSeek Coder, punctuation": r"\s?\p{P}+",
    "DeepSeek Coder, CJK": r"[一-龥ࠀ-一가-퟿]+",
    "DeepSeek LLM, punctuation": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "DeepSeek LLM, space": r"\s+$",
    "Falcon, digits": r"[0-9][0-9][0-9]",
    "Bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "Poro": r" ?[^(\s|.,!?…。，、।۔،)]+",
    "Command R": r"\p{N}",
    "Aya, digits": r"\d{1,3}(?=(?:\d{3})*\b)",
    "SuperBPE, digits": r"\p{N}+",
    "SuperBPE, threes": r"(?=(\d{3})+(?!\d))",
    "Bailing": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "Seed": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    "EXAONE": rf"{CONTRACTION}|{PREFIX}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    "MiniCPM": rf"{CONTRACTION}|{PREFIX}\p{{L}}+|\p{{N}}+|{TAIL}",
    "Gemma 4": r"[^\n]+|[\n]+",
    "Hunyuan, CJK": r"[一-龥ࠀ-一가-퟿]+",
    "Chameleon": r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    "Chameleon, space": r"([\t\n]|    |  )",
    "AFMoE, digits": r"\p{Nd}{3}+",
    "AFMoE, first digits": r"\p{N}{1,2}(?=(?:\p{N}{3})+(?!\p{N}))",
    "AFMoE, CJK": r"[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+",
    "RoBERTa of Jina": r"\S+",
    "StableLM": rf"{CONTRACTION}|{PREFIX}\p{{L}}+|\p{{N}}|{TAIL}".replace("(?!\\S)", r"(?!\S)"),
    "GLM 4": rf"{CONTRACTION}|{PREFIX}\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}",
}

# Constructs that other engines read otherwise, or not at all.
CONSTRUCTS = [
    r"\p{N}{1,3}+", r"a{2}+", r"a{,2}b", r"a{2,}?", r"a++", r"a?+a", r"(?>a+)b", r"\s+$", r"^\s+", r"^", r"$", r"\Aa", r"a\z",
    r"a\Z", r"\Ga", r"a\Kb", r"[[:alpha:]]+", r"[[:punct:]]+", r"[[:space:]]+", r"[[:upper:]]", r"[[:word:]]+", r"[[:^alpha:]]+",
    r"\w+", r"\W+", r"\b", r"\B", r"\d+", r"\D+", r"\s+", r"\S+", r"\h+", r"\H+", r"\R", r"\X", r"\N+", r"\O+", r".+",
    r"(?i)the|\p{Lu}", r"(?i:É|ß)", r"(?i)k", r"(?i)ss", r"(?m:.)+", r"(?m).+a", r"(?s:.)+", r"(?x) a b ", r"(?i-m:A.)",
    r"[a~~b]+", r"[a-z&&[^aeiou]]+", r"[a-c[x-z]]+", r"[a--b]+", r"[\p{L}--\p{Lu}]+", r"[^a[b]]+", r"[]a]+", r"[a\]]+", r"[\w-]+", r"[a\-z]+",
    r"\p{^N}+", r"\P{N}+", r"\p{Han}+", r"\p{Greek}+", r"\p{Script=Han}+", r"\p{sc=Han}+", r"\p{L}\p{M}*", r"\p{Alphabetic}+", r"\p{Emoji}+",
    r"\pL+", r"\p{Letter}+", r"\p{Lu}", r"\p{Cn}", r"\p{Co}", r"\p{Cs}", r"\p{IsHan}", r"\p{InGreek}", r"\p{Any}", r"\p{ASCII}+", r"\p{Zs}+",
    r"(?<=a)b", r"(?<!a)b", r"(?<=a|ab)b", r"(?<=\s)\S+", r"(?<=a+)b", r"(?=a)\w+", r"(?!a)\w+", r"(a)\1", r"(?<n>a)\k<n>", r"(?<n>a|b\g<n>c)",
    r"(?'n'a)", r"(?P<n>a)", r"(?P=n)", r"(?~ab)", r"(?|a|b)", r"(?#note)a", r"(?(?=a)a|b)", r"(a)?(?(1)b|c)", r"a|", r"|a", r"()", r"a*", r"(a*)*", r"(a|b)*?c",
    r"\x41", r"\x{1F600}", r"\u0041", r"\U0001F600", r"\101", r"\o{101}", r"\e", r"\cA", r"\t", r"\Qa.b\E", r"\_", r"\-", r"\/", r"\ ",
    r"a{1", r"{1}", r"a{b}", r"*a", r"a**", r"(", r")", r"[", r"]", r"\p{Nope}", r"\p", "\\", r"[z-a]", r"[a-\d]+", r"(?<n", r"\k<m>", r"a{100001}", r"\1",
    r"(?y{g})\X", r"\y", r"\Y", r"(?W:\w)+", r"(?D:\d)+", r"(?P:[[:alpha:]])+", r"(?a:\w)+", r"\K", r"(?{f})", r"(*FAIL)", r"(*COUNT[x]{X})a",
]


def texts():
    below = generator(0x9E3779B97F4A7C15)
    return ["".join(FRAGMENTS[below(len(FRAGMENTS))] for _ in range(1 + below(12))) for _ in range(TEXTS)]


def tokenizer(pattern):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: index for index, letter in enumerate(letters)}
    vocab |= {"##" + letter: 256 + index for index, letter in enumerate(letters)}
    vocab["[UNK]"] = 512
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100_000))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    return made


def main():
    all_texts = texts()
    cases = []
    for name, pattern in [*PUBLISHED.items(), *((None, pattern) for pattern in CONSTRUCTS)]:
        case = {"name": name, "pattern": pattern}
        try:
            made = tokenizer(pattern)
            case["count"] = TEXTS if name else FEW
            ids = [encoding.ids for encoding in made.encode_batch(all_texts[: case["count"]])]
            case |= {"hash": fnv(ids), "first": ids[:FULL]}
        except BaseException as error:
            case["error"] = str(error)[:80]
        cases.append(case)
    base = json.loads(tokenizer("a").to_str())
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    head = json.dumps({"fragments": FRAGMENTS, "tokenizer": base}, ensure_ascii=False, separators=(",", ":"))
    ROOT.write_text(head[:-1] + ',"cases":[\n' + lines + "\n]}\n", encoding="utf-8")
    print(len(cases), "patterns, refused:", [case["pattern"] for case in cases if "error" in case])


if __name__ == "__main__":
    main()
