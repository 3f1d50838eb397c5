"""Requests of both kinds, from their fields to what is sent: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from ... import Step, Tokenizer, __version__, errors
from .. import Answer, Pipeline
from . import limits
from .chat import ChatForm
from .completions import CompletionForm
from .fields import ChatRequest, CompletionRequest, Sampling
from .forms import Form
from .problems import Problem, logger, problem_of
from .prompts import chat_prompt, schema_problem
from .sampling import sampling_options
from .state import Monitor
from .writing import begun, first_of


class Answering:
    """Answers requests with a pipeline. `ends`: what is closed when the request has ended, however that was."""

    def __init__(self, pipeline: Pipeline, name: str, monitor: Monitor) -> None:
        self._pipeline, self._name, self._monitor = pipeline, name, monitor
        self._compiling = asyncio.Semaphore(limits.COMPILING)

    @property
    def _tokenizer(self) -> Tokenizer:
        if self._pipeline.tokenizer is None:
            raise Problem(400, f"{self._name} has no tokenizer.json", code="unsupported")
        return self._pipeline.tokenizer

    def check_model(self, model: str) -> None:
        """Whether it is the model that is served."""
        if model != self._name:
            raise Problem(404, f"/model: there is no {model!r}: this service has {self._name!r}", "/model", "model_not_found")

    async def completion(self, request: CompletionRequest, ends: AsyncExitStack) -> Response:
        """Of /v1/completions."""
        self.check_model(request.model)
        tokenizer, options = self._tokenizer, self._options(request)
        options.setdefault("max_new_tokens", 16)
        if request.logprobs is not None:
            options["logprobs"] = max(request.logprobs, 1)
        given = request.prompt
        prompt = given[0] if isinstance(given, list) and not isinstance(given[0], int) else given

        def begin() -> Answer:
            return self._pipeline.generate(prompt, **options)

        form = CompletionForm(self._head("cmpl", "text_completion"), tokenizer, request.logprobs)
        return await self._answer(request, form, begin, "/prompt", ends)

    async def chat(self, request: ChatRequest, ends: AsyncExitStack) -> Response:
        """Of /v1/chat/completions."""
        self.check_model(request.model)
        if request.top_logprobs is not None and not request.logprobs:
            raise Problem(400, '/top_logprobs: only with "logprobs": true', "/top_logprobs", "invalid_value")
        if request.max_completion_tokens is not None:
            if request.max_tokens is not None:
                raise Problem(400, "/max_tokens: /max_completion_tokens says it already", "/max_tokens", "invalid_value")
            request.max_tokens = request.max_completion_tokens
        tokenizer, options = self._tokenizer, self._options(request)
        top = (request.top_logprobs or 0) if request.logprobs else None
        if top is not None:
            options["logprobs"] = max(top, 1)
        prompt = await asyncio.to_thread(chat_prompt, request, tokenizer)
        if "grammar" in prompt.options and request.ignore_eos:
            raise Problem(400, "/ignore_eos: an answer of a given form ends where the form does", "/ignore_eos", "invalid_value")

        def begin() -> Answer:
            try:
                return self._pipeline.generate(prompt.ids, **options, **prompt.options)
            except errors.InvalidArgument as error:
                raise schema_problem(error, request) if "grammar" in prompt.options else error

        form = ChatForm(self._head("chatcmpl", "chat.completion"), tokenizer, prompt, top)
        return await self._answer(request, form, begin, "/messages", ends, compiles="grammar" in prompt.options)

    def _options(self, request: Sampling) -> dict[str, Any]:
        return sampling_options(request, self._pipeline.published_sampling, self._tokenizer.vocab_size)

    def _head(self, prefix: str, kind: str) -> dict[str, Any]:
        return {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self._name,
            "system_fingerprint": f"ortshard-{__version__}",
        }

    async def _answer(
        self, request: Sampling, form: Form, begin: Callable[[], Answer], field: str, ends: AsyncExitStack, compiles: bool = False
    ) -> Response:
        try:
            async with self._compiling if compiles else AsyncExitStack():
                answer = await ends.enter_async_context(begun(begin))
            steps = await first_of(self._counted(answer))
            if not request.stream:
                return JSONResponse(await form.whole(answer, steps))
        except Exception as error:
            raise problem_of(error, field) from error
        events = self._events(request, form, answer, steps)
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def _counted(self, answer: Answer) -> AsyncIterator[Step]:
        async for step in answer.async_steps():
            self._monitor.count()
            yield step

    async def _events(self, request: Sampling, form: Form, answer: Answer, steps: AsyncIterator[Step]) -> AsyncIterator[bytes]:
        usage = bool(request.stream_options and request.stream_options.include_usage)
        try:
            async for piece in form.pieces(answer, steps):
                yield _event({**piece, "usage": None} if usage else piece)
            if usage:
                yield _event(form.usage(answer))
        except Exception as error:
            logger.warning("a stream ended with an error", exc_info=error)
            yield _event(problem_of(error).body)
        yield b"data: [DONE]\n\n"


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
