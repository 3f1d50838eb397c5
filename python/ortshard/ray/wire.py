"""What travels between stages: a group of steps, each of one request, and what each gives.

A message has several parts: a header of fixed layout, then one part for each step. Everything in it is checked against limits before
it is used, and nothing is unpickled.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ..errors import Malformed

MAGIC = b"OSR2"
#: The most steps, and the most freed requests, of one group.
MOST_STEPS = 4096
#: The most bytes of one part.
MOST_BYTES = 1 << 30
#: The most times that a group goes round without the coordinator.
MOST_ROUNDS = 64
#: A step that was refused, since it is not the next one of its request. Statuses of the library are other numbers.
REFUSED = 1

_HEAD = struct.Struct("<4sIQIII")
_STEP = struct.Struct("<QIIBBH")
_FREED = struct.Struct("<Q")


class Want(IntEnum):
    """What the last stage gives back of a step."""

    #: That it is done.
    NOTHING = 0
    #: The most probable next token.
    ID = 1
    #: The logits of the last token.
    LAST = 2
    #: The logits of every token.
    ALL = 3


@dataclass(frozen=True)
class Step:
    """Tokens of one request: `count` of them from `position` on."""

    request: int
    position: int
    count: int
    want: Want = Want.NOTHING
    #: Whether positions are rotated as in a long text.
    is_long: bool = False
    #: 0, or why it has failed: then its part is a text.
    status: int = 0

    @property
    def end(self) -> int:
        """The position behind its tokens."""
        return self.position + self.count


@dataclass
class Group:
    """Steps that go through the stages together. `number` is its credit, which comes back with it; 0: it has none."""

    epoch: int
    number: int
    steps: list[Step] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    #: Requests that have ended.
    freed: Sequence[int] = ()
    #: How many times more the last stage gives the ids that it chooses straight to the first one, beside the coordinator.
    rounds: int = 0

    def add(self, step: Step, part: Any) -> None:
        """Adds a step and its part."""
        self.steps.append(step)
        self.parts.append(part)

    def encode(self) -> list[Any]:
        """The parts of the message."""
        head = [_HEAD.pack(MAGIC, self.epoch, self.number, self.rounds, len(self.steps), len(self.freed))]
        head += [_STEP.pack(s.request, s.position, s.count, s.want, s.is_long, s.status) for s in self.steps]
        head += [_FREED.pack(request) for request in self.freed]
        return [b"".join(head), *self.parts]


def decode(message: Sequence[Any]) -> Group:
    """The group of a message. Raises `Malformed` if it is none."""
    if not message:
        raise Malformed("a message without parts")
    head = bytes(message[0])
    if len(head) < _HEAD.size:
        raise Malformed("a message whose header is cut")
    magic, epoch, number, rounds, count, freed = _HEAD.unpack_from(head)
    if magic != MAGIC:
        raise Malformed("a message of something else, or of another version")
    if count > MOST_STEPS or freed > MOST_STEPS:
        raise Malformed(f"a message of {count} steps and {freed} ends, and {MOST_STEPS} are allowed")
    if rounds > MOST_ROUNDS:
        raise Malformed(f"a message that goes round {rounds} times, and {MOST_ROUNDS} are allowed")
    ends = _HEAD.size + count * _STEP.size
    if len(head) != ends + freed * _FREED.size or len(message) != 1 + count:
        raise Malformed("a message whose parts are not those that its header tells")
    group = Group(epoch, number, parts=list(message[1:]), rounds=rounds)
    for request, position, tokens, want, is_long, status in _STEP.iter_unpack(head[_HEAD.size : ends]):
        if want > Want.ALL or is_long > 1 or tokens == 0:
            raise Malformed("a step that no version knows")
        group.steps.append(Step(request, position, tokens, Want(want), bool(is_long), status))
    if len({step.request for step in group.steps}) != count:
        raise Malformed("a group with two steps of one request")
    group.freed = [request for (request,) in _FREED.iter_unpack(head[ends:])]
    return group
