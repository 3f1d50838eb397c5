"""What stands in front of the app: who may connect, how large a body may be, and whether there is room. Nothing of a refused body is kept."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Collection
from contextlib import AsyncExitStack

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import limits
from .problems import Problem
from .slots import Slots

#: Where a request finds the stack of what is closed when it ends: before the last part goes, failed, or without a client.
ENDS = "ortshard.ends"
#: What a browser on this machine calls this machine.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
# So many times too large a body is still heard out, and forgotten: most clients listen for an answer only then.
_PATIENCE = 8
# Holds nothing that is worth a key, and asks for one.
_OPEN = frozenset({"/", "/favicon.ico"})


def digest_of(key: str) -> bytes:
    """What is kept of an API key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """ASGI in front of ASGI. `key`: the digest of the API key, if there is one; `hosts`: the names that it answers to, if not all."""

    def __init__(
        self,
        app: ASGIApp,
        slots: Slots,
        *,
        body: int = limits.BODY,
        key: bytes | None = None,
        hosts: Collection[str] | None = None,
    ) -> None:
        self._app, self._slots, self._body, self._key, self._hosts = app, slots, body, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the start and end of the app."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            headers = Headers(scope=scope)
            self._check(scope["path"], headers)
            if scope["method"] != "POST" or not scope["path"].startswith("/v1/"):
                await self._app(scope, receive, send)
                return
            async with AsyncExitStack() as ends:
                await ends.enter_async_context(self._slots.one())
                scope[ENDS] = ends
                # Read in whole before anything of it is believed.
                await self._app(scope, _again(await self._read(headers, receive), receive), _ending(ends, send))
        except ClientDisconnect:
            return
        except Problem as problem:
            await told(problem)(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "")
        name, _, port = host.rpartition(":")
        if self._hosts is not None and (name if port.isdigit() else host) not in self._hosts:
            # A page from elsewhere whose name was made to lead here.
            message = f"this service does not answer to the name {host!r}: it does with an API key, or bound to another address"
            raise Problem(403, message, code="host")
        if self._key is not None and path not in _OPEN:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(digest_of(key.strip()), self._key):
                message = "an API key is needed: Authorization: Bearer KEY"
                raise Problem(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # What a page from elsewhere can send without being asked is never JSON.
            raise Problem(415, f"the body must be application/json, not {kind or 'of no type'}", code="unsupported_media_type")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > _PATIENCE * self._body:
            raise self._too_large()
        try:
            return await asyncio.wait_for(self._all(receive), limits.BODY_SECONDS)
        except asyncio.TimeoutError as error:
            raise Problem(408, f"the body has not come within {limits.BODY_SECONDS:g} s", code="timeout") from error

    async def _all(self, receive: Receive) -> bytes:
        body, size, more = bytearray(), 0, True
        while more and size <= _PATIENCE * self._body:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            size, more = size + len(part), message.get("more_body", False)
            if size <= self._body:
                body += part
        if size > self._body:
            raise self._too_large()
        return bytes(body)

    def _too_large(self) -> Problem:
        return Problem(413, f"the body has more than {self._body} bytes", code="too_large")


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, and then what comes behind it."""
    given = False

    async def gives() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return gives


def _ending(ends: AsyncExitStack, send: Send) -> Send:
    """Sends, and closes `ends` before the last part: a client that has all of an answer finds its room free again."""

    async def sends(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await ends.aclose()
        await send(message)

    return sends


def told(problem: Problem) -> JSONResponse:
    """The answer that tells a problem."""
    return JSONResponse(problem.body, problem.status, problem.headers)
