"""Fetches published chat templates and writes down what Jinja2 gives for them, for the ignored test
`published_templates_give_what_jinja2_gives`.

The templates come from source packages on PyPI (llama.cpp's, TRL's and vLLM's) and stay in target/chat_templates, which
is not committed: they are others' work. Run from the repository root; needs `transformers` 5.24 and the network:

    python3 tools/goldens/chat_templates.py
    cargo test --lib published_templates -- --ignored --nocapture

The clock is replaced by a fixed date. Each template meets each conversation with and without a generation prompt, and
those with tools as well.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

os.environ["TZ"] = "UTC"
from jinja2 import TemplateError  # noqa: E402
from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: E402

FOLDER = Path("target/chat_templates")
PACKAGES = ["llama-cpp-python", "trl", "axolotl", "xinference", "vllm"]
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
    [{"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "image"}, {"type": "text", "text": "two"}]}],
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def settings():
    for tokens in (TOKENS, {}):
        for messages in CONVERSATIONS:
            for generate in (False, True):
                yield {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": generate, **tokens}
    for messages in WITH_TOOLS:
        for tools in (TOOLS, None):
            for more in ({}, {"enable_thinking": False}, {"enable_thinking": True, "date_string": "1 May 2026"}):
                yield {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": True, **TOKENS, **more}


def fetch():
    """Lets pip fetch and unpack each package; what pip then says of its metadata does not matter."""
    for package in PACKAGES:
        unpacked = FOLDER / package
        if unpacked.exists():
            continue
        unpacked.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-clean", "--no-build-isolation"]
        command += ["--no-binary", package, "-d", unpacked, package]
        environment = {**os.environ, "TMPDIR": str(unpacked.resolve()), "VLLM_TARGET_DEVICE": "empty"}
        subprocess.run(command, check=False, env=environment, stderr=subprocess.DEVNULL)


def sources():
    """Each distinct template, with a name."""
    found = {}
    for package in PACKAGES:
        folder = FOLDER / package
        for archive in folder.glob("*.tar.gz"):
            with tarfile.open(archive) as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith((".jinja", ".jinja2")):
                        source = archive.extractfile(member).read().decode("utf-8")
                        found.setdefault(source, member.name)
        for file in sorted(folder.rglob("*.jinja*")):
            found.setdefault(file.read_bytes().decode("utf-8"), f"{package}/{file.name}")
    return {name: source for source, name in found.items()}


def result(template, variables):
    try:
        text = template.render(**json.loads(json.dumps(variables)))
        text.encode()
        return {"Ok": text}
    except TemplateError as error:
        return {"Err": str(error)}
    except Exception as error:
        return {"Err": repr(error)}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    fetch()
    conversations = list(settings())
    templates = []
    for name, source in sources().items():
        if "strftime_now" in source:
            source = CLOCK + source
        try:
            compiled = _compile_jinja_template(source)
        except TemplateError as error:
            results = [{"Err": str(error)}] * len(conversations)
        else:
            results = [result(compiled, variables) for variables in conversations]
        templates.append({"name": name, "source": source, "results": results})
    golden = {"conversations": conversations, "templates": templates}
    (FOLDER / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    print(len(templates), "templates,", len(conversations), "conversations")


if __name__ == "__main__":
    main()
