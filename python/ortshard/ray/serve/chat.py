"""Answers of /v1/chat/completions: content, reasoning and calls of tools, as the model's own format tells them."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from ... import ChatEvent, ChatEventKind, Step, Tokenizer
from .. import Answer
from .forms import Form
from .logprobs import chat_logprobs
from .prompts import Prompt
from .replies import CalledFunctionReply, CallReply, ChatChoice, ChatCompletion, ChatLogprobs, ChatMessage, FinishReason
from .writing import reason_of, usage_of


@dataclass
class Delta:
    """What is new in an answer."""

    content: str = ""
    reasoning: str = ""
    calls: list[CallReply] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


class ChatForm(Form):
    """`top`: of how many tokens the probabilities are told; None: of none."""

    piece_kind = "chat.completion.chunk"

    def __init__(self, head: dict[str, Any], tokenizer: Tokenizer, prompt: Prompt, top: int | None) -> None:
        super().__init__(head, tokenizer)
        self._prompt, self._top = prompt, top
        self._calls = 0

    async def whole(self, answer: Answer, steps: AsyncIterator[Step]) -> dict[str, Any]:
        """The whole answer."""
        told = Delta()
        async for delta in self._deltas(steps):
            told.content += delta.content
            told.reasoning += delta.reasoning
            told.calls += delta.calls
            told.steps += delta.steps
        message = ChatMessage(
            # Beside calls there need not be a text.
            content=told.content or (None if told.calls else ""),
            reasoning_content=told.reasoning or None,
            tool_calls=told.calls or None,
        )
        choice = ChatChoice(message=message, logprobs=self._logprobs(told.steps), finish_reason=self._reason(answer))
        return ChatCompletion(**self.head, choices=[choice], usage=usage_of(answer)).model_dump()

    async def pieces(self, answer: Answer, steps: AsyncIterator[Step]) -> AsyncIterator[dict[str, Any]]:
        """The answer in pieces: first who speaks, last why the answer ends."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for delta in self._deltas(steps):
            told: dict[str, Any] = {}
            if delta.content:
                told["content"] = delta.content
            if delta.reasoning:
                told["reasoning_content"] = delta.reasoning
            if delta.calls:
                first = self._calls - len(delta.calls)
                told["tool_calls"] = [{"index": first + i, **call.model_dump()} for i, call in enumerate(delta.calls)]
            logprobs = self._logprobs(delta.steps)
            if told or logprobs is not None and logprobs.content:
                yield self._chunk(told, logprobs)
        yield self._chunk({}, reason=self._reason(answer))

    def _chunk(
        self, delta: dict[str, Any], logprobs: ChatLogprobs | None = None, reason: FinishReason | None = None
    ) -> dict[str, Any]:
        told = None if logprobs is None else logprobs.model_dump()
        return self.piece([{"index": 0, "delta": delta, "logprobs": told, "finish_reason": reason}])

    def _logprobs(self, steps: list[Step]) -> ChatLogprobs | None:
        return None if self._top is None else chat_logprobs(self.tokenizer, steps, self._top)

    def _reason(self, answer: Answer) -> FinishReason:
        reason = reason_of(answer)
        return "tool_calls" if self._calls and reason == "stop" else reason

    async def _deltas(self, steps: AsyncIterator[Step]) -> AsyncIterator[Delta]:
        parser, text = self._prompt.parser, ""
        async for step in steps:
            if self._prompt.is_call:
                text += step.text
                yield Delta(steps=[step])
            elif parser is None:
                yield Delta(content=step.text, steps=[step])
            else:
                yield self._told(parser.push(step.text), [step])
                if self._calls and self._prompt.one_call:
                    return
        if self._prompt.is_call:
            yield self._call(text)
        elif parser is not None:
            yield self._told(parser.finish(), [])

    def _told(self, events: Iterable[ChatEvent], steps: list[Step]) -> Delta:
        delta = Delta(steps=steps)
        for event in events:
            if event.kind == ChatEventKind.CONTENT:
                delta.content += event.text
            elif event.kind == ChatEventKind.REASONING:
                delta.reasoning += event.text
            elif not (self._calls and self._prompt.one_call):
                self._add(delta, event.name or "", event.text, event.id)
        return delta

    def _add(self, delta: Delta, name: str, arguments: str, id: str | None = None) -> None:
        self._calls += 1
        function = CalledFunctionReply(name=name, arguments=arguments)
        delta.calls.append(CallReply(id=id or f"call_{uuid.uuid4().hex[:24]}", function=function))

    def _call(self, text: str) -> Delta:
        """The call that the whole text is; a text, where its end has not come."""
        delta = Delta()
        try:
            call = json.loads(text)
            self._add(delta, call["name"], json.dumps(call["arguments"], ensure_ascii=False))
        except ValueError:
            delta.content = text
        return delta
