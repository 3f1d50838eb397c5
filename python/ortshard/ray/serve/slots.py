"""The places of requests: as many as the pipeline runs at once, and a bounded queue in front of them. Whoever comes then is told to come again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .problems import Problem

#: Seconds that a client is told to wait: between these.
_LEAST, _MOST = 1, 60


class Slots:
    """Counts requests until the last part of their answers is about to go. `places`: so many run at once; `queue`: so many wait."""

    def __init__(self, places: int, queue: int) -> None:
        self.places, self.queue = places, queue
        self.taken = self.answered = self.refused = self.left = 0
        # What an answer takes, by those that have ended.
        self._seconds = 1.0

    @property
    def running(self) -> int:
        """Requests that have a place."""
        return min(self.taken, self.places)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self.taken - self.running

    @property
    def retry_after(self) -> int:
        """Seconds until there should be room."""
        return min(max(math.ceil(self._seconds), _LEAST), _MOST)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A place, or a place in the queue, until the block ends."""
        if self.taken >= self.places + self.queue:
            self.refused += 1
            message = f"{self.running} requests are running and {self.waiting} wait: there is no room for another"
            raise Problem(429, message, code="queue_full", headers={"Retry-After": str(self.retry_after)})
        self.taken += 1
        started = time.monotonic()
        try:
            yield
            self.answered += 1
            self._seconds += (time.monotonic() - started - self._seconds) / 8
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.taken -= 1
