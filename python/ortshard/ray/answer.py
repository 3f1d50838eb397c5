"""A text in progress, for who asked for it: iterate over it, with `for` or `async for`."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from .. import Finish, Step
from .job import Job


class Answer:
    """The text after a prompt, in pieces as they become certain.

    for text in pipeline.generate("Once upon a time"):
        print(text, end="", flush=True)
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._steps: queue.SimpleQueue[Step | Exception] = queue.SimpleQueue()
        self._end: Finish | Exception | None = None
        self._arrived: Callable[[], object] = lambda: None
        self._wake = wake
        self._job: Job

    def _tell(self, step: Step | Exception) -> None:
        """Called by the thread of the pipeline."""
        self._steps.put(step)
        # Where the event loop has ended nobody waits any more.
        with suppress(RuntimeError):
            self._arrived()

    def _next(self) -> Step | None:
        """The next step, which it waits for; None behind the last one."""
        if self._end is None:
            step = self._steps.get()
            if not isinstance(step, Exception):
                self._end = Finish(step.finish) if step.finish else None
                return step
            self._end = step
        if isinstance(self._end, Exception):
            raise self._end
        return None

    def steps(self) -> Iterator[Step]:
        """Each token with its text, and what is told of it, such as `logprobs`; the last one says why the text ends."""
        while (step := self._next()) is not None:
            yield step

    async def async_steps(self) -> AsyncIterator[Step]:
        """`steps()` for `async for`."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        self._arrived = lambda: loop.call_soon_threadsafe(arrived.set)
        while True:
            arrived.clear()
            while self._end is not None or not self._steps.empty():
                step = self._next()
                if step is None:
                    return
                yield step
            await arrived.wait()

    def __iter__(self) -> Iterator[str]:
        return (step.text for step in self.steps() if step.text)

    async def __aiter__(self) -> AsyncIterator[str]:
        async for step in self.async_steps():
            if step.text:
                yield step.text

    def read(self) -> str:
        """The rest of the text at once."""
        return "".join(self)

    @property
    def ids(self) -> list[int]:
        """The tokens so far, without the prompt."""
        return self._job.generated

    @property
    def prompt_length(self) -> int:
        """The tokens of the prompt."""
        return self._job.prompt_length

    @property
    def finish(self) -> Finish | None:
        """Why the text has ended; None if it goes on, or nobody has read so far."""
        return self._end if isinstance(self._end, Finish) else None

    def cancel(self) -> None:
        """Ends the text. From any thread."""
        self._job.cancelled = True
        self._wake()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._end is None:
            self.cancel()
