"""A text in progress, for who asked for it: iterate over it, with `for` or `async for`."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from .. import Finish
from .job import Job


class Answer:
    """The text after a prompt, in pieces as they become certain.

    for text in pipeline.generate("Once upon a time"):
        print(text, end="", flush=True)
    """

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[tuple[str, Finish | Exception | None]] = queue.SimpleQueue()
        self._end: Finish | Exception | None = None
        self._arrived: Callable[[], object] = lambda: None
        self._cancel: Callable[[], object] = lambda: None
        self._job: Job | None = None

    def _begin(self, job: Job, cancel: Callable[[], object]) -> None:
        self._job, self._cancel = job, cancel

    def _told(self, text: str, end: Finish | Exception | None) -> None:
        """Called by the thread of the pipeline."""
        self._pieces.put((text, end))
        # Where the event loop has ended nobody waits any more.
        with suppress(RuntimeError):
            self._arrived()

    def _next(self, timeout: float | None = None) -> str | None:
        if self._end is None:
            text, self._end = self._pieces.get(timeout=timeout)
            if text:
                return text
        if isinstance(self._end, Exception):
            raise self._end
        return None if self._end is not None else ""

    def __iter__(self) -> Iterator[str]:
        while (text := self._next()) is not None:
            if text:
                yield text

    async def __aiter__(self) -> AsyncIterator[str]:
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        self._arrived = lambda: loop.call_soon_threadsafe(arrived.set)
        while True:
            arrived.clear()
            while self._end is not None or not self._pieces.empty():
                text = self._next()
                if text is None:
                    return
                if text:
                    yield text
            await arrived.wait()

    def read(self) -> str:
        """The rest of the text at once."""
        return "".join(self)

    @property
    def ids(self) -> list[int]:
        """The tokens so far, without the prompt."""
        return self._job.generated if self._job else []

    @property
    def prompt_length(self) -> int:
        """The tokens of the prompt."""
        return self._job.prompt_length if self._job else 0

    @property
    def finish(self) -> Finish | None:
        """Why the text has ended; None if it goes on, or nobody has read so far."""
        return self._end if isinstance(self._end, Finish) else None

    def cancel(self) -> None:
        """Ends the text. From any thread."""
        if self._job:
            self._job.cancelled = True
        self._cancel()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._end is None:
            self.cancel()
