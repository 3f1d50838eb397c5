"""A model over the machines of a Ray cluster, as one object."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import Engine, Tokenizer, _abi, errors
from ..generation import Prompt
from ..model import sorted_out
from ._imports import connect, ray
from .answer import Answer
from .crew import Crew
from .fingerprint import fingerprint
from .job import Job, plain
from .link import Key
from .log import Log
from .plan import Stages, plan
from .problems import NoCapacity
from .recovery import Recovery
from .replica import Limits, Replica
from .speed import speed, speeds
from .stage import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    class AnswerOptions(_abi.SamplerOptions, total=False):
        """How tokens are chosen, and where a text ends: those of a sampler, and these of a generation."""

        stop: Sequence[str]
        include_stop: bool
        keep_special: bool
        ignore_eos: bool
        max_new_tokens: int
        published_sampling: bool
        logprobs: int
        grammar: _abi.Text
        grammar_kind: _abi.Grammar | str | int


@dataclass(frozen=True)
class StageReport:
    """What a stage is and has done."""

    replica: int
    stage: int
    first_layer: int
    last_layer: int
    weight_bytes: int
    host: str
    pid: int
    load_seconds: float
    #: Tokens it has run, and how many a second of the time that it was at work.
    tokens: int
    tokens_per_second: float
    #: The part of its time that it has waited for something to do.
    waiting: float
    counters: Mapping[str, Any]
    #: Bytes that its machine was measured to read in a second; None: it was not measured.
    read_speed: float | None


class Pipeline:
    """A model cut into stages on the machines of a Ray cluster, which goes on, bit for bit, when some of them are lost.

        with Pipeline("models/stories", stages=3) as pipeline:
            print(pipeline.generate("Once upon a time").read())

    `stages`: into how many the model is cut, or the first and last layer of each; None: as `Engine.plan()` cuts it for the machines.
    `replicas`: how many such rows of stages there are. `context`: tokens that a request has room for; `requests`: those that a replica
    has under way at once, others wait. `spare`: actors of each replica that stand by for lost ones.

    `address`: that of a cluster; None: the one that Ray is connected to, or that RAY_ADDRESS names, or this machine alone. `bind`: the address of the network that
    stages listen on: loopback, or None for each machine's own. `cpus` and `resources`: what Ray reserves for a stage besides its memory.
    `threads`: those that a stage computes with; None: as many as `cpus`. `checkpoint`: the tokens after which a stage gives its state to a neighbour; 0: never.
    `chunk`: tokens of prompts in one step; `groups`: steps under way at once. `patience`: seconds after which a stage that says nothing is
    taken to hang. `wait_for_place`: seconds that Ray has to find a machine for a stage, or for what takes its place. `log`: a file for `resume()`. Other options are the engine's.
    """

    def __init__(
        self, model: str | os.PathLike[str], stages: Stages = None, replicas: int = 1, *, context: int = 4096, requests: int = 8,
        spare: int = 0, address: str | None = None, bind: str | None = "127.0.0.1", cpus: float = 1, threads: int | None = None,
        resources: Mapping[str, float] | None = None, checkpoint: int = 64, chunk: int = 128, groups: int = 0, patience: float = 60.0,
        wait_for_place: float = 60.0,
        log: str | os.PathLike[str] | None = None, revision: str | None = None, **engine: Unpack[_abi.EngineOptions],
    ) -> None:  # fmt: skip
        _positive(
            replicas=replicas, context=context, requests=requests, chunk=chunk, patience=patience, wait_for_place=wait_for_place
        )
        self.name = os.path.abspath(model) if os.path.isdir(model) else os.fspath(model)
        self._starts_ray = not ray.is_initialized()
        if self._starts_ray:
            # Not whatever cluster Ray finds on this machine.
            connect(address or os.environ.get("RAY_ADDRESS") or "local")
        self._replicas: list[Replica] = []
        self._lock = threading.Lock()
        self._log = Log(log)
        try:
            on_cpu: Any = {**engine, "device": "cpu"}
            local = Engine(**on_cpu)
            spec: Any = {"revision": revision}
            info = local.model_info(self.name, **spec)
            computes = max(1, int(cpus)) if threads is None else threads
            self._settings = Settings(self.name, revision, Key.fresh(), bind, context, checkpoint, computes, dict(engine))
            cut = partial(plan, local, self.name, stages, context=context, requests=requests, revision=revision)
            #: Ways to cut it: for machines that differ, if they do, and as if all were as fast.
            self._plans = [cut({})]
            differ = speeds(self._settings, cpus, resources or {}) if stages is None or isinstance(stages, int) else {}
            if differ:
                with suppress(NoCapacity):
                    self._plans.insert(0, cut(differ))
            self._known = fingerprint(local.audit_files(self.name, **spec))
            self._vocab_size = info.vocab_size
            self._eos = local.eos(self.name, **spec)
            self._published: Mapping[str, Any] | errors.Unsupported
            try:
                self._published = local.sampler_options(self.name, **spec)
            except errors.Unsupported as error:
                # It matters to those alone who ask for it.
                self._published = error
            self.tokenizer: Tokenizer | None = None
            with suppress(errors.NotFound):
                self.tokenizer = local.open_tokenizer(self.name, **spec)
            local.close()
            if context > info.max_positions:
                raise errors.OutOfRange(f"context is {context}, and the model has room for {info.max_positions} tokens")
            self._limits = Limits(requests, chunk, context, groups, patience)
            self._bind = bind or ray.util.get_node_ip_address()
            self._crew: Any = {"spare": spare, "cpus": cpus, "resources": dict(resources or {}), "patience": wait_for_place}
            self.scale(replicas)
        except BaseException:
            self.close()
            raise

    def scale(self, replicas: int) -> None:
        """Makes it so many replicas. Requests of those that go move to others and go on."""
        _positive(replicas=replicas)
        while len(self._replicas) < replicas:
            crew = self._placed()
            try:
                added = Replica(crew, self._limits, self._bind, self._log, self._homeless)
            except BaseException:
                crew.close()
                raise
            with self._lock:
                self._replicas.append(added)
        while len(self._replicas) > replicas:
            with self._lock:
                gone = self._replicas.pop()
            for job in gone.close():
                self._place(job)

    def _placed(self) -> Crew:
        """Stages on the machines that they are meant for or, where there is no room left, cut as if all were as fast, anywhere."""
        for stages in self._plans[:-1]:
            with suppress(NoCapacity):
                return Crew(self._settings, stages, self._known, **self._crew)
        return Crew(self._settings, self._plans[-1], self._known, **self._crew)

    def _place(self, job: Job) -> Replica:
        with self._lock:
            if not self._replicas:
                raise errors.InvalidState("the pipeline is closed")
            chosen = min(self._replicas, key=lambda replica: (replica.is_broken, replica.load))
            chosen.submit(job)
            return chosen

    def _homeless(self, job: Job, _why: Exception) -> bool:
        """Moves a request of a replica that is lost to another. False: there is none."""
        with self._lock:
            others = [replica for replica in self._replicas if not replica.is_broken]
            if others:
                min(others, key=lambda replica: replica.load).submit(job)
            return bool(others)

    def generate(self, prompt: Prompt, *, add_special: bool = True, **options: Unpack[AnswerOptions]) -> Answer:
        """The text after `prompt`, a text or token ids: iterate over it, also with `async for`.

        Options are those of `SamplerOptions` and, side by side with them, `max_new_tokens`, `stop`, `include_stop`, `keep_special`,
        `ignore_eos`, `published_sampling`, `logprobs`, `grammar` and `grammar_kind` of `GenerationOptions`. Text, tokens and
        probabilities are those of `Model.generate()`.
        """
        given = self._options(dict(options))
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise errors.NotFound(f"{self.name} has no tokenizer.json: give token ids")
            ids = self.tokenizer.encode(prompt, add_special=add_special)
        else:
            ids = [int(id) for id in prompt]
        with self._lock:
            self._log.last += 1
            name = self._log.last
        answer, job = self._job(name, ids, given)
        self._log.begin(name, ids, given)
        self._place(job)
        return answer

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of a generation, as the log keeps them."""
        parts = sorted_out(options)
        sampler, generation = parts["sampler"], parts["generation"]
        for name in options:
            if name in parts["request"] or name in ("sampling", "engine", "request", "constraint", "keep_logits"):
                raise errors.InvalidArgument(f"{name} is no option of a text of a pipeline")
        if generation.pop("published_sampling", 0):
            if sampler:
                raise errors.InvalidArgument(f"published_sampling contradicts {', '.join(sampler)}")
            sampler = dict(self.published_sampling)
        if self.tokenizer is None and not generation.get("ignore_eos"):
            sampler.setdefault("eos", self._eos)
        return plain({**generation, **({"sampling": sampler} if sampler else {})})

    def _job(
        self, name: int, ids: Sequence[int], options: Mapping[str, Any], generated: Sequence[int] = ()
    ) -> tuple[Answer, Job]:
        answer = Answer(self._wake)
        answer._job = Job(name, ids, options, (self._vocab_size, self._limits.context), self.tokenizer, answer._tell, generated)
        return answer, answer._job

    def _wake(self) -> None:
        with self._lock:
            for replica in self._replicas:
                replica.wake()

    def resume(self) -> list[Answer]:
        """The requests of the log that had not ended when its coordinator did. Each gives its whole text, from the start."""
        unfinished, self._log.unfinished = self._log.unfinished, {}
        answers = []
        for name, entry in unfinished.items():
            answer, job = self._job(name, entry.prompt, entry.options, entry.generated)
            answers.append(answer)
            self._place(job)
        return answers

    def report(self) -> list[StageReport]:
        """What each stage is and has done."""
        reports = []
        for number, replica in enumerate(self._replicas):
            for i, member in enumerate(replica.crew.members):
                card = member.card
                try:
                    counters = ray.get(member.actor.status.remote(), timeout=5)[1]
                except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
                    continue
                if card is None:
                    continue
                busy, wait = counters["busy_seconds"], counters["wait_seconds"]
                rate = counters["tokens"] / busy if busy else 0.0
                place = (number, i, card.first_layer, card.last_layer, card.weight_bytes, card.host, card.pid, card.load_seconds)
                reads = speed(card.node, self._settings.threads)
                reports.append(StageReport(*place, counters["tokens"], rate, wait / max(busy + wait, 1e-9), counters, reads))
        return reports

    @property
    def published_sampling(self) -> Mapping[str, Any]:
        """The sampler's options that the model's publisher wants. Raises `Unsupported` if they have something that no sampler here does."""
        if isinstance(self._published, errors.Unsupported):
            raise self._published
        return self._published

    @property
    def failure(self) -> Exception | None:
        """What the thread of a replica has ended with: a bug, and nothing that is asked of that replica gets an answer any more."""
        return next((replica.failure for replica in self._replicas if replica.failure), None)

    @property
    def recoveries(self) -> list[Recovery]:
        """What was lost so far, and what going on took."""
        return [recovery for replica in self._replicas for recovery in replica.recoveries]

    def close(self) -> None:
        """Ends all stages. Texts in progress end with `NoCapacity`; those of a log can be resumed."""
        with self._lock:
            gone, self._replicas = self._replicas, []
        for replica in gone:
            for job in replica.close():
                job.fail(NoCapacity("the pipeline was closed"))
        self._log.close()
        if self._starts_ray:
            ray.shutdown()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise errors.InvalidArgument(f"{name} is {value}, and must be positive")
