"""The actors of one replica: placed by Ray, watched, and replaced."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .. import __version__, errors
from ._imports import ray
from .fingerprint import agree
from .plan import Planned
from .problems import NoCapacity, OtherWeights
from .stage import Card, Settings, Stage

#: Seconds that Ray has to say whether a machine has memory left.
_SOON = 5.0


@dataclass(frozen=True)
class Place:
    """What Ray reserves for a member: on one machine or, where `node` is None, on any that it finds."""

    group: Any
    index: int
    bundle: dict[str, float]
    node: str | None

    @property
    def is_lost(self) -> bool:
        """Whether it is on a machine that is lost, for which Ray would wait for ever."""
        return self.node is not None and not any(node["NodeID"] == self.node and node["Alive"] for node in ray.nodes())


class Member:
    """An actor in a place that Ray has reserved for it. It may hold a stage, or be a spare."""

    def __init__(self, settings: Settings, place: Place, cpus: float) -> None:
        self.place = place
        kind = ray.remote(Stage)
        where = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
            place.group, placement_group_bundle_index=place.index
        )
        # What is lost is replaced by a new actor, never restarted: so no late word of an old one can be taken for a new one's.
        options = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 32, "num_cpus": cpus}
        self.actor = kind.options(scheduling_strategy=where, **options).remote(settings)
        self.watch = self.actor.watch.remote()
        self._started = self.actor.pid.remote()
        self.card: Card | None = None
        self._was_ended = False

    @property
    def lost(self) -> bool:
        """Whether its process has ended."""
        return self._was_ended or bool(ray.wait([self.watch], timeout=0)[0])

    @property
    def is_ready(self) -> bool:
        """Whether its process has begun and lives."""
        return bool(ray.wait([self._started], timeout=0)[0]) and not self.lost

    @property
    def waits_in_vain(self) -> bool:
        """Whether its process was to begin on a machine that is lost."""
        return not self.is_ready and self.place.is_lost

    def end(self) -> None:
        """Ends its process, also one that hangs."""
        self._was_ended = True
        ray.kill(self.actor)


class Crew:
    """A member for each stage, and spares."""

    def __init__(
        self, settings: Settings, stages: Sequence[Planned], known: dict[str, str], *, spare: int, cpus: float,
        resources: dict[str, float], patience: float,
    ) -> None:  # fmt: skip
        self.settings, self.stages, self._known = settings, list(stages), known
        self._cpus, self._resources, self._patience = cpus, resources, patience
        #: Raised whenever stages are linked anew: what was sent before is of no use any more.
        self.epoch = 0
        # With spares all places are alike, so that any of them can take any stage.
        largest = max(stage.bytes for stage in stages)
        sizes = [largest] * (len(stages) + spare) if spare else [stage.bytes for stage in stages]
        #: All that is reserved.
        self._groups: list[Any] = []
        nodes = [stage.node for stage in stages]
        try:
            if nodes[0] is None:
                places = self._reserve(sizes)
            else:
                # Apart from the spares: of a group Ray places again all that was lost or, where one has no machine any more, none.
                places = self._reserve(sizes[: len(nodes)], nodes) + self._reserve(sizes[len(nodes) :])
                patience = min(patience, _SOON)
            if not all(group.wait(timeout_seconds=patience) for group in self._groups):
                raise NoCapacity(
                    f"within {patience:g} s Ray has found no machines with {cpus:g} processors each and {[int(size) for size in sizes]} bytes "
                    f"for {len(stages)} stages and {spare} spares: the cluster has {ray.available_resources()}"
                )
            members = [self._member(place) for place in places]
            self.members: list[Member] = members[: len(stages)]
            self.spares: list[Member] = members[len(stages) :]
            self._load(dict(enumerate(self.members)))
        except BaseException:
            self.close()
            raise

    def _reserve(self, sizes: Sequence[int], nodes: Sequence[str | None] = ()) -> list[Place]:
        """Has Ray look for places of so many bytes each, on the machines `nodes`, or anywhere."""
        if not sizes:
            return []
        bundles = [{"CPU": self._cpus, "memory": float(size), **self._resources} for size in sizes]
        where = [{"ray.io/node-id": node} for node in nodes] or None
        group = ray.util.placement_group(bundles, strategy="SPREAD", bundle_label_selector=where)
        self._groups.append(group)
        return [Place(group, i, bundle, nodes[i] if nodes else None) for i, bundle in enumerate(bundles)]

    def _member(self, place: Place) -> Member:
        """One in a place or, where its machine is lost, in another that is as large."""
        if place.is_lost:
            (place,) = self._reserve([int(place.bundle["memory"])])
        return Member(self.settings, place, self._cpus)

    def _load(self, members: dict[int, Member]) -> None:
        """Has members load their stages, all at once."""
        loads = [member.actor.load.remote(self.stages[i].first_layer, self.stages[i].last_layer) for i, member in members.items()]
        for (i, member), load in zip(members.items(), loads):
            # However long it takes, as long as the process answers.
            while not ray.wait([load], timeout=self._patience)[0]:
                ray.get(member.actor.pid.remote(), timeout=self._patience)
            member.card = ray.get(load)
            self._welcome(i, member.card)

    def _welcome(self, i: int, card: Card) -> None:
        who = f"stage {i} on {card.host}"
        if card.version != __version__:
            raise OtherWeights(f"{who} has ortshard {card.version}, and this is {__version__}: install the same everywhere")
        agree(self._known, card.files, who)
        if self.settings.bind == "127.0.0.1" and any(other.host != card.host for other in self.cards):
            raise errors.InvalidArgument(
                "stages are on several machines, and bind is 127.0.0.1: bind=None takes each machine's own"
            )

    @property
    def cards(self) -> list[Card]:
        """What each stage has said of itself."""
        return [member.card for member in self.members if member.card is not None]

    def lost(self) -> set[int]:
        """The stages whose processes have ended. Lost spares are replaced."""
        for i, spare in enumerate(self.spares):
            if spare.lost or spare.waits_in_vain:
                spare.end()
                self.spares[i] = self._member(spare.place)
        return {i for i, member in enumerate(self.members) if member.lost}

    def hanging(self, seconds: float) -> set[int]:
        """The stages that do not answer, or that have been at one group for longer than `seconds`."""
        calls = [member.actor.status.remote() for member in self.members]
        found = set()
        for i, call in enumerate(calls):
            try:
                if ray.get(call, timeout=min(seconds, 5.0))[0] > seconds:
                    found.add(i)
            except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
                found.add(i)
        return found

    def replace(self, stages: set[int]) -> set[int]:
        """Puts other members into the place of those of `stages`: spares, or new ones where Ray has room. Gives those without room."""
        deadline = time.monotonic() + self._patience
        for i in stages:
            self.members[i].end()
        return {i for i in sorted(stages) if not self._replace(i, deadline)}

    def _replace(self, i: int, deadline: float) -> bool:
        while True:
            member = self._member(self.members[i].place)
            ready = [spare for spare in self.spares if spare.is_ready] or [spare for spare in self.spares if not spare.lost]
            if ready:
                self.spares.remove(ready[0])
                self.spares.append(member)
                member = ready[0]
            self.members[i] = member
            try:
                # The rest may be long to load, but must begin in time.
                begins = member.actor.pid.remote()
                while not ray.wait([begins], timeout=0.5)[0] and time.monotonic() < deadline and not member.place.is_lost:
                    pass
                ray.get(begins, timeout=0.1)
                self._load({i: member})
                return True
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                member.end()
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.2)
            except BaseException:
                member.end()
                raise

    def absorb(self, missing: set[int]) -> None:
        """Has neighbours take the layers of stages that there is no room for. Raises `NoCapacity` where none has the memory."""
        # From the back, so that the numbers of those in front stay.
        for last in sorted((i for i in missing if i + 1 not in missing), reverse=True):
            first = next(i for i in range(last, -1, -1) if i - 1 not in missing)
            neighbours = [i for i in (first - 1, last + 1) if 0 <= i < len(self.members)]
            if not any(self._grow(i, min(first, i), max(last, i)) for i in neighbours):
                needs = self.members[first].place.bundle
                raise NoCapacity(
                    f"stages {first} to {last} are lost: within {self._patience:g} s no machine had {needs} for one, and no neighbour the memory"
                )

    def _grow(self, i: int, first: int, last: int) -> bool:
        """Has a stage take the layers of the stages `first` to `last`, of which it is one. False: it has not the memory."""
        stages, members, member = self.stages[first : last + 1], self.members[first : last + 1], self.members[i]
        grown = Planned(stages[0].first_layer, stages[-1].last_layer, sum(stage.bytes for stage in stages))
        more = {"memory": float(grown.bytes - self.stages[i].bytes)}
        where = {"ray.io/node-id": member.card.node if member.card else ""}
        room = ray.util.placement_group([more], bundle_label_selector=[where])
        self._groups.append(room)
        if room.wait(timeout_seconds=_SOON):
            self.stages[first : last + 1], self.members[first : last + 1] = [grown], [member]
            try:
                self._load({first: member})
                return True
            except errors.OutOfMemory:
                self.stages[first : first + 1], self.members[first : first + 1] = stages, members
        self._groups.remove(room)
        ray.util.remove_placement_group(room)
        return False

    def close(self) -> None:
        """Ends all of them and gives their places back."""
        for member in [*getattr(self, "members", []), *getattr(self, "spares", [])]:
            member.end()
        for group in self._groups:
            ray.util.remove_placement_group(group)
