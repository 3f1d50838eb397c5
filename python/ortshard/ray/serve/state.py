"""What the page of the pipeline's state shows."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from ... import __version__
from .. import Pipeline, StageReport
from .replies import RecoveryState, RequestsState, StageState, State
from .slots import Slots

#: Seconds that tokens are counted over, and that what the stages say is kept: asking them costs a call to each.
_WINDOW, _FRESH = 10, 1.0
#: Recoveries that are told, the last ones.
_RECOVERIES = 20


class Monitor:
    """Counts tokens, and asks the stages, once for all who want to know."""

    def __init__(self, pipeline: Pipeline, name: str, context: int, slots: Slots) -> None:
        self._pipeline, self._name, self._context, self._slots = pipeline, name, context, slots
        self._started = time.monotonic()
        self._tokens = 0
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_WINDOW + 1)
        self._lock = asyncio.Lock()
        self._known: tuple[float, list[StageState]] = (-_FRESH, [])

    def count(self) -> None:
        """One more token."""
        self._tokens += 1
        now = int(time.monotonic())
        if self._seconds and self._seconds[-1][0] == now:
            self._seconds[-1] = (now, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((now, 1))

    async def state(self) -> State:
        """Everything."""
        slots, recoveries = self._slots, self._pipeline.recoveries
        since = int(time.monotonic()) - _WINDOW
        return State(
            model=self._name,
            version=__version__,
            context=self._context,
            uptime_seconds=time.monotonic() - self._started,
            tokens_per_second=sum(count for second, count in self._seconds if second > since) / _WINDOW,
            tokens=self._tokens,
            requests=RequestsState(
                running=slots.running,
                waiting=slots.waiting,
                places=slots.places,
                queue=slots.queue,
                answered=slots.answered,
                refused=slots.refused,
                left=slots.left,
            ),
            stages=await self._stages(),
            restarts=sum(len(recovery.stages) for recovery in recoveries),
            recoveries=[
                RecoveryState(
                    stages=sorted(recovery.stages),
                    seconds=recovery.seconds,
                    restored=recovery.restored,
                    anew=len(recovery.anew),
                    recomputed_tokens=recovery.recomputed_tokens,
                )
                for recovery in recoveries[-_RECOVERIES:]
            ],
        )

    async def _stages(self) -> list[StageState]:
        async with self._lock:
            if time.monotonic() - self._known[0] >= _FRESH:
                reports = await asyncio.to_thread(self._pipeline.report)
                self._known = (time.monotonic(), [_stage(report) for report in reports])
            return self._known[1]


def _stage(report: StageReport) -> StageState:
    return StageState(
        replica=report.replica,
        stage=report.stage,
        first_layer=report.first_layer,
        last_layer=report.last_layer,
        weight_bytes=report.weight_bytes,
        host=report.host,
        pid=report.pid,
        tokens=report.tokens,
        tokens_per_second=report.tokens_per_second,
        waiting=report.waiting,
        resident_bytes=report.counters.get("resident_bytes"),
    )
