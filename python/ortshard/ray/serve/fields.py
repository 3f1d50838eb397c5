"""The fields of a request. What is typed `Refused` is known, and refused by name; `Ignored` ones cannot change an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from . import limits


# Which of several forms is meant, so that what is wrong with it can be said in one way.
def _form(value: Any) -> str:
    return "list" if isinstance(value, list) else "object" if isinstance(value, Mapping | BaseModel) else "one"


def _prompt_form(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        return "texts" if isinstance(value[0], str) else "lists"
    return _form(value) if isinstance(value, list) else "one"


Refused = Annotated[None, Field(description="Not supported.")]
Ignored = Annotated[Any, Field(description="Taken, and of no effect.")]
Text = Annotated[str, Field(max_length=limits.BODY)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Stop = Annotated[str, Field(min_length=1, max_length=limits.STOP_LENGTH)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Stops = Annotated[
    Annotated[Stop, Tag("one")] | Annotated[list[Stop], Field(max_length=limits.STOPS), Tag("list")], Discriminator(_form)
]
OnePrompt = Annotated[
    Annotated[Text, Tag("one")]
    | Annotated[Tokens, Tag("list")]
    | Annotated[list[Text], Field(min_length=1, max_length=1), Tag("texts")]
    | Annotated[list[Tokens], Field(min_length=1, max_length=1), Tag("lists")],
    Discriminator(_prompt_form),
]


class Strict(BaseModel):
    """No field that is not listed, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class Sampling(Strict):
    """How tokens are chosen and where the text ends: fields that both kinds of requests have. A field that is missing or null is as the model's publisher wants it."""

    model: Annotated[str, Field(min_length=1, max_length=512)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31, description="0: all.")] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    logit_bias: Annotated[dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Bias], Field(max_length=limits.BIASES)] | None = (
        None
    )
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, description="Without it every answer is drawn anew.")] | None = None
    stop: Stops | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    ignore_eos: bool | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Ignored = None


class CompletionRequest(Sampling):
    """Of /v1/completions."""

    prompt: OnePrompt
    logprobs: Annotated[int, Field(ge=0, le=limits.TOP_LOGPROBS)] | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    suffix: Refused = None


class TextPart(Strict):
    type: Literal["text"]
    text: Text


class RefusalPart(Strict):
    type: Literal["refusal"]
    refusal: Text


AnyPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
Content = Annotated[
    Annotated[Text, Tag("one")] | Annotated[list[TextPart], Field(min_length=1, max_length=limits.PARTS), Tag("list")],
    Discriminator(_form),
]
AnyContent = Annotated[
    Annotated[Text, Tag("one")] | Annotated[list[AnyPart], Field(min_length=1, max_length=limits.PARTS), Tag("list")],
    Discriminator(_form),
]


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: Content
    name: Name | None = None


class CalledFunction(Strict):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: Annotated[Text, Field(description="A JSON object, as text.")]


class Call(Strict):
    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Strict):
    role: Literal["assistant"]
    content: AnyContent | None = None
    reasoning_content: Text | None = None
    refusal: Text | None = None
    tool_calls: Annotated[list[Call], Field(max_length=limits.CALLS)] | None = None
    name: Name | None = None
    annotations: Ignored = None
    audio: Refused = None
    function_call: Refused = None


class ToolMessage(Strict):
    role: Literal["tool"]
    content: Content
    tool_call_id: Annotated[str, Field(min_length=1, max_length=256)]
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Strict):
    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: Annotated[bool | None, Field(description='True only where "tool_choice" makes the model call a tool.')] = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class ChosenFunction(Strict):
    name: Name


class ChosenTool(Strict):
    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("one")] | Annotated[ChosenTool, Tag("object")], Discriminator(_form)
]


class Schema(Strict):
    name: Name
    description: Text | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class FormatText(Strict):
    type: Literal["text"]


class FormatJson(Strict):
    type: Literal["json_object"]


class FormatSchema(Strict):
    type: Literal["json_schema"]
    json_schema: Schema


class ChatRequest(Sampling):
    """Of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=limits.MESSAGES)]
    tools: Annotated[list[Tool], Field(max_length=limits.TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[FormatText | FormatJson | FormatSchema, Field(discriminator="type")] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=limits.TOP_LOGPROBS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(description="Further variables of the template.")] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    audio: Refused = None
    functions: Refused = None
    function_call: Refused = None
    store: Literal[False] | None = None
    verbosity: Refused = None
    web_search_options: Refused = None
    metadata: Ignored = None
    prediction: Ignored = None
    moderation: Refused = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
