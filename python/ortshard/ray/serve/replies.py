"""The forms of answers, as the OpenAPI description tells them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

FinishReason = Literal["stop", "length", "tool_calls"]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "ortshard"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class CompletionLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    index: int = 0
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class CalledFunctionReply(BaseModel):
    name: str
    arguments: str


class CallReply(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunctionReply


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[CallReply] | None = None


class ChatChoice(BaseModel):
    index: int = 0
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class StageState(BaseModel):
    replica: int
    stage: int
    first_layer: int
    last_layer: int
    weight_bytes: int
    host: str
    pid: int
    tokens: int
    tokens_per_second: float
    waiting: float
    #: Bytes of the process in memory, where that can be told.
    resident_bytes: int | None


class RecoveryState(BaseModel):
    stages: list[int]
    seconds: float
    restored: int
    anew: int
    recomputed_tokens: int


class RequestsState(BaseModel):
    running: int
    waiting: int
    places: int
    queue: int
    answered: int
    refused: int
    #: Those whose client has gone.
    left: int


class State(BaseModel):
    """What the page of the pipeline's state shows."""

    model: str
    version: str
    context: int
    uptime_seconds: float
    #: Of answers, in the last ten seconds.
    tokens_per_second: float
    tokens: int
    requests: RequestsState
    stages: list[StageState]
    restarts: int
    recoveries: list[RecoveryState]
