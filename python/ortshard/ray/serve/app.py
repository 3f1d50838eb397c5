"""The app: OpenAI's routes over a pipeline, and the page of its state."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp

from .. import Pipeline
from . import limits
from .answering import Answering
from .fields import ChatRequest, CompletionRequest
from .guard import ENDS, Guard, told
from .problems import ErrorReply, Problem, invalid, problem_of
from .replies import ChatCompletion, Completion, ModelCard, ModelList, State
from .slots import Slots
from .state import Monitor

_PAGE = Path(__file__).with_name("page.html").read_text("utf-8")
# The page runs what is in it and asks who has sent it; nothing else.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_WHY = {
    400: "A field is wrong, or not supported: `param` names it.",
    401: "The API key is missing or wrong.",
    403: "The service does not answer to this name.",
    404: "There is no such model.",
    408: "The body has not come in time.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    429: "There is no room for another request: `Retry-After` says when to come again.",
    500: "A fault of the service.",
    503: "No machine has room for a part of the model.",
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorReply, "description": _WHY[status]} for status in statuses}


def _answers(kind: type[Any]) -> dict[int | str, dict[str, Any]]:
    # Without a schema: one of the whole text would be taken for one of each event.
    stream: dict[str, Any] = {"text/event-stream": {}}
    return {200: {"model": kind, "content": stream}, **_errors(*_WHY)}


class _Described(FastAPI):
    """Without the answers that FastAPI describes and this app does not give."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            made = super().openapi()
            for path in made["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                made["components"]["schemas"].pop(name, None)
        return self.openapi_schema or {}


def build(
    pipeline: Pipeline,
    name: str,
    *,
    context: int,
    slots: Slots,
    body: int = limits.BODY,
    key: bytes | None = None,
    hosts: Collection[str] | None = None,
) -> ASGIApp:
    """The app for `pipeline`, whose model clients know by `name`. `key`: the digest of the API key; `hosts`: see `Guard`."""
    created = int(time.time())
    monitor = Monitor(pipeline, name, context, slots)
    answering = Answering(pipeline, name, monitor)
    # No pages of FastAPI's: they load scripts from elsewhere.
    app = _Described(title="ortshard", description="A language model over a pipeline of machines.", docs_url=None, redoc_url=None)

    @app.exception_handler(RequestValidationError)
    async def is_invalid(_request: Request, error: RequestValidationError) -> Response:
        return told(invalid(error.errors(), error.body))

    @app.exception_handler(HTTPException)
    async def is_none(request: Request, error: HTTPException) -> Response:
        problem = Problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", headers=error.headers)
        return told(problem)

    @app.exception_handler(Problem)
    async def is_problem(_request: Request, problem: Problem) -> Response:
        return told(problem)

    @app.exception_handler(Exception)
    async def is_fault(_request: Request, error: Exception) -> Response:
        return told(problem_of(error))

    @app.get("/v1/models", responses=_errors(401, 403), response_model=ModelList)
    async def models() -> ModelList:
        """The model, as a list of one."""
        return ModelList(data=[ModelCard(id=name, created=created)])

    @app.get("/v1/models/{model:path}", responses=_errors(401, 403, 404), response_model=ModelCard)
    async def one_model(model: str) -> ModelCard:
        """The model."""
        answering.check_model(model)
        return ModelCard(id=name, created=created)

    @app.post("/v1/completions", responses=_answers(Completion), response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """The text after a prompt."""
        return await answering.completion(body, request.scope[ENDS])

    @app.post("/v1/chat/completions", responses=_answers(ChatCompletion), response_model=None)
    async def chat(body: ChatRequest, request: Request) -> Response:
        """The answer in a conversation."""
        return await answering.chat(body, request.scope[ENDS])

    @app.get("/state", responses=_errors(401, 403), response_model=State)
    async def state() -> State:
        """What the pipeline is and does."""
        return await monitor.state()

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(_PAGE, headers=_PAGE_HEADERS)

    @app.get("/favicon.ico", include_in_schema=False)
    async def no_icon() -> Response:
        return Response(status_code=204)

    return Guard(app, slots, body=body, key=key, hosts=hosts)
