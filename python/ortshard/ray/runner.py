"""The running part of a stage: takes groups of steps, runs them, hands on what they give, and keeps what a neighbour would need."""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import Request, Sampler, Shard, Status, batch_infer, batch_sample, errors
from .link import Links
from .wire import REFUSED, Group, Step, Want, decode

#: Gives away what a state has gained: request, since which position, up to which, the bytes.
Keep = Callable[[int, int, int, bytes], None]


@dataclass
class Slot:
    """A request on this stage."""

    request: Request
    is_long: bool
    position: int = 0
    #: What went on to the next stage, or from the last one to the coordinator: as much as they may ask for again.
    sent: deque[tuple[Step, Any]] = field(default_factory=deque)
    #: Where the frames in `sent` begin.
    start: int = 0
    #: The position up to which its state was given away.
    saved: int = 0


@dataclass
class Counters:
    """What a stage has done since it was started."""

    groups: int = 0
    tokens: int = 0
    busy_seconds: float = 0.0
    wait_seconds: float = 0.0
    stale_groups: int = 0
    repeated_steps: int = 0
    refused_steps: int = 0
    states: int = 0
    state_bytes: int = 0


class Runner:
    """Runs the steps that come in, one group after another, in a thread of its own."""

    def __init__(self, shard: Shard, links: Links, bind: str, capacity: int, every: int) -> None:
        self.shard, self.links = shard, links
        self.inbox, self.address = links.inbox(bind)
        self.counters = Counters()
        self.busy_since: float | None = None
        self._capacity, self._every = capacity, every
        self._greedy = Sampler(temperature=0)
        self._slots: dict[int, Slot] = {}
        self._epoch = 0
        self._out: Any = None
        #: From the last stage to the first.
        self._back: Any = None
        self._keep: Keep | None = None
        # Held while a group is run, and by whoever changes what it uses.
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while True:
            waited = time.monotonic()
            message = self.inbox.recv_multipart(copy=False)
            with self._lock:
                now = time.monotonic()
                self.counters.wait_seconds += now - waited
                self.busy_since = now
                try:
                    self._take([part.buffer for part in message])
                except Exception:
                    # Whatever came in: the next group is another's. The coordinator misses this one and sends it again.
                    traceback.print_exc()
                    self.counters.refused_steps += 1
                self.counters.busy_seconds += time.monotonic() - now
                self.busy_since = None

    def _take(self, message: list[Any]) -> None:
        group = decode(message)
        if group.epoch != self._epoch:
            self.counters.stale_groups += 1
            return
        out = self._run(group)
        if self.shard.info.is_last and out.rounds:
            self._go_round(out)
        self._send(out)
        self._save(group)

    def _send(self, group: Group) -> None:
        if self._out is not None:
            self._out.send_multipart(group.encode(), copy=False)

    def _go_round(self, out: Group) -> None:
        """Gives the first stage the ids that were chosen, as its next steps."""
        again = Group(out.epoch, out.number, rounds=out.rounds - 1)
        for step, part in zip(out.steps, out.parts):
            if step.want == Want.ID and not step.status:
                again.add(replace(step, position=step.end, count=1), part)
        if again.steps:
            self._back.send_multipart(again.encode(), copy=False)
        else:
            out.rounds = 0

    def _run(self, group: Group) -> Group:
        for request in group.freed:
            self._free(request)
        out = Group(group.epoch, group.number, freed=group.freed, rounds=group.rounds)
        ready: list[tuple[Step, Slot, Any]] = []
        for step, part in zip(group.steps, group.parts):
            if step.status:
                out.add(step, part)
                continue
            try:
                slot = self._slot(step)
            except errors.Error as error:
                out.add(*failed(step, error))
                continue
            if slot and step.end <= slot.position:
                self.counters.repeated_steps += 1
            elif slot is None or step.position != slot.position:
                self.counters.refused_steps += 1
                out.add(replace(step, status=REFUSED), b"not the next step of the request")
            else:
                ready.append((step, slot, part))
        if ready:
            self._compute(ready, out)
        self.counters.groups += 1
        return out

    def _slot(self, step: Step) -> Slot | None:
        slot = self._slots.get(step.request)
        if slot is None and step.position == 0:
            slot = self._slots[step.request] = self._new(step.is_long)
        return slot

    def _new(self, is_long: bool) -> Slot:
        output = "tensor" if self.shard.info.is_last else "frame"
        return Slot(self.shard.request(capacity=self._capacity, output=output, long_context=is_long), is_long)

    def _compute(self, ready: list[tuple[Step, Slot, Any]], out: Group) -> None:
        is_first, is_last = self.shard.info.is_first, self.shard.info.is_last
        inputs = [
            self._input(part) if is_first else bytes(part) if not isinstance(part, memoryview) else part for _, _, part in ready
        ]
        requests = [slot.request for _, slot, _ in ready]
        try:
            if is_last and all(step.want == Want.ID for step, _, _ in ready):
                # Without a copy of the logits.
                results = batch_sample(requests, inputs, return_exceptions=True)
            else:
                rows = {Want.NOTHING: "none", Want.ID: "last", Want.LAST: "last", Want.ALL: "all"}
                logits = [rows[step.want] if is_last else "last" for step, _, _ in ready]
                results = batch_infer(requests, inputs, logits, return_exceptions=True)
        except errors.Error as error:
            results = [error] * len(ready)
        for (step, slot, _), result in zip(ready, results):
            if isinstance(result, errors.Error):
                out.add(*failed(step, result))
                continue
            slot.position = step.end
            self.counters.tokens += step.count
            part = self._result(step, result) if is_last else result.data
            if is_last:
                # The coordinator has all that came before.
                slot.sent.clear()
            slot.sent.append((step, part))
            out.add(step, part)

    @staticmethod
    def _input(part: Any) -> Any:
        if len(part) % 8:
            raise errors.Malformed("token ids of a broken length")
        return np.frombuffer(part, np.int64)

    def _result(self, step: Step, result: Any) -> Any:
        if step.want == Want.NOTHING:
            return b""
        if isinstance(result, int):
            return np.int64(result).tobytes()
        values = result.numpy()[0]
        if step.want == Want.ID:
            return np.int64(self._greedy.sample(values[-1])).tobytes()
        return np.ascontiguousarray(values, np.float32).data.cast("B")

    def _save(self, group: Group) -> None:
        """Gives away now and then what states have gained."""
        if self._keep is None or not self._every:
            return
        for step in group.steps:
            slot = self._slots.get(step.request)
            if slot and slot.position - slot.saved >= self._every:
                since, state = slot.saved, slot.request.export_state_since(slot.saved)
                slot.saved = slot.position
                self.counters.states += 1
                self.counters.state_bytes += len(state)
                self._keep(step.request, since, slot.position, state)

    def _free(self, request: int) -> None:
        slot = self._slots.pop(request, None)
        if slot:
            slot.request.close()

    # What the actor calls, from other threads.

    def let_go(self) -> None:
        """Ends all requests, and takes nothing until the next epoch."""
        with self._lock:
            self._epoch = -1
            for request in list(self._slots):
                self._free(request)

    def change(self, shard: Shard) -> None:
        """Takes another shard, after `let_go()`."""
        with self._lock:
            self.shard = shard

    def rewire(
        self, epoch: int, address: str, first: str, keep: Keep | None, alive: set[int], keeper_is_new: bool
    ) -> dict[int, tuple[int, int]]:
        """Begins an epoch, with another next or first stage; of each request alive, its position and where the frames kept of it
        begin."""
        with self._lock:
            for old in (self._out, self._back):
                if old is not None:
                    old.close()
            self._out, self._epoch, self._keep = self.links.outbox(address), epoch, keep
            self._back = self.links.outbox(first) if self.shard.info.is_last else None
            for request in set(self._slots) - alive:
                self._free(request)
            if keeper_is_new:
                for slot in self._slots.values():
                    slot.saved = 0
            return {request: (slot.position, slot.start) for request, slot in self._slots.items()}

    def restore(self, states: Mapping[int, tuple[list[bytes], bool]]) -> dict[int, int]:
        """Makes requests of states, each in as many parts as it was given away in; gives the position of each."""
        with self._lock:
            for request, (parts, is_long) in states.items():
                slot = self._new(is_long)
                for part in parts:
                    slot.request.import_state(part)
                slot.position = slot.start = slot.saved = slot.request.position
                self._slots[request] = slot
            return {request: self._slots[request].position for request in states}

    def resend(self, since: Mapping[int, int]) -> None:
        """Sends again what was given from a position on, of each request."""
        with self._lock:
            left = {}
            for request, position in since.items():
                slot = self._slots.get(request)
                left[request] = deque((step, part) for step, part in slot.sent if step.end > position) if slot else deque()
            while any(left.values()):
                group = Group(self._epoch, 0)
                for waiting in left.values():
                    if waiting:
                        group.add(*waiting.popleft())
                self._send(group)

    def forget(self, request: int, position: int) -> None:
        """Lets go of frames before `position`, whose receiver will not ask for them again."""
        with self._lock:
            slot = self._slots.get(request)
            if slot is not None and not self.shard.info.is_last:
                while slot.sent and slot.sent[0][0].end <= position:
                    slot.start = slot.sent.popleft()[0].end

    def has(self, request: int) -> bool:
        """Whether a request is alive here."""
        return request in self._slots

    def is_long(self, request: int) -> bool:
        """Whether a request was made for a long text."""
        slot = self._slots.get(request)
        return slot is not None and slot.is_long


def failed(step: Step, error: errors.Error) -> tuple[Step, bytes]:
    """What goes on instead of a result."""
    status = int(error.status) if error.status else int(Status.INTERNAL)
    return replace(step, status=status), str(error).encode()[:4096]
