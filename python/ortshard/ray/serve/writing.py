"""An answer while it is generated: asked for without holding up the event loop, and ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from ... import Finish, Step
from .. import Answer
from .replies import FinishReason, Usage

Result = TypeVar("Result")

_REASONS: dict[Finish, FinishReason] = {
    Finish.EOS: "stop",
    Finish.STOP: "stop",
    Finish.LENGTH: "length",
    Finish.CONTEXT_FULL: "length",
    Finish.CANCELLED: "stop",
}


@asynccontextmanager
async def begun(begin: Callable[[], Answer]) -> AsyncIterator[Answer]:
    """The answer that `begin` asks for, in a thread, since it may compile a grammar. It ends with the block, however that ends."""
    task = asyncio.ensure_future(asyncio.to_thread(begin))
    try:
        # A thread goes on although nobody waits for it; what it asks for then must end, too.
        answer = await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() else done.result().cancel())
        raise
    try:
        yield answer
    finally:
        if answer.finish is None:
            answer.cancel()


async def first_of(steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
    """The same steps, once the first is there: so that what fails at once is told by the answer's status."""
    try:
        first = await anext(steps)
    except StopAsyncIteration:
        return _chain([], steps)
    return _chain([first], steps)


async def _chain(first: list[Step], rest: AsyncIterator[Step]) -> AsyncIterator[Step]:
    for step in first:
        yield step
    async for step in rest:
        yield step


def reason_of(answer: Answer) -> FinishReason:
    """Why it has ended, in OpenAI's words."""
    return _REASONS.get(answer.finish, "stop") if answer.finish is not None else "stop"


def usage_of(answer: Answer) -> Usage:
    """What it has taken, in tokens."""
    made = len(answer.ids)
    return Usage(prompt_tokens=answer.prompt_length, completion_tokens=made, total_tokens=answer.prompt_length + made)
