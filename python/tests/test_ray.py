"""A pipeline on a Ray cluster: the texts of one process, whatever is killed, stopped, cut or full."""

import asyncio
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import STORIES, golden

import ortshard

ray = pytest.importorskip("ray")
pytest.importorskip("zmq")

from ray.cluster_utils import Cluster

from ortshard.ray import NoCapacity, OtherWeights, Pipeline, speed
from ortshard.ray.crew import Member, Place
from ortshard.ray.wire import Group, Step

# Moments at which stages are killed, in sum. `make survival` has 40 of them.
KILLS = int(os.environ.get("ORTSHARD_KILLS", "8"))
# Seconds after which a stage that says nothing is taken to hang, where one does; elsewhere a slow machine must not be one.
QUICK, PATIENCE = 5.0, 120.0
NODE: Any = {"num_cpus": 4, "memory": 1 << 30, "object_store_memory": 80 << 20}

SAMPLED: Any = {"temperature": 0.8, "seed": 7, "repetition_penalty": 1.1}
REQUESTS: list[tuple[str, Any]] = [
    ("Once upon a time", {"temperature": 0, "max_new_tokens": 200, "ignore_eos": True}),
    ("The small fox", {**SAMPLED, "max_new_tokens": 150, "ignore_eos": True}),
    ("One rainy day a careful girl went out " * 12, {"temperature": 0, "max_new_tokens": 120}),
    ("A", {**SAMPLED, "seed": 9, "grammar": "([a-z]{2,8} ){30}end", "grammar_kind": "regex", "max_new_tokens": 180}),
    ("My friend Molly", {**SAMPLED, "seed": 8, "max_new_tokens": 200}),
    ("In the wind", {"temperature": 0, "stop": ["lantern", "kite"], "max_new_tokens": 200}),
    ("It was a cold night. " * 15, {"temperature": 0, "max_new_tokens": 150, "ignore_eos": True}),
    ("No", {"temperature": 0, "max_new_tokens": 190, "ignore_eos": True}),
]


def machine(cluster: Any, **options: Any) -> Any:
    """Adds a machine. Ray gives one half a minute to come up, which is too little where much else runs, so it is tried again."""
    for _ in range(4):
        try:
            return cluster.add_node(**{**NODE, **options})
        except Exception as error:
            failed = error
    raise failed


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Machines, which are raylets on this one. The first holds no stages, so that it can stay."""
    head = {**NODE, "num_cpus": 0, "memory": 0, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        machine(made)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(autouse=True)
def as_fast(monkeypatch):
    """The machines are one, and what else runs on it must not decide where stages lie."""
    monkeypatch.setattr(ortshard.ray.pipeline, "speeds", lambda *_: {})


@pytest.fixture
def measuring(as_fast, monkeypatch):
    """A function by which each machine is measured instead; it gets the machine and the settings, and runs there."""

    def by(read):
        monkeypatch.setattr(ortshard.ray.pipeline, "speeds", speed.speeds)
        monkeypatch.setattr(speed, "read_speed", lambda settings: read(ray.get_runtime_context().get_node_id(), settings))

    monkeypatch.setattr(speed, "_known", {})
    # Here a machine that starts has no processor for itself.
    monkeypatch.setattr(speed, "_PATIENCE", PATIENCE)
    monkeypatch.setattr(ortshard.ray.crew, "_SOON", 30.0)
    return by


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """What the requests give in one process."""
    with ortshard.load(STORIES, device="cpu") as model:
        return [model.generate(prompt, **options).read() for prompt, options in REQUESTS]


def made(stages: Any = 3, **options: Any) -> Pipeline:
    return Pipeline(
        STORIES, stages, **{"context": 512, "patience": PATIENCE, "wait_for_place": PATIENCE, "checkpoint": 32, **options}
    )


def told(pipeline: Pipeline, after: Any = None) -> list[str]:
    answers = [pipeline.generate(prompt, **options) for prompt, options in REQUESTS]
    if after:
        after(answers)
    return [answer.read() for answer in answers]


def workers() -> list[str]:
    """The machines that may hold stages."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("memory")]


def until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def pids(pipeline: Pipeline) -> list[int]:
    return [card.pid for replica in pipeline._replicas for card in replica.crew.cards]


@dataclass
class Toll:
    """What recoveries took."""

    seconds: list[float] = field(default_factory=list)
    recomputed: int = 0
    restored: int = 0
    anew: int = 0

    def add(self, pipeline: Pipeline) -> None:
        for recovery in pipeline.recoveries:
            self.seconds.append(recovery.seconds)
            self.recomputed += recovery.recomputed_tokens
            self.restored += recovery.restored
            self.anew += len(recovery.anew)

    def __str__(self) -> str:
        median = statistics.median(self.seconds) if self.seconds else 0.0
        return (
            f"{len(self.seconds)} recoveries, median {median:.2f} s, longest {max(self.seconds, default=0):.2f} s; {self.restored} requests "
            f"went on from a state, {self.anew} began anew; {self.recomputed} tokens of a stage computed twice"
        )


def test_texts_are_those_of_one_process(cluster, texts):
    with made() as pipeline:
        assert told(pipeline) == texts
        reports = pipeline.report()
        assert [(report.first_layer, report.last_layer) for report in reports] == [(0, 1), (2, 3), (4, 5)]
        assert len({report.pid for report in reports}) == 3 and len({report.tokens for report in reports}) == 1
        assert all(report.weight_bytes > 0 and report.tokens_per_second > 0 and 0 <= report.waiting <= 1 for report in reports)

        async def one(prompt, options):
            return "".join([text async for text in pipeline.generate(prompt, **options)])

        async def all_at_once():
            return await asyncio.gather(*(one(prompt, options) for prompt, options in REQUESTS))

        assert asyncio.run(all_at_once()) == texts
        # More than there is room for at once.
        many = [pipeline.generate(prompt, **options) for prompt, options in REQUESTS * 4]
        assert [answer.read() for answer in many] == texts * 4
        cancelled = pipeline.generate("Once", ignore_eos=True)
        next(iter(cancelled))
        threading.Thread(target=cancelled.cancel).start()
        cancelled.read()
        assert cancelled.finish == ortshard.Finish.CANCELLED
        long = pipeline.generate("Once", temperature=0, ignore_eos=True)
        with ortshard.load(STORIES, device="cpu") as model:
            same = model.generate("Once", temperature=0, ignore_eos=True)
            assert (long.read(), long.finish) == (same.read(), same.finish)
            probable: dict[str, Any] = {**SAMPLED, "logprobs": 3, "max_new_tokens": 20}
            answer = pipeline.generate("Once", **probable)
            assert list(answer.steps()) == list(model.generate("Once", **probable).steps())
            assert (answer.prompt_length, len(answer.ids)) == (len(model.tokenizer.encode("Once")), 20)
        with pytest.raises(TypeError, match="did you mean 'temperature'"):
            pipeline.generate("Once", temprature=0)
        with pytest.raises(ortshard.InvalidArgument, match="capacity is no option of a text of a pipeline"):
            pipeline.generate("Once", capacity=9)
        with pytest.raises(ortshard.InvalidArgument):
            pipeline.generate("Once", grammar="(", grammar_kind="regex")
        with pytest.raises(ortshard.ContextFull):
            pipeline.generate([1] * 513)
        # Nothing stays behind of what has ended.
        deadline = time.monotonic() + 20
        pipeline.generate("Once", max_new_tokens=1).read()
        while time.monotonic() < deadline and pipeline._replicas[0]._flow:
            time.sleep(0.05)


def test_ids_go_straight_from_the_last_stage_to_the_first(cluster, texts, monkeypatch):
    def sent():
        return pipeline._replicas[0]._last

    def computed():
        return [report.tokens for report in pipeline.report()]

    with made() as pipeline:
        prompt, options = REQUESTS[0]
        tokens = len(pipeline.tokenizer.encode(prompt)) + options["max_new_tokens"] - 1
        assert pipeline.generate(prompt, **options).read() == texts[0]
        # Groups of the coordinator, each of which went round several times, and no token more than was asked for.
        assert sent() < 200 / 8 + 5 and computed() == [tokens] * 3
        before, count = computed()[0], len(pipeline.tokenizer.encode(prompt))
        stopped = pipeline.generate(prompt, **{**options, "stop": [texts[0][60:75]]})
        assert stopped.read() == texts[0][:60]
        # A request that has ended is left out soon.
        assert computed()[0] - before <= count + len(stopped.ids) + 3
    # One that is new waits for none of those that go round.
    monkeypatch.setattr(ortshard.ray.replica, "_ROUNDS", 64)
    with made(groups=1) as pipeline:
        long = pipeline.generate(prompt, **{**options, "max_new_tokens": 400})
        next(iter(long))
        before = len(long._job.tokens)
        assert pipeline.generate("No", temperature=0, max_new_tokens=1, ignore_eos=True).read()
        assert len(long._job.tokens) - before < 40
        long.cancel()


def test_each_token_is_given_to_the_neighbour_once(cluster, texts):
    prompt, options = REQUESTS[0]
    with made() as pipeline:
        assert pipeline.generate(prompt, **options).read() == texts[0]
        reports = pipeline.report()
        for report in reports:
            spec = {"first_layer": report.first_layer, "last_layer": report.last_layer}
            with ortshard.Engine(device="cpu").ensure_shard(STORIES, **spec) as shard:
                row = shard.info.kv_bytes_per_token
            states, given = report.counters["states"], report.counters["state_bytes"]
            assert states >= 5 and (report.tokens - 32) * row <= given <= report.tokens * row + 200 * states


# Windows, states of fixed size, experts, several parts at a boundary.
@pytest.mark.parametrize("name", ["llama_gqa", "gemma3_plain", "lfm2_16", "qwen3_5_text_16", "qwen3_moe", "phi3_longrope"])
def test_other_models_give_transformers_tokens_with_a_stage_killed(cluster, name):
    model = golden(name)
    layers = ortshard.model_info(model.path).layer_count
    ends = [layer for layer in range(layers - 1) if ortshard.model_boundary(model.path, layer).can_cut]
    stages = list(zip([0, *(end + 1 for end in ends)], [*ends, layers - 1]))[:8]
    length = len(model.prompt) + len(model.greedy)
    with Pipeline(
        model.path, stages, context=length, chunk=7, checkpoint=8, patience=PATIENCE, wait_for_place=PATIENCE
    ) as pipeline:
        answers = [
            pipeline.generate(model.prompt, temperature=0, ignore_eos=True, max_new_tokens=len(model.greedy)) for _ in range(3)
        ]
        os.kill(pids(pipeline)[len(stages) // 2], signal.SIGKILL)
        for answer in answers:
            answer.read()
            assert answer.ids == model.greedy


def test_killed_stages_change_no_text(cluster, texts):
    """The requests again and again, each time with some stages killed at random moments of their texts."""
    draw, toll, killed = random.Random(17), Toll(), 0
    with made(spare=1) as pipeline:
        started = time.monotonic()
        answers = [pipeline.generate(prompt, **options) for prompt, options in REQUESTS]
        assert [answer.read() for answer in answers] == texts
        usual, tokens = time.monotonic() - started, sum(len(answer.ids) for answer in answers)

        def kills(answers):
            nonlocal killed
            for moment in sorted(draw.randrange(tokens) for _ in range(min(4, KILLS - killed))):
                while sum(len(answer.ids) for answer in answers) < moment:
                    time.sleep(0.01)
                # Sometimes one that has just come, or two neighbours at once.
                for pid in draw.sample(pids(pipeline), draw.choice([1, 1, 1, 2])):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                killed += 1

        while killed < KILLS:
            assert told(pipeline, kills) == texts, f"after {killed} kills"
        toll.add(pipeline)
        assert toll.restored > 0
    print(f"\nkilled at {killed} moments, undisturbed {usual:.2f} s: {toll}")


def test_a_stage_that_hangs_is_replaced(cluster, texts):
    with made(patience=QUICK, spare=1) as pipeline:
        assert told(pipeline, lambda _: os.kill(pids(pipeline)[1], signal.SIGSTOP)) == texts
        assert any(recovery.stages == {1} for recovery in pipeline.recoveries)


def test_a_connection_that_is_cut_is_made_anew(cluster, texts):
    with made(patience=QUICK) as pipeline:
        replica = pipeline._replicas[0]

        def cut(_answers):
            # What the coordinator sends from now on goes nowhere.
            replica._out = replica._links.outbox("tcp://127.0.0.1:9")

        assert told(pipeline, cut) == texts
        assert pipeline.recoveries and not any(recovery.stages for recovery in pipeline.recoveries)


def test_what_does_not_belong_on_the_wire_does_no_harm(cluster, texts):
    with made() as pipeline:
        replica, card = pipeline._replicas[0], pipeline._replicas[0].crew.cards[1]
        socket = replica._links.outbox(card.address)

        def disturbs(answers):
            next(iter(answers[0]))
            job = answers[0]._job
            for message in (
                [b"x"],
                [b"OSR2" * 10, b"y"],
                Group(replica._epoch - 1, 1).encode(),
                # The request again from its start, a gap, and no frame at all.
                *(
                    group.encode()
                    for group in (garbage(replica._epoch, job.number, 0), garbage(replica._epoch, job.number, 5000))
                ),
                garbage(replica._epoch, 2**60, 0).encode(),
            ):
                socket.send_multipart(message)

        def garbage(epoch, request, position):
            group = Group(epoch, 0)
            group.add(Step(request, position, 1), b"no frame")
            return group

        first = REQUESTS[0]
        answers = [pipeline.generate(prompt, **options) for prompt, options in REQUESTS]
        disturbs(answers)
        got = [answer.read() for answer in answers]
        assert got[1:] == texts[1:] and texts[0].endswith(got[0]), first
        assert pipeline.report()[1].counters["refused_steps"] >= 2


def test_a_machine_that_is_lost_is_replaced(cluster, texts):
    with made(stages=4, requests=8) as pipeline:
        hosts = [card.node for card in pipeline._replicas[0].crew.cards]
        node = next(node for node in cluster.worker_nodes if node.node_id == hosts[2])

        def lose(_answers):
            cluster.remove_node(node, allow_graceful=False)
            machine(cluster)

        assert told(pipeline, lose) == texts
        assert any(2 in recovery.stages for recovery in pipeline.recoveries)


def test_each_machine_is_measured_once(cluster, measuring, tmp_path):
    asked, read = str(tmp_path / "asked"), speed.read_speed

    def noted(node, settings):
        with open(asked, "a") as file:
            file.write(node + "\n")
        return read(settings)

    measuring(noted)
    for stages in (2, 1):
        with made(stages) as pipeline:
            assert all(1e8 < report.read_speed < 1e13 for report in pipeline.report())
    with open(asked) as file:
        assert sorted(file.read().split()) == sorted(workers())


@pytest.mark.parametrize("spare", [0, 1])
def test_the_faster_machine_gets_more_layers(cluster, texts, measuring, monkeypatch, spare):
    fast, slow = workers()
    known = {fast: 30e9, slow: 10e9}
    measuring(lambda node, _: known[node])
    with made(stages=2, spare=spare) as pipeline:
        crew = pipeline._replicas[0].crew
        # A layer is 0.64 MB, and the last one 1.23 MB with the head: of 5 and 1 layers either machine reads for about as long.
        assert {card.node: card.last_layer - card.first_layer + 1 for card in crew.cards} == {fast: 5, slow: 1}
        assert [report.read_speed for report in pipeline.report()] == [known[card.node] for card in crew.cards]
        assert told(pipeline) == texts
        # A process that is lost, and its machine after that.
        larger = next(i for i, card in enumerate(crew.cards) if card.node == fast)
        meant = crew.members[larger].place
        os.kill(pids(pipeline)[larger], signal.SIGKILL)
        assert told(pipeline) == texts
        node = next(node for node in cluster.worker_nodes if node.node_id == fast)
        looks, is_lost = iter(range(9)), Place.is_lost.fget
        # Ray may notice that a process has ended before it notices that its machine has.
        monkeypatch.setattr(Place, "is_lost", property(lambda place: is_lost(place) and next(looks, 9) > 2))

        try:
            assert told(pipeline, lambda _: cluster.remove_node(node, allow_graceful=False)) == texts
            # Nothing stands by for a machine that is lost.
            crew.spares.append(Member(crew.settings, meant, 1))
            until(lambda: all(member.is_ready for member in crew.spares))
            for pid in pids(pipeline):
                os.kill(pid, signal.SIGKILL)
            assert told(pipeline) == texts
            assert [card.node for card in crew.cards] == [slow] * 2
        finally:
            machine(cluster)


def test_stages_lie_elsewhere_where_their_machines_are_taken(cluster, texts, measuring, monkeypatch):
    monkeypatch.setattr(ortshard.ray.crew, "_SOON", 5.0)
    fast, slow = workers()
    known = {fast: 30e9, slow: 10e9}
    measuring(lambda node, _: known[node])
    with made(stages=2, cpus=2.5, threads=1) as pipeline:
        node = machine(cluster, num_cpus=5)
        try:
            pipeline.scale(2)
            there = [
                [(card.node, card.last_layer - card.first_layer + 1) for card in replica.crew.cards]
                for replica in pipeline._replicas
            ]
            assert sorted(there[0]) == sorted([(fast, 5), (slow, 1)]) and there[1] == [(node.node_id, 3)] * 2
            assert told(pipeline) == texts
        finally:
            pipeline.scale(1)
            cluster.remove_node(node)


def test_a_machine_that_does_not_answer_is_taken_for_as_fast(cluster, texts, measuring, monkeypatch):
    late, other = workers()

    def hangs(node, _settings):
        if node == late:
            time.sleep(600)
        return 10e9

    measuring(hangs)
    monkeypatch.setattr(speed, "_PATIENCE", 10.0)
    with made(stages=2) as pipeline:
        assert [stage.node for stage in pipeline._replicas[0].crew.stages] == [None, None]
        assert pipeline.generate(REQUESTS[0][0], **REQUESTS[0][1]).read() == texts[0]
        assert speed.speed(late, 1) is None and speed.speed(other, 1) == 10e9
    # Asked again, and alone.
    measuring(lambda _node, _settings: 30e9)
    with made(stages=2) as pipeline:
        assert (speed.speed(late, 1), speed.speed(other, 1)) == (30e9, 10e9)


def test_without_a_place_requests_end_and_later_ones_try_again(cluster, texts):
    # Places that only one machine has.
    node = machine(cluster, resources={"seat": 3})
    try:
        with made(stages=2, resources={"seat": 1}, wait_for_place=15.0, cpus=0.5) as pipeline:
            answers = [pipeline.generate(prompt, **options) for prompt, options in REQUESTS]
            next(iter(answers[0]))
            cluster.remove_node(node, allow_graceful=False)
            for pid in pids(pipeline):
                # Where the processes outlive their machine.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for answer in answers:
                with pytest.raises(NoCapacity):
                    answer.read()
            node = machine(cluster, resources={"seat": 3})
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                try:
                    assert pipeline.generate(REQUESTS[1][0], **REQUESTS[1][1]).read() == texts[1]
                    break
                except NoCapacity:
                    pass
            assert not pipeline._replicas[0].is_broken
    finally:
        cluster.remove_node(node)
    with pytest.raises(NoCapacity, match="Ray has found no machines"):
        made(resources={"seat": 1}, wait_for_place=2.0)


def test_requests_of_a_replica_that_is_lost_move_to_another(cluster, texts):
    def nowhere(_place):
        raise NoCapacity("no machine has room")

    with made(stages=2, replicas=2, cpus=0.5) as pipeline:

        def breaks(_answers):
            pipeline._replicas[0].crew._member = nowhere
            os.kill(pids(pipeline)[1], signal.SIGKILL)

        assert told(pipeline, breaks) == texts
        assert [replica.is_broken for replica in pipeline._replicas] == [True, False]


def test_other_weights_are_refused(cluster, tmp_path):
    folder = shutil.copytree(STORIES, tmp_path / "model")
    weights = folder / "model.safetensors"
    with Pipeline(folder, 2, context=512, patience=PATIENCE, wait_for_place=PATIENCE) as pipeline:
        answer = pipeline.generate("Once upon a time", ignore_eos=True)
        next(iter(answer))
        # Another file in its place, so that who has mapped the old one keeps it.
        raw = bytearray(weights.read_bytes())
        raw[-2] ^= 1
        (folder / "tuned").write_bytes(raw)
        os.replace(folder / "tuned", weights)
        os.kill(pids(pipeline)[1], signal.SIGKILL)
        with pytest.raises(OtherWeights, match=r"another model\.safetensors"):
            answer.read()


def test_requests_wait_for_memory(cluster, texts):
    with ortshard.Engine(device="cpu") as engine:
        most = max(
            engine.estimate(STORIES, context=512, requests=3, first_layer=first, last_layer=last).total_bytes
            for first, last in [(0, 2), (3, 5)]
        )
    with made(stages=2, requests=8, memory_limit=most) as pipeline:
        assert told(pipeline) == texts


COORDINATOR = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
sys.path.insert(0, sys.argv[3])
from test_ray import REQUESTS, made
pipeline = made(stages=2, log=sys.argv[2])
answers = [pipeline.generate(prompt, **options) for prompt, options in REQUESTS]
seen = 0
for text in answers[-1]:
    seen += 1
    if seen == 40:
        print("under way", flush=True)
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_coordinator_goes_on_from_its_log(cluster, texts, tmp_path):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", COORDINATOR, cluster.address, str(tmp_path / "log"), here]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done
    with made(stages=3, log=tmp_path / "log") as pipeline:
        got = {answer.prompt_length: answer.read() for answer in pipeline.resume()}
        with ortshard.Tokenizer(STORIES) as tokenizer:
            wanted = {len(tokenizer.encode(prompt)): text for (prompt, _), text in zip(REQUESTS, texts)}
        assert got and all(wanted[length] == text for length, text in got.items())
        assert not pipeline.resume()


def test_a_neighbour_takes_the_layers_of_a_stage_without_a_place(cluster, texts):
    # Two places on one machine, and one on another.
    nodes = [machine(cluster, resources={"place": count}) for count in (2, 1)]
    try:
        with made(resources={"place": 1}, wait_for_place=10.0, cpus=0.5) as pipeline:
            crew = pipeline._replicas[0].crew
            alone = next(i for i, card in enumerate(crew.cards) if card.node == nodes[1].node_id)

            def lose(_answers):
                cluster.remove_node(nodes.pop(), allow_graceful=False)
                with suppress(ProcessLookupError):
                    os.kill(crew.cards[alone].pid, signal.SIGKILL)

            assert told(pipeline, lose) == texts
            assert any(recovery.absorbed for recovery in pipeline.recoveries)
            ends = [(report.first_layer, report.last_layer) for report in pipeline.report()]
            assert len(ends) == 2 and ends[0][0] == 0 and ends[1] == (ends[0][1] + 1, 5)
            # And on from there.
            os.kill(pids(pipeline)[0], signal.SIGKILL)
            assert told(pipeline) == texts
    finally:
        for node in nodes:
            cluster.remove_node(node)


def test_replicas_come_and_go(cluster, texts):
    with made(stages=2, cpus=0.5) as pipeline:
        answers = []

        def scales(started):
            answers.extend(started)
            pipeline.scale(2)
            pipeline.scale(1)

        assert told(pipeline, scales) == texts
        thread = threading.Thread(target=pipeline.scale, args=(2,))
        thread.start()
        assert told(pipeline) == texts
        thread.join()
        assert len(pids(pipeline)) == 4
