"""Makes tests/tokenizers/chats.json and answers.json: what transformers makes of conversations, and of models' answers.

Run from the repository root; needs `transformers` 5.24.

chats.json has small templates, of this repository's own, each with conversations as JSON texts. For each there is what
`apply_chat_template` gives: the text, the ids on the tokenizers of this folder, and the ids with
`sanitize_control_tokens`; or that it fails. answers.json has answers in the formats of several models with the message
that `parse_response` makes of them, by response templates: transformers' own for Qwen and Gemma 4, and for the others
templates written here from the models' chat templates.
"""

import itertools
import json
import os
from pathlib import Path

os.environ["TZ"] = "UTC"
from transformers import PreTrainedTokenizerFast  # noqa: E402
from transformers.cli.serving.utils import _RESPONSE_TEMPLATE_FALLBACKS  # noqa: E402
from transformers.utils.chat_parsing import parse_response  # noqa: E402

ROOT = Path(__file__).resolve().parents[2] / "tests" / "tokenizers"

PLAIN = "{% for m in messages %}<|begin|>{{ m.role }}\n{{ m.content }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|begin|>assistant\n{% endif %}"
PARTS = """{%- for m in messages -%}
[{{ m.role }}]{% if m.content is string %}{{ m.content | trim }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}
{%- if m.reasoning_content is defined %}<think>{{ m.reasoning_content }}</think>{% endif %}
{%- for c in m.tool_calls or [] %}<tool call>{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}
{%- if m.tool_call_id %} for {{ m.tool_call_id }} by {{ m.name }}{% endif %}<|eot|>
{% endfor -%}"""
ALL = """{{ bos_token }}{% if tools %}tools: {{ tools | tojson(indent=2) }}
{% endif %}{% for d in documents or [] %}{{ d.title }}: {{ d.text }}
{% endfor %}{% if enable_thinking is defined and not enable_thinking %}no thoughts
{% endif %}{{ more | default('') }}{% for m in messages %}{{ loop.index }} {{ m | tojson }} {{ m.thinking is defined }} {{ m.content }}
{% endfor %}{% if add_generation_prompt %}go{% endif %}"""
SPLITS = "{% for m in messages %}{{ m.content.split('</think>')[-1].strip() }}<|eot|>{{ m.content | tojson(ensure_ascii=false) }}{% endfor %}"
REFUSES = "{% if messages | length > 1 %}{{ raise_exception('one message only, not ' ~ (messages | length)) }}{% endif %}<s>{{ messages[0].content }}</s>"
NAMED = {"default": PLAIN, "tool_use": "with tools {{ tools | length }}", "rag": "{{ documents[0].text }}"}

TOOLS = '[{"type": "function", "function": {"name": "get", "description": "Gets <|eot|> & \\"more\\"", "parameters": {"type": "object", "properties": {"n": {"type": "integer", "default": 1e2}}}}}]'
DOCUMENTS = '[{"title": "One", "text": "first"}, {"title": "Two", "text": "<tool call> second <|eot|>"}]'
CALLS = """[{"role": "system", "content": null}, {"role": "user", "content": "Weather?", "name": null},
 {"role": "assistant", "content": "I look.", "thinking": "by tool", "tool_calls": [{"type": "function", "id": "a1",
  "function": {"name": "get", "arguments": {"city": "Z\\u00fcrich", "n": 123456789012345678901234567890, "f": 1e-7, "x": [1.0, null, true], "x": 2}}}]},
 {"role": "tool", "tool_call_id": "a1", "name": "get", "content": "sunny"}]"""
CHATS = [
    '[{"role": "user", "content": "Hi"}]',
    '[{"role": "user", "content": "a <|eot|> b <tool call>c <s> [INST] </think> <|begin|><|begin|>"}, {"role": "assistant", "content": "<think>hm</think>\\n\\nYes  "}]',
    '[{"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two \\ud83d\\ude00<|eot|>"}]}]',
    '[{"role": "user", "content": "x"}, {"role": "assistant", "reasoning": "so", "content": " The answer is "}]',
    '[{"role": "assistant", "reasoning_content": "r1", "thinking": "r2", "content": "c"}]',
    CALLS,
    "[]",
]
OPTIONS = [
    {},
    {"add_generation_prompt": True},
    {"tools": TOOLS},
    {"documents": DOCUMENTS},
    {"variables": '{"enable_thinking": false, "more": {"k": [1, NaN]}, "bos_token": "mine"}'},
    {"continue_field": "content"},
    {"continue_field": "reasoning_content"},
    {"continue_field": "thinking"},
    {"template": "rag", "documents": DOCUMENTS},
    {"template": "tool_use", "tools": "[]"},
    {"add_generation_prompt": True, "continue_field": "content"},
]


def apply(tokenizer, messages, options, **more):
    read = {key: json.loads(options[key]) for key in ("tools", "documents") if key in options}
    variables = json.loads(options.get("variables", "{}"))
    return tokenizer.apply_chat_template(
        json.loads(messages),
        chat_template=options.get("template"),
        add_generation_prompt=options.get("add_generation_prompt", False),
        continue_final_message=options.get("continue_field", False),
        **read,
        **variables,
        **more,
    )


def chats():
    """Cases as [tokenizer, template, messages, options, text or None, ids or None, ids with control tokens as text]; the
    first four are numbers in lists. Ids are left out where the text is long: other cases have theirs."""
    tokenizers, templates = ["llama3", "llama2", "qwen", "gemma", "unigram"], [PLAIN, PARTS, ALL, SPLITS, REFUSES, NAMED]
    cases = []
    for name, template in itertools.product(tokenizers, templates):
        if name != "llama3" and template not in (PLAIN, SPLITS):
            continue
        file = str(ROOT / name / "tokenizer.json")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, bos_token="<s>", eos_token="</s>")
        tokenizer._tokenizer.no_truncation()
        tokenizer._tokenizer.no_padding()
        tokenizer.chat_template = template
        for messages, options in itertools.product(CHATS, OPTIONS):
            if "template" in options and template is not NAMED:
                continue
            if name != "llama3" and options:
                continue
            lists = [(tokenizers, name), (templates, template), (CHATS, messages), (OPTIONS, options)]
            case = [known.index(one) for known, one in lists]
            try:
                case.append(apply(tokenizer, messages, options, tokenize=False))
            except Exception:  # whatever it is, a failure
                cases.append([*case, None])
                continue
            if template is not ALL or messages == CHATS[1]:
                case.append(apply(tokenizer, messages, options, return_dict=False))
                try:
                    case.append(apply(tokenizer, messages, options, return_dict=False, sanitize_control_tokens=True))
                except ValueError:
                    case.append(None)
            cases.append(case)
    return {"tokenizers": tokenizers, "templates": templates, "messages": CHATS, "options": OPTIONS, "cases": cases}


def transformers_own(model):
    return next(template for models, template in _RESPONSE_TEMPLATE_FALLBACKS.items() if model in models)


THINK = {"open": "<think>", "close": "</think>", "content": "text"}
CALL = {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}}
RESPONSES = {
    "qwen3": transformers_own("qwen3"),
    "qwen3-coder": transformers_own("qwen3_5"),
    "gemma": transformers_own("gemma4"),
    "gpt-oss": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|start|>assistant",
        "fields": {
            "reasoning_content": {
                "open_pattern": r"(?:<\|start\|>assistant)?<\|channel\|>analysis<\|message\|>",
                "close": ["<|end|>", "<|return|>"],
                "content": "text",
            },
            "tool_calls": {
                "open_pattern": r"(?:<\|start\|>assistant)?(?: to=functions\.(?P<name>\w+)<\|channel\|>commentary json<\|message\|>|<\|channel\|>commentary to=functions\.(?P<name>\w+) <\|constrain\|>json<\|message\|>)",
                "close": "<|call|>",
                "repeats": True,
                "content": "json",
                "transform": CALL,
            },
            "content": {
                "open_pattern": r"(?:<\|start\|>assistant)?<\|channel\|>(?:final|commentary)<\|message\|>",
                "close": ["<|end|>", "<|return|>"],
                "content": "text",
            },
        },
    },
    "mistral": {
        "defaults": {"role": "assistant"},
        "start_anchor": ["[/INST]", "[/TOOL_RESULTS]"],
        "fields": {
            "reasoning_content": {"open": "[THINK]", "close": "[/THINK]", "content": "text"},
            "tool_calls": {
                "open_pattern": r"\[TOOL_CALLS\](?P<name>\w+)(?:\[CALL_ID\]\w+)?\[ARGS\]",
                "close_pattern": r"(?=\[TOOL_CALLS\]|</s>|$)",
                "repeats": True,
                "content": "json",
                "transform": CALL,
            },
            "content": {"close": "</s>", "content": "text"},
        },
    },
    "deepseek": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<｜Assistant｜>",
        "fields": {
            "reasoning_content": THINK,
            "tool_calls": {
                "open_pattern": r"\s*(?:<｜tool▁calls▁begin｜>)?<｜tool▁call▁begin｜>(?P<name>\w+)<｜tool▁sep｜>",
                "close_pattern": r"<｜tool▁call▁end｜>(?:<｜tool▁calls▁end｜>)?",
                "repeats": True,
                "content": "json",
                "transform": CALL,
            },
            "content": {"close": "<｜end▁of▁sentence｜>", "content": "text"},
        },
    },
    "llama3": {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "fields": {
            "tool_calls": {
                "open_pattern": r"(?:<\|python_tag\|>)?(?=\{\"name\": )",
                "close_pattern": r"(?=<\|eom_id\|>|<\|eot_id\|>|$)",
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": {"name": "{content.name}", "arguments": "{content.parameters}"}},
            },
            "content": {"close": ["<|eot_id|>", "<|eom_id|>"], "content": "text"},
        },
    },
}

ARGUMENTS = '{"city": "Z\\u00fcrich </tool_call> {", "days": [1, 2.5, null, true], "deep": {"a": {"b": "\\\\\\""}}}'
ANSWERS = {
    "qwen3": [
        ("<|im_start|>assistant\n", "Hello there, 1 < 2 <think"),
        ("<|im_start|>assistant\n", "<think>\nreasons\n</think>\n\nThe answer.<|im_end|>"),
        ("<|im_start|>assistant\n<think>\n", "because <b>\n\nit is\n</think>\n\nYes."),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "No thoughts."),
        ("<|im_start|>assistant\n<think>\n", "never ends"),
        ("<|im_start|>assistant\n", 'I look.\n<tool_call>\n{"name": "get", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call><|im_end|>'),
        ("<|im_start|>assistant\n", '<think>\nx\n</think>\n\n<tool_call>\n{"arguments": {"q": "caf\\u00e9 \\" }"}, "name": "find"}\n</tool_call>'),
        ("<|im_start|>user\n<tool_call><|im_end|>\n<|im_start|>assistant\n", "after a user's marker"),
    ],
    "qwen3-coder": [
        ("<|im_start|>assistant\n<think>\n", "hm\n</think>\n\nI run it.\n\n<tool_call>\n<function=run>\n<parameter=code>\nprint(1)\nprint(2)\n</parameter>\n<parameter=times>\n3\n</parameter>\n<parameter=flag>\ntrue\n</parameter>\n<parameter=list>\n[1, 2]\n</parameter>\n<parameter=text>\n5\n</parameter>\n</function>\n</tool_call><|im_end|>"),
        ("<|im_start|>assistant\n", "<tool_call>\n<function=stop>\n</function>\n</tool_call>"),
    ],
    "gemma": [
        ("<|turn>model\n", "Plain answer<turn|>"),
        ("<|turn>model\n", "<|channel>thought\nbecause\n<channel|>So it is.<turn|>"),
        ("<|turn>model\n", '<|channel>thought\n<channel|><|tool_call>call:get{city:<|"|>Bern, {x}<|"|>,days:[1,2.5],deep:{a:{b:true,c:null}},e:<|"|><|"|>}<tool_call|><|tool_response>'),
        ("<|turn>model\n", "<|tool_call>call:stop{}<tool_call|><|tool_call>call:get{n:-3}<tool_call|>"),
    ],
    "gpt-oss": [
        ("<|start|>assistant", "<|channel|>analysis<|message|>I think.<|end|><|start|>assistant<|channel|>final<|message|>Done: 1 < 2.<|return|>"),
        ("<|start|>assistant", '<|channel|>analysis<|message|>Need a tool.<|end|><|start|>assistant<|channel|>commentary to=functions.get <|constrain|>json<|message|>{"city": "Bern"}<|call|>'),
        ("<|start|>assistant", ' to=functions.get<|channel|>commentary json<|message|>{"a": [1, {"b": null}]}<|call|>'),
        ("<|start|>assistant", "<|channel|>final<|message|>Only this"),
    ],
    "mistral": [
        ("[/INST]", "Hello [TOOL] there</s>"),
        ("[/INST]", '[TOOL_CALLS]get[ARGS]{"city": "Bern"}</s>'),
        ("[/INST]", '[THINK]so[/THINK]I look.[TOOL_CALLS]get[CALL_ID]abcdef123[ARGS]{"x": "}]"}[TOOL_CALLS]stop[ARGS]{}'),
    ],
    "deepseek": [
        ("<｜Assistant｜><think>\n", "reasons\n</think>\n\nThe answer<｜end▁of▁sentence｜>"),
        ("<｜Assistant｜><think></think>", 'I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{"a": "<｜tool"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>stop<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'),
    ],
    "llama3": [
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", "Hello {there}<|eot_id|>"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", '{"name": "get", "parameters": {"city": "Bern", "n": {"x": "}"}}}<|eot_id|>'),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", '<|python_tag|>{"name": "get", "parameters": {}}<|eom_id|>'),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", '{"answer": 42}'),
    ],
}
CODER_TOOLS = [{"type": "function", "function": {"name": "run", "parameters": {"type": "object", "properties": {
    "code": {"type": "string"}, "times": {"type": "integer"}, "flag": {"type": ["boolean", "null"]},
    "list": {"anyOf": [{"type": "array"}, {"type": "null"}]}, "text": {"type": "string"}}}}}]


def answers():
    cases = []
    for name, texts in ANSWERS.items():
        for prompt, text in texts:
            for tools in ([None, CODER_TOOLS] if name == "qwen3-coder" else [None]):
                case = {"format": name, "prompt": "before " + prompt, "text": text}
                case["tools"] = json.dumps(tools) if tools else None
                case["message"] = parse_response(text, RESPONSES[name], prefix=case["prompt"], tools=tools)
                cases.append(case)
    return cases


def write(name, value):
    (ROOT / name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("chats.json", chats())
    write("answers.json", answers())
