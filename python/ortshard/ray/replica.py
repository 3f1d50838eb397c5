"""The coordinator of one replica: sends groups of steps round its stages, as many at a time as there is credit for."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import errors
from ._imports import zmq
from .crew import Crew
from .job import Job
from .link import Links
from .log import Log
from .problems import NoCapacity
from .recovery import Recovery, recover
from .wire import REFUSED, Group, Step, decode

#: Seconds between two looks at whether all processes are alive.
_LOOK = 0.1
#: Times that a group goes round the stages without being sent: what a request lacks that has ended is noticed after that at most.
_ROUNDS = 8
#: Times that a request begins anew, for what cannot be told to be its own fault, before it fails.
_RETRIES = 8


@dataclass
class Limits:
    """How much is on the way at once."""

    #: Requests.
    requests: int
    #: Tokens of a prompt in one group.
    chunk: int
    #: Tokens a request has room for.
    context: int
    #: Groups; 0: as many as stages.
    groups: int
    #: Seconds without news after which a stage is taken to hang.
    patience: float


class Replica:
    """Stages in a row, and the thread that feeds them."""

    def __init__(self, crew: Crew, limits: Limits, bind: str, log: Log, homeless: Callable[[Job, Exception], bool]) -> None:
        self.crew, self.limits, self.log = crew, limits, log
        self.recoveries: list[Recovery] = []
        self._homeless = homeless
        self._links = Links(crew.settings.key)
        self._inbox, self._address = self._links.inbox(bind)
        self._wake = _Bell()
        self._new: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._active: dict[int, Job] = {}
        self._freed: list[int] = []
        # Requests whose texts have grown since their readers were told.
        self._news_of: list[Job] = []
        # The numbers of the groups on the way, each with whether it goes round by itself, and the last one.
        self._flow: dict[int, bool] = {}
        self._last = 0
        self._epoch = 0
        # Texts of more tokens are rotated in another way, from their start.
        self._short_context = crew.cards[0].short_context
        self._out: Any = None
        self._news = time.monotonic()
        self._stalls = 0
        self._room = limits.requests
        #: Whether a stage is missing and was not replaced.
        self.is_broken = False
        self._is_closing = False
        self.failure: Exception | None = None
        self._mend(set(), first=True)
        self._thread = threading.Thread(target=self._loop, name="ortshard pipeline", daemon=True)
        self._thread.start()

    @property
    def load(self) -> int:
        """Requests that it has."""
        return len(self._active) + len(self._waiting) + self._new.qsize()

    def submit(self, job: Job) -> None:
        """Takes a request on. From any thread."""
        if self.failure is not None:
            job.fail(self.failure)
            return
        self._new.put(job)
        self._wake.ring()

    def wake(self) -> None:
        """Has it look whether a request was cancelled. From any thread."""
        self._wake.ring()

    def close(self) -> list[Job]:
        """Stops; gives the requests that have not ended."""
        self._is_closing = True
        self._wake.ring()
        self._thread.join()
        while not self._new.empty():
            self._waiting.append(self._new.get())
        self._links.close()
        self._wake.close()
        self.crew.close()
        return [*self._active.values(), *self._waiting]

    def _loop(self) -> None:
        try:
            self._turn()
        except Exception as error:
            # A bug: nobody may wait for ever.
            self.failure = error
            for job in [*self._active.values(), *self._waiting]:
                job.fail(error)
            self._active.clear()
            self._waiting.clear()
            raise

    def _turn(self) -> None:
        poller = zmq.Poller()
        poller.register(self._inbox, zmq.POLLIN)
        poller.register(self._wake.inner, zmq.POLLIN)
        looked = time.monotonic()
        while not self._is_closing:
            self._admit()
            self._send()
            # After what stages wait for.
            self._tell_all()
            ready = dict(poller.poll(int(_LOOK * 1000)))
            if self._wake.inner in ready:
                self._wake.hear()
            if self._inbox in ready:
                self._receive()
            if time.monotonic() - looked >= _LOOK:
                self._look()
                looked = time.monotonic()
        self._tell_all()

    def _admit(self) -> None:
        while not self._new.empty():
            self._waiting.append(self._new.get())
        for job in [job for job in [*self._active.values(), *self._waiting] if job.cancelled]:
            if job in self._waiting:
                self._waiting.remove(job)
            job.cancel()
            self._end(job)
        if self.is_broken and self._waiting:
            # The stages that were missing may have found a place by now.
            self._mend(self.crew.lost())
        while self._waiting and len(self._active) < self._room:
            job = self._waiting.popleft()
            # Tokens that need no run, or that the log has.
            self._tell(job)
            if job.finish is not None:
                self._end(job)
                continue
            job.start_over(self._short_context)
            self._active[job.number] = job

    def _send(self) -> None:
        """Fills groups as long as there is credit: tokens of answers first, then pieces of prompts."""
        credit = self.limits.groups or len(self.crew.members)
        while not self.is_broken:
            ready = [job for job in self._active.values() if job.ready]
            is_full = len(self._flow) >= credit
            if is_full:
                # A prompt waits for no group that goes round; one group is beyond the credit then.
                may_pass = len(self._flow) == credit and any(self._flow.values())
                ready = [job for job in ready if may_pass and job.has_prompt]
            if not ready and (is_full or not self._freed):
                break
            # Shared out among the groups, so that no stage waits for a full one.
            most = max(1, -(-len(self._active) // credit))
            ready.sort(key=lambda job: (job.has_prompt, not job.rounds))
            self._last += 1
            rounds = min((job.rounds for job in ready[:most]), default=0)
            group = Group(self._epoch, self._last, freed=self._freed, rounds=min(rounds, _ROUNDS))
            left = self.limits.chunk
            for job in ready[:most]:
                if left > 0:
                    step, part = job.next_step(left)
                    job.goes_round = group.rounds > 0
                    left -= step.count
                    group.add(step, part)
            self._freed = []
            if not self._flow:
                self._news = time.monotonic()
            self._flow[group.number] = group.rounds > 0
            self._out.send_multipart(group.encode(), copy=False)
        if self._freed and not self.is_broken:
            # Groups that go round are to leave them out.
            self._out.send_multipart(Group(self._epoch, 0, freed=self._freed).encode(), copy=False)
            self._freed = []

    def _receive(self) -> None:
        while True:
            try:
                message = self._inbox.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                group = decode([part.buffer for part in message])
            except errors.Malformed:
                continue
            if group.epoch != self._epoch:
                continue
            if not group.rounds:
                self._flow.pop(group.number, None)
            self._news, self._stalls = time.monotonic(), 0
            for step, part in zip(group.steps, group.parts):
                job = self._active.get(step.request)
                if job is not None:
                    self._result(job, step, part)
                    job.goes_round = group.rounds > 0 and job.number == step.request and not step.status

    def _result(self, job: Job, step: Step, part: Any) -> None:
        if step.status:
            self._failed(job, step.status, bytes(part).decode("utf-8", "replace"))
            return
        try:
            if not job.result(step, part):
                self._again(job)
                return
        except (errors.Error, ValueError) as error:
            self._end(job, error)
            return
        short = self._short_context
        self._news_of.append(job)
        if job.finish is not None:
            self._end(job)
        elif short and not job.is_long and len(job.tokens) > short:
            self._again(job)

    def _tell_all(self) -> None:
        jobs, self._news_of = self._news_of, []
        for job in jobs:
            self._tell(job)

    def _tell(self, job: Job) -> None:
        """Tells what is new of a text, after its tokens are in the log."""
        new = job.unlogged()
        if new:
            self.log.tokens(job.name, new)
        job.tell()

    def _failed(self, job: Job, status: int, why: str) -> None:
        kind = errors.kind_of(status)
        if status == REFUSED or issubclass(kind, (errors.StateError, errors.LibraryError)):
            self._again(job, why)
        elif issubclass(kind, errors.OutOfMemory):
            # Others may give memory back when they end.
            self._leave(job)
            job.refused_memory += 1
            if not self._active or job.refused_memory > _RETRIES:
                self._end(job, NoCapacity(f"a stage has no memory for the request: {why}"))
            else:
                self._room = len(self._active)
                self._waiting.append(job)
        else:
            error = kind(why)
            error.status = status
            self._end(job, error)

    def _again(self, job: Job, why: str = "steps were lost") -> None:
        """Begins a request anew, of its tokens so far."""
        self._leave(job)
        job.retries += 1
        if job.retries > _RETRIES:
            self._end(job, errors.Internal(f"request {job.name} has begun anew {_RETRIES} times: {why}"))
            return
        job.start_over(self._short_context)
        self._active[job.number] = job

    def _leave(self, job: Job) -> None:
        if self._active.pop(job.number, None):
            self._freed.append(job.number)

    def _end(self, job: Job, failure: Exception | None = None) -> None:
        self._leave(job)
        self._room = min(self._room + 1, self.limits.requests)
        self._tell(job)
        self.log.end(job.name)
        if failure is not None:
            job.fail(failure)

    def _look(self) -> None:
        lost = set() if self.is_broken else self.crew.lost()
        if lost:
            self._mend(lost)
        elif self._active and time.monotonic() - self._news > self.limits.patience:
            # Where nobody hangs a message was lost on the way, and a new epoch sends it again.
            self._stalls += 1
            self._mend(self.crew.hanging(self.limits.patience / 2))
            if self._stalls > 1:
                for job in list(self._active.values()):
                    self._again(job)

    def _mend(self, lost: set[int], first: bool = False) -> None:
        self._flow.clear()
        # What follows may give requests to another replica.
        self._tell_all()
        try:
            done = recover(self.crew, self._address, self._active, lost)
        except Exception as error:
            if first:
                raise
            self._epoch, self.is_broken = self.crew.epoch, True
            why = error if isinstance(error, errors.Error) else NoCapacity(f"a stage is lost, and was not replaced: {error}")
            jobs = [*self._active.values(), *self._waiting]
            self._active.clear()
            self._waiting.clear()
            for job in jobs:
                if not self._homeless(job, why):
                    self.log.end(job.name)
                    job.fail(why)
            return
        self._epoch, self.is_broken = done.epoch, False
        self._news = time.monotonic()
        if self._out is not None:
            self._out.close()
        self._out = self._links.outbox(self.crew.cards[0].address)
        self._freed = []
        for number in done.anew:
            job = self._active[number]
            self._leave(job)
            job.start_over(self._short_context)
            self._active[job.number] = job
        if not first:
            self.recoveries.append(done)


class _Bell:
    """Wakes the thread that polls: a pipe that any thread may write to."""

    def __init__(self) -> None:
        self.inner, self._outer = os.pipe()
        os.set_blocking(self.inner, False)
        os.set_blocking(self._outer, False)

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._outer, b"!")

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.inner, 4096)

    def close(self) -> None:
        os.close(self.inner)
        os.close(self._outer)
