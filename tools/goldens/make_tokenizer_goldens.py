"""Makes the small tokenizers of tests/tokenizers and what the Python libraries answer for them.

The answers are an independent oracle: `tokenizers` (with its Oniguruma regexes) for ids and text, `jinja2` as
`transformers` sets it up for chat templates. Run from the repository root; needs `tokenizers` and `transformers`.

For each tokenizer NAME: NAME/tokenizer.json and NAME/golden.json:
  encode: [{text, ids (with special tokens), plain (without), as_text (without, and those spelled out are text), ranges
    (of each of ids, the bytes of the text that it stands for)}]
  bytes: for each id its bytes in hexadecimal
  decode: [{ids, text, skip (without special tokens)}], among them random ids that split or break UTF-8
For each chat template NAME.jinja in chat/: chat/golden.json has {template, messages, generate, text | error}.
It also prints the ids that tests/suite/text/sampler.rs expects of the default sampler.
"""

import itertools
import json
import math
import random
import struct
from pathlib import Path

from jinja2 import TemplateError
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = Path(__file__).resolve().parents[2] / "tests" / "tokenizers"

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

CORPUS = [
    "the quick brown fox jumps over the lazy dog and then the other dog, and so on.",
    "Hello world! This is a small text; it's for training a very small tokenizer.",
    "numbers 123 4567 89, code: def f(x):\n    return x + 1\n\n\tif (a == b) { return; }",
    "naïve café résumé — déjà vu; straße, größer, çok güzel",
    "今日は世界。你好，世界！こんにちは。",
    "Привет, мир! Как дела?",
    "emoji 😀😀 👍🏽 👩‍👩‍👧 done",
]

TEXTS = [
    "",
    " ",
    "Hello world",
    " leading and trailing  ",
    "double  spaces   and\ttabs\n\nnewlines\r\n  x",
    "it's I'LL we've don't 'S",
    "numbers 1234567890 3.14159 ²³ Ⅻ ٣٤",
    "naïve café déjà vu",
    "e\u0301 combining a\u0308o\u0308 n\u0303",
    "今日は世界。你好 世界！",
    "Привет, мир! 🤖",
    "😀 👍🏽 👩‍👩‍👧 🇨🇭",
    "nb\u00a0sp \u2003em \u200bzw \ufeffbom",
    "\u0000\u0001 control \u007f",
    "<|eot|> special <|eot|>text",
    "<s>[INST] hi [/INST]</s>",
    "def f(x):\n    return x**2  # ok\n",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 ﷽",
    "▁under ▁▁score",
    "a" * 70,
    " " * 40 + "x",
]


def special(*names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def train(pre_tokenizer, size, alphabet, normalizer=None):
    """Vocabulary and merges of a BPE trained on the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False, min_frequency=2)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def byte_level(pattern, normalizer=None, bos=None):
    if pattern:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        pre = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    else:
        pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocab, merges = train(pre, 420, pre_tokenizers.ByteLevel.alphabet(), normalizer)
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=bos is not None))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens(special("<|begin|>", "<|eot|>", "<|pad|>"))
    tokenizer.add_tokens([AddedToken("<tool call>", normalized=False)])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def sentencepiece(normalizer, pre, decoder, trained_with):
    pieces, merges = train(trained_with, 220, [])
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    # A few letters are left out, so that they too need their bytes.
    rare = {letter for letter in pieces if len(letter) == 1 and ord(letter) > 0x3000}
    kept = [piece for piece in pieces if not rare & set(piece)]
    merges = [merge for merge in merges if not rare & set("".join(merge))]
    vocab = {name: index for index, name in enumerate(names + kept)}
    model = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    tokenizer.add_special_tokens(special("[INST]", "[/INST]", "<|eot|>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def llama2():
    decoder = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return sentencepiece(normalizer, None, decoders.Sequence(decoder), pre_tokenizers.Metaspace())


def mistral():
    decoder = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    pre = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return sentencepiece(None, pre, decoders.Sequence(decoder), pre_tokenizers.Metaspace())


def gemma():
    decoder = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    pre = pre_tokenizers.Split(" ", "merged_with_previous")
    return sentencepiece(
        normalizers.Replace(" ", "▁"), pre, decoders.Sequence(decoder), pre_tokenizers.Metaspace(prepend_scheme="never")
    )


def unigram():
    # Not trained: the trainer's scores differ from run to run.
    letters = sorted(set("".join(CORPUS).replace(" ", "▁")) - set("今世界"))
    words = ["▁the", "▁quick", "▁fox", "▁Hello", "▁world", "▁a", "ing", "er", "он", "ello", "on", "▁text", "▁spa", "ces"]
    pieces = [("<unk>", 0.0), ("</s>", 0.0)]
    pieces += [(word, -3.0 - index / 8) for index, word in enumerate(words)]
    pieces += [(letter, -6.0 - index / 16) for index, letter in enumerate(letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(special("<unk>", "</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def goldens(tokenizer, seed):
    rng = random.Random(seed)
    size = tokenizer.get_vocab_size()
    encode, sequences = [], [[], [size - 1], [0, 0, 0]]
    for text in TEXTS:
        encoded = tokenizer.encode(text)
        ids = encoded.ids
        place = [len(text[:index].encode()) for index in range(len(text) + 1)]
        ranges = [[place[start], place[end]] for start, end in encoded.offsets]
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        as_text = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        encode.append({"text": text, "ids": ids, "plain": plain, "as_text": as_text, "ranges": ranges})
        sequences.append(ids)
    sequences += [[rng.randrange(size) for _ in range(rng.randrange(1, 24))] for _ in range(40)]
    decode = [
        {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False), "skip": tokenizer.decode(ids)}
        for ids in sequences
    ]
    return {"vocab_size": size, "encode": encode, "decode": decode, "bytes": [token_bytes(tokenizer, i) for i in range(size)]}


# The bytes that the letters of a byte-level vocabulary stand for.
LETTERS = {letter: byte for byte, letter in bytes_to_unicode().items()}


def token_bytes(tokenizer, id):
    """The bytes of a token by the rule of its kind of vocabulary, in hexadecimal."""
    token = tokenizer.id_to_token(id)
    if isinstance(tokenizer.decoder, decoders.ByteLevel):
        whole = all(letter in LETTERS for letter in token)
        return (bytes(LETTERS[letter] for letter in token) if whole else token.encode()).hex()
    if len(token) == 6 and token.startswith("<0x") and tokenizer.id_to_token(3) == "<0x00>":
        return bytes([int(token[3:5], 16)]).hex()
    return token.replace("\u2581", " ").encode().hex()


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def make_tokenizers():
    made = {
        "llama3": byte_level(LLAMA3, bos="<|begin|>"),
        "qwen": byte_level(QWEN, normalizer=normalizers.NFC()),
        "gpt2": byte_level(None),
        "llama2": llama2(),
        "mistral": mistral(),
        "gemma": gemma(),
        "unigram": unigram(),
    }
    for index, (name, tokenizer) in enumerate(made.items()):
        write(ROOT / name / "golden.json", goldens(tokenizer, index))
        if name == "llama3":  # a caller of this library must never notice these two
            tokenizer.enable_truncation(max_length=5)
            pad = "<|pad|>"  # which becomes the model's pad_token
            tokenizer.enable_padding(length=64, pad_id=tokenizer.token_to_id(pad), pad_token=pad)
        write(ROOT / name / "tokenizer.json", json.loads(tokenizer.to_str()))


CHATS = [
    [("user", "Hi")],
    [("system", "Be <brief> & \"kind\".\n"), ("user", " Hi there \n"), ("assistant", "Yes?"), ("user", "1+1?")],
    [("user", "a"), ("assistant", "<think>hm</think>\n\nb"), ("user", "今日は 😀"), ("assistant", "c")],
    [("user", "a"), ("user", "b")],
    [],
]


def make_chats():
    golden = []
    for path in sorted((ROOT / "chat").glob("*.jinja")):
        template = _compile_jinja_template(path.read_bytes().decode())
        for chat in CHATS:
            messages = [{"role": role, "content": content} for role, content in chat]
            for generate in (False, True):
                case = {"template": path.name, "messages": messages, "generate": generate}
                variables = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"}
                try:
                    case["text"] = template.render(messages=messages, add_generation_prompt=generate, **variables)
                except TemplateError as error:
                    case["error"] = str(error)
                golden.append(case)
    write(ROOT / "chat" / "golden.json", golden)


def chacha8(seed):
    """The random stream of a sampler, as 64-bit integers."""
    key = seed.to_bytes(8, "little") + bytes(24)
    mask = 0xFFFFFFFF
    columns = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    diagonals = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for counter in itertools.count():
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), counter, 0, 0, 0]
        words = start[:]
        for a, b, c, d in (columns + diagonals) * 4:
            for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                words[x] = (words[x] + words[y]) & mask
                mixed = words[z] ^ words[x]
                words[z] = (mixed << turn | mixed >> (32 - turn)) & mask
        yield from struct.unpack("<8Q", struct.pack("<16I", *((a + b) & mask for a, b in zip(words, start))))


def sampler_ids(rounds=12, seed=1234, temperature=0.6, top_k=35):
    temperature = struct.unpack("f", struct.pack("f", temperature))[0]
    stream = chacha8(seed)
    ids = []
    for step in range(rounds):
        logits = [(index * 7919 + step * 31) % 1000 / 512 for index in range(1000)]
        pivot = sorted(logits)[-top_k]
        scores = {}
        for index, logit in enumerate(logits):
            if logit >= pivot:
                q = -math.log((2 * (next(stream) >> 12) + 1) / 2**53)
                scores[index] = (logit - max(logits)) / temperature - math.log(q)
        ids.append(max(scores, key=scores.get))
    return ids


if __name__ == "__main__":
    make_tokenizers()
    make_chats()
    print(sampler_ids())
