"""How a replica goes on when stages are lost.

A stage keeps, of the stage behind it, the state that was given to it last and the frames that it has sent since. So what takes the place
of a lost stage imports that state, the stage in front of it sends those frames again, and no other stage computes anything twice. What
is missing beyond that, such as where two neighbours are lost at once, is computed anew from the request's tokens, which the coordinator
has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._imports import ray
from .crew import Crew
from .job import Job
from .problems import NoCapacity

#: Seconds that a stage which lives has to answer; it may be in the middle of a long step.
_ANSWER = 60.0


@dataclass
class Recovery:
    """What a recovery has taken."""

    epoch: int
    stages: set[int]
    #: Those of them whose layers a neighbour has taken.
    absorbed: set[int] = field(default_factory=set)
    seconds: float = 0.0
    #: Tokens that stages compute a second time, in sum.
    recomputed_tokens: int = 0
    #: How many requests go on from a state, and the wire numbers of those that begin anew.
    restored: int = 0
    anew: list[int] = field(default_factory=list)


def recover(crew: Crew, coordinator: str, jobs: Mapping[int, Job], lost: set[int]) -> Recovery:
    """Replaces lost stages, links all of them anew, and takes back each request to where it can go on from."""
    started, gone, absorbed = time.monotonic(), set(lost), set[int]()
    for _ in range(100):
        crew.epoch += 1
        done = Recovery(crew.epoch, gone, absorbed)
        try:
            missing = crew.replace(lost)
            if missing:
                absorbed |= missing
                crew.absorb(missing)
            if absorbed:
                # Stages are others now, and hold nothing.
                _link(crew, done, coordinator, {}, set())
                done.anew = list(jobs)
                done.recomputed_tokens = len(crew.members) * sum(len(job.tokens) for job in jobs.values())
            else:
                _link(crew, done, coordinator, jobs, gone)
            done.seconds = time.monotonic() - started
            return done
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            # Another one was lost meanwhile.
            lost = crew.lost() or crew.hanging(1.0)
            gone = gone | lost
    raise NoCapacity("stages are lost faster than they can be replaced")


def _link(crew: Crew, done: Recovery, coordinator: str, jobs: Mapping[int, Job], gone: set[int]) -> None:
    count, alive = len(crew.members), set(jobs)
    actors = [member.actor for member in crew.members]
    addresses = [*(card.address for card in crew.cards[1:]), coordinator]
    keeper = {i: (i - 1) % count for i in range(count)} if count > 1 else {}
    calls = [
        actors[i].rewire.remote(
            done.epoch, addresses[i], crew.cards[0].address, actors[keeper[i]] if keeper else None, alive,
            bool(gone) and keeper.get(i) in gone,
        )
        for i in range(count)
    ]  # fmt: skip
    places: list[dict[int, tuple[int, int]]] = [_answer(call) for call in calls]
    for i in gone:
        if keeper and keeper[i] not in gone and alive:
            # The states go from actor to actor.
            restored = _answer(actors[i].restore.remote(actors[keeper[i]].kept.remote(alive)))
            places[i] = {request: (position, position) for request, position in restored.items()}
    resend: list[dict[int, int]] = [{} for _ in range(count)]
    for request, job in jobs.items():
        positions = [place.get(request, (0, 0))[0] for place in places]
        starts = [place.get(request, (0, 0))[1] for place in places]
        furthest = max(positions)
        if not _fits(job, positions, starts, gone):
            done.anew.append(request)
            done.recomputed_tokens += count * furthest
            continue
        done.restored += 1
        done.recomputed_tokens += sum(furthest - positions[i] for i in gone)
        job.go_back(positions)
        for i in range(count):
            # The last stage gives the coordinator what it gave last.
            resend[i][request] = positions[i + 1] if i + 1 < count else len(job.tokens) - 1
    # From the back, so that nothing overtakes what is sent again.
    for i in reversed(range(count)):
        if resend[i]:
            _answer(actors[i].resend.remote(resend[i]))


def _fits(job: Job, positions: list[int], starts: list[int], gone: set[int]) -> bool:
    """Whether each stage can be given all that it lacks."""
    last = len(positions) - 1
    if any(starts[i] > positions[i + 1] for i in range(last)):
        return False
    if positions[0] > len(job.tokens):
        return False
    # A lost last stage whose state has all tokens has not told what follows them.
    return not (last in gone and positions[last] >= len(job.tokens))


def _answer(call: Any) -> Any:
    return ray.get(call, timeout=_ANSWER)
