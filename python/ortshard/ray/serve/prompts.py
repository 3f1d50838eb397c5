"""A conversation as the model's prompt, and what its answer must look like."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import ChatParser, Tokenizer, errors
from . import limits
from .fields import AssistantMessage, ChatRequest, ChosenTool, FormatJson, FormatSchema, RefusalPart, TextPart, Tool, ToolMessage
from .problems import Problem, place_in, refused

_SCHEMA_PLACE = re.compile(r'the JSON schema at "([^"]*)"')
_GRAMMAR_LINE = re.compile(r"the Lark grammar at line (\d+)")


@dataclass
class Prompt:
    """What the model is given, and how its answer is read."""

    ids: list[int]
    #: Of the generation: a grammar, and whether special tokens are part of the text.
    options: dict[str, Any] = field(default_factory=dict)
    #: Finds reasoning and tool calls in the text; None where the text is the answer.
    parser: ChatParser | None = None
    #: The whole text is a call of a tool.
    is_call: bool = False
    #: The answer ends after the first call.
    one_call: bool = False


def chat_prompt(request: ChatRequest, tokenizer: Tokenizer) -> Prompt:
    """The prompt of a conversation, by the model's chat template."""
    tools = request.tools or []
    forced = _forced(request, tools)
    grammar = _answer_grammar(request)
    if grammar and tools and request.tool_choice != "none":
        raise refused("/response_format", 'not together with tools, unless "tool_choice" is "none"')
    _check_tools(tools, forced)
    told = [] if request.tool_choice == "none" else [tool.model_dump(exclude_none=True) for tool in tools]
    messages = [_message(request, i) for i in range(len(request.messages))]
    options: dict[str, Any] = {"add_generation_prompt": True, "control_as_text": True}
    if told:
        options["tools"] = told
    if request.chat_template_kwargs:
        options["variables"] = _small(request.chat_template_kwargs, "/chat_template_kwargs")
    try:
        text = tokenizer.chat_text(messages, **options)
        if request.reasoning_effort is not None:
            options["variables"] = {**options.get("variables", {}), "reasoning_effort": request.reasoning_effort}
            plain, text = text, tokenizer.chat_text(messages, **options)
            if text == plain:
                raise refused("/reasoning_effort", "the model's chat template makes no difference for it")
        ids = tokenizer.chat_ids(messages, **options)
    except (errors.Error, UnicodeError) as error:
        # A template is free to refuse a conversation, and may fail in its own way.
        raise Problem(400, f"/messages: {error}", place_in(str(error), "/messages"), "invalid_value") from error
    if forced:
        return Prompt(ids, {"grammar": _call_grammar(forced), "grammar_kind": "lark"}, is_call=True)
    if grammar:
        return Prompt(ids, {"grammar": grammar, "grammar_kind": "json_schema"})
    parser = tokenizer.chat_parser(prompt=text, tools=told or None)
    return Prompt(ids, {"keep_special": True}, parser, one_call=request.parallel_tool_calls is False)


def _message(request: ChatRequest, i: int) -> dict[str, Any]:
    given = request.messages[i]
    message = given.model_dump(exclude_none=True, exclude={"annotations", "refusal"})
    if given.content is not None:
        message["content"] = _text(given.content)
    if message["role"] == "developer":
        # What templates know it by.
        message["role"] = "system"
    if isinstance(given, AssistantMessage):
        if given.content is None:
            message["content"] = given.refusal or ""
        for j, call in enumerate(message.get("tool_calls", [])):
            call["function"]["arguments"] = _arguments(
                call["function"]["arguments"], f"/messages/{i}/tool_calls/{j}/function/arguments"
            )
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]
    if isinstance(given, ToolMessage) and given.name is None and (name := _called(request, i, given.tool_call_id)):
        message["name"] = name
    return message


def _text(content: str | Sequence[TextPart | RefusalPart]) -> str:
    """Parts as one text: by far not all templates know parts."""
    if isinstance(content, str):
        return content
    return "\n".join(part.refusal if isinstance(part, RefusalPart) else part.text for part in content)


def _arguments(text: str, place: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise Problem(400, f"{place}: is no JSON object", place, "invalid_value")
    return arguments


def _called(request: ChatRequest, before: int, id: str) -> str | None:
    """The name of the function that the call `id` was of."""
    for message in reversed(request.messages[:before]):
        for call in isinstance(message, AssistantMessage) and message.tool_calls or []:
            if call.id == id:
                return call.function.name
    return None


def _forced(request: ChatRequest, tools: list[Tool]) -> list[Tool]:
    """The tools of which one must be called."""
    choice = request.tool_choice
    if not isinstance(choice, ChosenTool) and choice != "required":
        return []
    if not tools:
        raise refused("/tool_choice", "there are no tools")
    if not isinstance(choice, ChosenTool):
        return tools
    found = [tool for tool in tools if tool.function.name == choice.function.name]
    if not found:
        raise refused("/tool_choice/function/name", f"there is no tool {choice.function.name!r}")
    return found[:1]


def _check_tools(tools: list[Tool], forced: list[Tool]) -> None:
    for i, tool in enumerate(tools):
        if tool.function.strict and tool not in forced:
            raise refused(f"/tools/{i}/function/strict", 'only where "tool_choice" makes the model call the tool')
    _small([tool.function.parameters for tool in tools], "/tools")


def _answer_grammar(request: ChatRequest) -> dict[str, Any] | None:
    """The schema that the whole answer must match."""
    form = request.response_format
    if isinstance(form, FormatJson):
        return {"type": "object"}
    if isinstance(form, FormatSchema):
        schema: dict[str, Any] = _small(form.json_schema.schema_, "/response_format/json_schema/schema")
        return schema
    return None


def _call_grammar(forced: list[Tool]) -> str:
    """A call of one of the tools, as JSON. Each schema is a document of its own, so that its references lead where they should."""
    rules = ["start: " + " | ".join(f"call_{i}" for i in range(len(forced)))]
    for i, tool in enumerate(forced):
        head = json.dumps(f'{{"name": {json.dumps(tool.function.name)}, "arguments": ')
        rules.append(f'call_{i}: {head} arguments_{i} "}}"')
        rules.append(f"arguments_{i}: %json {json.dumps(tool.function.parameters or {'type': 'object'})}")
    return "\n".join(rules)


def _small(schema: Any, place: str) -> Any:
    try:
        size = len(json.dumps(schema))
    except RecursionError:
        size = limits.SCHEMA + 1
    if size > limits.SCHEMA:
        raise Problem(400, f"{place}: more than {limits.SCHEMA} bytes of JSON", place, "too_large")
    return schema


def schema_problem(error: errors.InvalidArgument, request: ChatRequest) -> Problem:
    """The error for a schema that cannot be compiled, with the place in it."""
    text = str(error)
    found, line = _SCHEMA_PLACE.search(text), _GRAMMAR_LINE.search(text)
    if isinstance(request.response_format, FormatSchema):
        base = "/response_format/json_schema/schema"
    elif line and (forced := _forced(request, request.tools or [])):
        # As _call_grammar() writes them.
        base = f"/tools/{(request.tools or []).index(forced[(int(line[1]) - 3) // 2])}/function/parameters"
    else:
        base = "/tools"
    place = base + (found[1] if found else "")
    return Problem(400, f"{place}: {text}", place, "invalid_schema")
