"""What is answered when a request cannot be: OpenAI's shape of an error, which names the field by a JSON pointer."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ... import errors
from ..problems import NoCapacity

logger = logging.getLogger("ortshard.serve")

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_POINTER = re.compile(r"(?<![\w/])/(?:messages|tools|variables)(?:/[\w.$~-]+)*")


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorReply(BaseModel):
    """An answer that tells what is wrong."""

    error: ErrorDetail


class Problem(Exception):
    """A request that gets an error. `param`: the field, as a JSON pointer into the body."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error in OpenAI's shape."""
        kind = _KINDS.get(self.status) or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refused(param: str, why: str) -> Problem:
    """A field that is refused."""
    return Problem(400, f"{param}: {why}", param, "unsupported_value")


def problem_of(error: BaseException, param: str | None = None) -> Problem:
    """What a client is told about an exception. `param`: the field that it is about, where its message names none."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, errors.ContextFull):
        return Problem(400, str(error), param, "context_length_exceeded")
    if isinstance(error, NoCapacity):
        return Problem(503, str(error), code="no_capacity", headers={"Retry-After": "5"})
    if isinstance(error, errors.InvalidState):
        return Problem(503, str(error), code="unavailable", headers={"Retry-After": "5"})
    if isinstance(error, (errors.ArgumentError, errors.Unsupported, UnicodeError)):
        return Problem(400, str(error), place_in(str(error), param), "invalid_value")
    logger.error("a request failed", exc_info=error)
    return Problem(500, str(error) if isinstance(error, errors.Error) else "internal error: the log of the service says more")


def place_in(message: str, otherwise: str | None) -> str | None:
    """The field that a message of the library names."""
    found = _POINTER.search(message)
    return found[0] if found else otherwise


def pointer(place: Sequence[str | int], body: Any, is_missing: bool = False) -> str:
    """The JSON pointer of a place that pydantic names, whose names of alternatives are no part of it."""
    path = ""
    for i, part in enumerate(place):
        in_list = isinstance(body, list) and isinstance(part, int) and part < len(body)
        inside = in_list or (isinstance(body, Mapping) and part in body)
        if inside or (is_missing and i == len(place) - 1):
            path += "/" + str(part).replace("~", "~0").replace("/", "~1")
            body = body[part] if inside else None
    return path


def invalid(found: Sequence[Mapping[str, Any]], body: Any) -> Problem:
    """The error for a body that is not of the form: of all that is wrong, what lies deepest, since it says most."""
    told = []
    for error in found:
        place = error["loc"]
        # FastAPI says where in the request it is.
        place = place[1:] if place[:1] == ("body",) else place
        path = pointer(place, body, error["type"] == "missing")
        why = {"extra_forbidden": "there is no such field", "none_required": "is not supported"}.get(error["type"], error["msg"])
        told.append((path, str(why), str(error["type"])))
    path, why, kind = max(told, key=lambda one: one[0].count("/"))
    return Problem(400, f"{path or 'the body'}: {why}", path or None, kind)
