"""Writes tests/tokenizers/special.json: folders whose files disagree about special tokens, and what `AutoTokenizer` of
`transformers` makes of each.

The answers are an independent oracle. Run from the repository root; needs `transformers` 5.24 (and nothing else of it
than its tokenizers). Each case has a `base` (a `tokenizer.json`), `patch` (keys of it that are replaced) and `files`
(what lies beside it); of each: ids of every text with and without special tokens, the text of all ids, ids of bos, eos
and pad, names, or `error`.
"""

import json
import os
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

transformers.logging.set_verbosity_error()
ROOT = Path(__file__).resolve().parents[2] / "tests" / "tokenizers" / "special.json"

TEXTS = [
    "hi <x>  cat</s> <y>dog",
    "  <new> hi<|endoftext|>  <pad>cat ",
    "<img> HI<s>hi <NEW>dog catdog new",
]
CLASSES = ["PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer"]


def token(content, **flags):
    given = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    return {"content": content, **given, **flags}


def added(*contents):
    return [AddedToken(content, special=True, normalized=False) for content in contents]


def word_level():
    words = ["<unk>", "hi", "cat", "dog", "new", "pad", "img", "s", "x", "y", "<", ">", "</", "|", "endoftext", "HI"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(added("<unk>", "<s>", "</s>"))
    tokenizer.add_tokens([AddedToken("<x>", normalized=False)])
    return tokenizer


def bpe(alphabet, merges, **options):
    vocab = {letter: index for index, letter in enumerate(alphabet)}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    return models.BPE(vocab, merges, **options)


def byte_level():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "i"), ("c", "a"), ("ca", "t"), ("d", "o"), ("do", "g"), ("Ġ", "hi"), ("<", "x")]
    tokenizer = Tokenizer(bpe(letters, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(added("<|endoftext|>", "<s>"))
    return tokenizer


def sentencepiece():
    """The pipeline that the class `LlamaTokenizer` has in transformers 5."""
    letters = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + list("▁hicatdogx<>/snew")
    letters = list(dict.fromkeys(letters))
    merges = [("h", "i"), ("c", "a"), ("ca", "t"), ("d", "o"), ("do", "g"), ("▁", "hi"), ("▁", "cat")]
    tokenizer = Tokenizer(bpe(letters, merges, fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    decoder = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(decoder)
    tokenizer.add_special_tokens(added("<unk>", "<s>", "</s>"))
    return tokenizer


BASES = {"PreTrainedTokenizerFast": word_level, "LlamaTokenizer": sentencepiece, "Qwen2Tokenizer": byte_level}


def with_bos(name):
    """A post-processor that puts `name` before a text."""
    tokenizer = BASES[name]()
    bos = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[bos])
    return {"post_processor": json.loads(tokenizer.to_str())["post_processor"]}


def listed(name, *more):
    """`added_tokens_decoder` with all that the base has, and `more`."""
    tokenizer = BASES[name]()
    entries = json.loads(tokenizer.to_str())["added_tokens"]
    size = tokenizer.get_vocab_size()
    known = {str(entry.pop("id")): entry for entry in entries}
    return {"added_tokens_decoder": {**known, **{str(size + i): entry for i, entry in enumerate(more)}}}


def cases():
    for name in CLASSES:

        def case(what, config=None, patch=None, _name=name, **files):
            beside = {"tokenizer_config.json": {"tokenizer_class": _name, **(config or {})}, **files}
            beside = {key.replace("__", "."): value for key, value in beside.items()}
            return {"name": f"{_name}: {what}", "base": _name, "patch": patch or {}, "files": beside}

        names = {"bos_token": "<s>", "eos_token": "</s>"}
        yield case("silent")
        yield case("post-processor", names, with_bos(name))
        for flag in ("add_bos_token", "add_eos_token"):
            for value in (True, False):
                yield case(f"{flag} {value}", {**names, flag: value}, with_bos(name))
                yield case(f"{flag} {value} alone", {**names, flag: value})
        yield case("decoder adds", listed(name, token("<new>"), token("<y>", special=False, normalized=True)))
        yield case("decoder with a gap", {"added_tokens_decoder": {**listed(name)["added_tokens_decoder"], "900": token("<new>")}})
        yield case("decoder's flags win", listed(name, token("<new>", lstrip=True, rstrip=True)), {"added_tokens": added_json(name, "<new>")})
        yield case("decoder makes plain", listed(name, token("<new>", special=False)), {"added_tokens": added_json(name, "<new>")})
        yield case("decoder makes special", listed(name, token("<new>")), {"added_tokens": added_json(name, "<new>", special=False)})
        yield case("decoder makes normalized", listed(name, token("new", normalized=True, special=False)), {"added_tokens": added_json(name, "new", special=False)})
        yield case("decoder of a single word", listed(name, token("new", single_word=True, special=False)))
        yield case("named plain in the decoder", {**listed(name, token("<new>", special=False)), "eos_token": "<new>"})
        yield case("pad not in the vocabulary", {**names, "pad_token": "<pad>"})
        yield case("pad with flags", {**names, "pad_token": {"__type": "AddedToken", **token("<pad>", lstrip=True, special=False)}})
        yield case("two names for a new token", {"eos_token": "<new>", "pad_token": "<new>"})
        yield case("a word of the vocabulary is named", {**names, "mask_token": "cat"})
        yield case("null names", {"bos_token": None, "eos_token": None, "unk_token": None, "pad_token": None})
        yield case("additional", {**names, "additional_special_tokens": ["<new>", "<y>"]})
        yield case("extra list", {**names, "extra_special_tokens": ["<new>", "<x>"]})
        yield case("extra object", {**names, "extra_special_tokens": {"image_token": "<img>", "other": "<y>"}})
        yield case("extra and additional", {"extra_special_tokens": ["<new>"], "additional_special_tokens": ["<y>"]})
        yield case("empty extra and additional", {"extra_special_tokens": [], "additional_special_tokens": ["<y>"]})
        yield case("extra object and additional", {**names, "extra_special_tokens": {"image_token": "<img>"}, "additional_special_tokens": ["<new>", "cat"]})
        yield case("extra object and additional, listed", {**listed(name, token("<new>", special=False)), "extra_special_tokens": {"image_token": "<img>"}, "additional_special_tokens": ["<new>", "<y>"]})
        yield case("extra object with a standard name", {"eos_token": "<new>", "extra_special_tokens": {"eos_token": "<y>"}})
        yield case("own name", {**names, "image_token": "<img>"})
        yield case("own name with flags", {"image_token": {"__type": "AddedToken", **token("<img>", rstrip=True)}, "x_token": "<y>"})
        yield case("map overrides", names, special_tokens_map__json={"eos_token": "<new>", "pad_token": token("<pad>", rstrip=True)})
        yield case("map is not read", {**names, **listed(name)}, special_tokens_map__json={"eos_token": "<new>"})
        yield case("map with additional", names, special_tokens_map__json={"additional_special_tokens": ["<new>"]})
        yield case("map with additional and config", {"additional_special_tokens": ["<y>"]}, special_tokens_map__json={"additional_special_tokens": ["<new>"]})
        yield case("map with extra", {"extra_special_tokens": ["<y>"]}, special_tokens_map__json={"extra_special_tokens": ["<new>"]})
        yield case("map with an own name", {"image_token": "<y>"}, special_tokens_map__json={"image_token": "<img>", "video_token": "<new>"})
        yield case("map with additional, config with an extra object", {"extra_special_tokens": {"image_token": "<img>"}}, special_tokens_map__json={"additional_special_tokens": ["<new>"]})
        yield case("map with additional and empty extra", names, special_tokens_map__json={"additional_special_tokens": ["<new>"], "extra_special_tokens": []})
        yield case("map with additional, extra null", {"extra_special_tokens": ["<y>"]}, special_tokens_map__json={"additional_special_tokens": ["<new>"], "extra_special_tokens": None})
        yield case("map with an extra object", {"extra_special_tokens": ["<y>"]}, special_tokens_map__json={"extra_special_tokens": {"image_token": "<img>"}})
        yield case("map with an own name that has flags", {"image_token": {"__type": "AddedToken", **token("<img>")}, "x_token": "<y>"}, special_tokens_map__json={"image_token": "<new>", "x_token": token("<img>")})
        yield case("added_tokens.json", names, added_tokens__json={"<new>": 900, "<y>": 800})
        yield case("added_tokens.json, named", {**names, "pad_token": "<pad>", "additional_special_tokens": ["<y>"]}, added_tokens__json={"<pad>": 900, "<y>": 901, "<img>": 899})
        yield case("added_tokens.json and the map", {}, added_tokens__json={"<new>": 900, "<y>": 901}, special_tokens_map__json={"eos_token": "<new>", "additional_special_tokens": ["<y>"]})
        yield case("added_tokens.json is not read", listed(name), added_tokens__json={"<new>": 900})
        if name != "Qwen2Tokenizer":  # rebuilt by transformers 5, in the order of the stated ids
            yield case("added_tokens.json takes an id", names, added_tokens__json={"<new>": 1, "<y>": 0})
        yield case("padding names the pad token", names, {"padding": padding("<pad>")})
        yield case("padding and a name", {**names, "pad_token": "<new>"}, {"padding": padding("<pad>")})
        yield case("padding and null", {**names, "pad_token": None}, {"padding": padding("<pad>")})
        yield case("split_special_tokens", {**names, "split_special_tokens": True})
        yield case("special becomes plain for its name", {"eos_token": "<x>"})

    fast = "PreTrainedTokenizerFast"
    for model_type in ("llama", "mistral", "qwen2", "qwen3"):
        for stated in (None, "LlamaTokenizerFast", "Qwen2TokenizerFast", "GPT2TokenizerFast", "GemmaTokenizer", fast, "Unheard"):
            base = "Qwen2Tokenizer"
            if stated in ("GPT2TokenizerFast", "GemmaTokenizer") and model_type != "mistral":
                continue  # rebuilt by transformers 5; see src/tokenizer/special.rs
            config = {"tokenizer_class": stated} if stated else {}
            files = {"tokenizer_config.json": config, "config.json": {"model_type": model_type}}
            yield {"name": f"{model_type}, {stated}", "base": base, "patch": {}, "files": files}
    files = {"config.json": {"model_type": "llama", "tokenizer_class": "LlamaTokenizer"}}
    yield {"name": "class of config.json", "base": "LlamaTokenizer", "patch": {}, "files": files}
    yield {"name": "tokenizer.json alone", "base": "LlamaTokenizer", "patch": {}, "files": {}}
    for name in ("special_tokens_map.json", "added_tokens.json", "tokenizer_config.json"):
        for config in ({}, listed(fast)):
            files = {"tokenizer_config.json": config, name: "{,}"}
            yield {"name": f"broken {name}, {len(config)}", "base": fast, "patch": {}, "files": files}


def padding(pad):
    return {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": pad}


def added_json(name, content, **flags):
    tokenizer = BASES[name]()
    entries = json.loads(tokenizer.to_str())["added_tokens"]
    return entries + [{"id": tokenizer.get_vocab_size(), **token(content, **flags)}]


def answer(folder):
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # whatever it is, it refuses
        return {"error": type(error).__name__}
    size = len(tokenizer)
    ids = [i for i in range(size) if tokenizer.convert_ids_to_tokens(i) is not None]
    tail = [i for i in ids if i < 8] + ids[-10:]
    return {
        "encode": [tokenizer.encode(text) for text in TEXTS],
        "plain": [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS],
        "decode": [tokenizer.decode(tail), tokenizer.decode(tail, skip_special_tokens=True)],
        "decoded": tail,
        "size": size,
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "names": tokenizer.special_tokens_map,
    }


def main():
    bases = {name: json.loads(make().to_str()) for name, make in BASES.items()}
    done = []
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = {**bases[case["base"]], **case["patch"]}
            for name, content in {"tokenizer.json": tokenizer, **case["files"]}.items():
                text = content if isinstance(content, str) else json.dumps(content)
                Path(folder, name).write_text(text, encoding="utf-8")
            done.append({**case, "answer": answer(folder)})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in done)
    head = json.dumps({"texts": TEXTS, "bases": bases}, ensure_ascii=False, separators=(",", ":"))
    ROOT.write_text(head[:-1] + ',"cases":[\n' + lines + "\n]}\n", encoding="utf-8")
    print(len(done), "cases,", sum("error" in case["answer"] for case in done), "refused")
    for case in done:
        if "error" in case["answer"]:
            print("  ", case["name"], case["answer"])


if __name__ == "__main__":
    main()
