"""The parts of ortshard.ray that need no cluster: messages, keys, digests, texts and the log."""

import itertools
import json
import random
import shutil
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import STORIES, golden

import ortshard

pytest.importorskip("ray")
zmq = pytest.importorskip("zmq")

from ortshard.model import sorted_out
from ortshard.ray import plan, speed
from ortshard.ray.fingerprint import agree, fingerprint
from ortshard.ray.job import Job, plain
from ortshard.ray.link import Key, Links
from ortshard.ray.log import Log
from ortshard.ray.plan import Machine, _check
from ortshard.ray.problems import OtherWeights
from ortshard.ray.stage import Settings
from ortshard.ray.wire import Group, Step, Want, decode

MODEL = golden("llama_gqa")


def a_group():
    group = Group(7, 3, freed=[11, 2**63], rounds=9)
    group.add(Step(1, 0, 5, Want.NOTHING, True), b"12345678" * 5)
    group.add(Step(2, 2**31, 1, Want.ALL, False, 402), b"why")
    return group


def test_a_message_arrives_as_it_was_sent():
    sent = a_group()
    assert decode(sent.encode()) == replace(sent, freed=[11, 2**63])
    assert decode(Group(1, 2).encode()) == Group(1, 2, freed=[])


def test_a_message_of_somebody_else_is_refused():
    draw = random.Random(1)
    head, *parts = a_group().encode()
    refused = 0
    for _ in range(3000):
        bad = bytearray(head)
        for _ in range(draw.randint(1, 4)):
            bad[draw.randrange(len(bad))] = draw.randrange(256)
        message = [bytes(bad[: draw.choice([len(bad), draw.randrange(len(bad))])]), *parts[: draw.choice([2, 2, 1])]]
        try:
            group = decode(message)
            assert len(group.steps) == len(group.parts) == 2
        except ortshard.Malformed:
            refused += 1
    assert refused > 1500
    twice = Group(1, 1)
    for _ in range(2):
        twice.add(Step(1, 0, 1), b"")
    for message in ([], [b""], [b"OSR2" + bytes(20) + b"\xff" * 8], twice.encode()):
        with pytest.raises(ortshard.Malformed):
            decode(message)


def test_only_who_has_the_key_gets_in():
    ours, theirs = Links(Key.fresh()), Links(Key.fresh())
    try:
        inbox, address = ours.inbox("127.0.0.1")
        stranger = theirs.context.socket(zmq.PUSH)
        # Somebody who knows the address and the public key, and has a secret key of his own; and somebody without any.
        stranger.curve_serverkey = ours.key.public
        stranger.curve_publickey, stranger.curve_secretkey = theirs.key.public, theirs.key.secret
        plain = theirs.context.socket(zmq.PUSH)
        for socket in (stranger, plain):
            socket.linger = 0
            socket.connect(address)
            socket.send(b"let me in")
        assert not inbox.poll(500)
        friend = ours.outbox(address)
        friend.send(b"it is me")
        assert inbox.poll(20000) and inbox.recv() == b"it is me"
        assert not inbox.poll(100)
        assert "secret" not in repr(ours.key)
    finally:
        ours.close()
        theirs.close()


def test_a_fine_tune_is_another_model(engine, tmp_path):
    known = fingerprint(engine.audit_files(MODEL.path))
    assert set(known) == {"config.json", "model.safetensors"}
    shutil.copytree(MODEL.path, tmp_path / "copy")
    agree(known, fingerprint(engine.audit_files(tmp_path / "copy")), "the copy")
    weights = tmp_path / "copy/model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(OtherWeights, match="the tuned one has another model.safetensors"):
        agree(known, fingerprint(engine.audit_files(tmp_path / "copy")), "the tuned one")


PROMPT = "Once upon a time"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["fox", "hare"]}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
OPTIONS: list[dict[str, Any]] = [
    {"temperature": 0, "max_new_tokens": 60},
    {"temperature": 0, "max_new_tokens": 1},
    {"max_new_tokens": 80},
    {
        "temperature": 0.9,
        "seed": 5,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.2,
        "biases": {3: 1.5},
        "max_new_tokens": 70,
    },
    {"temperature": 0, "stop": ["girl", "oak tree.", " hollow oak"]},
    {"temperature": 0, "stop": ["hollow"], "include_stop": True},
    {"temperature": 0, "keep_special": True},
    {"seed": 3, "logprobs": 3, "max_new_tokens": 40},
    {"temperature": 0, "logprobs": 1, "max_new_tokens": 40},
    {"temperature": 0, "ignore_eos": True, "max_new_tokens": 300},
    {"temperature": 0, "ignore_eos": True},
    {"temperature": 0, "grammar": SCHEMA, "grammar_kind": "json_schema"},
    {"seed": 1, "frequency_penalty": 0.4, "min_new_tokens": 12, "grammar": SCHEMA, "grammar_kind": "json_schema"},
    {"seed": 2, "logprobs": 2, "grammar": "(There was|He had) [a-z]{3,8}s, [0-9]+ of them", "grammar_kind": "regex"},
    {"seed": 2, "forced": [70, 71], "grammar": 'start: /[a-z ]{4}/ "and then" | /.{9}/', "grammar_kind": "lark"},
]


def told(model, options, generated=(), pieces=(1000,)):
    """The steps of a job whose stages are a request in this process, and its tokens."""
    parts = sorted_out(options)
    given = plain({**parts["generation"], **({"sampling": parts["sampler"]} if parts["sampler"] else {})})
    said: list[Any] = []
    with model.request() as request:
        size = (model.shard.info.vocab_size, request.capacity)
        job = Job(1, model.tokenizer.encode(PROMPT), given, size, model.tokenizer, said.append, generated)
        turn = 0
        while job.finish is None:
            step, part = job.next_step(pieces[turn % len(pieces)])
            turn += 1
            rows = {Want.NOTHING: "none", Want.ID: "last", Want.LAST: "last", Want.ALL: "all"}[step.want]
            logits = request.infer(np.frombuffer(part, np.int64), rows).numpy()[0]
            if step.want == Want.ID:
                logits = np.int64(ortshard.Sampler(temperature=0).sample(logits[-1]))
            assert job.result(step, logits.tobytes())
        job.tell()
    return said, job.generated


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_are_those_of_a_model(stories, options):
    steps = list(stories.generate(PROMPT, **options).steps())
    said, ids = told(stories, options)
    assert said == steps
    # Another coordinator that has the first tokens goes on with the same.
    for known in {0, 1, len(ids) // 2, len(ids) - 1, len(ids)}:
        assert told(stories, options, ids[:known], pieces=(3, 7)) == (steps, ids), known


def test_a_log_of_another_model_is_noticed(stories):
    _, ids = told(stories, {"seed": 3, "max_new_tokens": 20})
    with pytest.raises(ortshard.Internal, match="was .* and is now"):
        told(stories, {"seed": 3, "max_new_tokens": 20}, [*ids[:9], ids[9] + 1, *ids[10:]])


def test_a_log_that_broke_off_is_read_up_to_there(tmp_path):
    path = tmp_path / "log"
    log = Log(path)
    options = plain({"stop": ["x"], "sampling": {"temperature": 0, "eos": np.array([2]), "biases": {5: 1.5}}})
    log.begin(1, [5, 6], options)
    log.begin(2, [7], options)
    log.tokens(1, [8])
    log.tokens(1, [9, 10])
    log.end(2)
    log.close()
    with path.open("ab") as file:
        file.write(b'{"request": 1, "tok')
    again = Log(path)
    assert again.last == 2 and list(again.unfinished) == [1]
    assert again.unfinished[1].generated == [8, 9, 10] and again.unfinished[1].options == options
    again.tokens(1, [11])
    again.close()
    assert Log(path).unfinished[1].generated == [8, 9, 10, 11]
    path.write_text(json.dumps({"request": 3, "tokens": [1]}) + "\n")
    with pytest.raises(ortshard.Malformed, match="no log of a pipeline"):
        Log(path)


@pytest.mark.parametrize("ranges", [[], [(0, 1)], [(0, 1), (1, 2)], [(1, 2)], [(0, 3)], [(0, 1), (2, 1)]])
def test_stages_that_are_not_the_model_are_refused(ranges):
    with pytest.raises(ortshard.InvalidArgument, match="layers|layer"):
        _check(ranges, 3)


def cheapest(engine, layers, speeds, stages):
    """The seconds of a token of the best of all cuts: of its slowest stage, and of its hops."""
    least = float("inf")
    for count in range(1, layers + 1) if stages is None else [stages]:
        each = 1 if stages is None else -(-stages // len(speeds))
        for ends in itertools.combinations(range(layers - 1), count - 1):
            ranges = list(zip([0, *(end + 1 for end in ends)], [*ends, layers - 1]))
            for order in set(itertools.permutations([node for node in speeds for _ in range(each)], count)):
                least = min(least, cost(engine, ranges, order, speeds))
    return least


def cost(engine, ranges, order, speeds):
    read = []
    for (first, last), node in zip(ranges, order):
        needs = engine.estimate(STORIES, context=64, first_layer=first, last_layer=last)
        # Half of a context is kept in the mean.
        read.append((needs.token_bytes + needs.kv_bytes / 2) / speeds[node])
    return max(read) + plan._HOP * (len(ranges) - 1)


@pytest.mark.parametrize("stages", [None, 1, 2, 3, 4])
def test_stages_are_cut_by_what_machines_read(engine, monkeypatch, stages):
    draw = random.Random(5)
    found = [Machine(name, 2**30 + i) for i, name in enumerate("abcd")]
    monkeypatch.setattr(plan, "machines", lambda _: found)
    for count in (2, 3):
        # Some are not known. A token takes about as long to read as a hop.
        speeds = {machine.node: draw.choice([1e9, 2e9, 3e9, 5e9]) * draw.uniform(0.2, 1) for machine in draw.sample(found, count)}
        cut = plan.plan(engine, STORIES, stages, speeds, context=64, requests=1, revision=None)
        ranges = [(stage.first_layer, stage.last_layer) for stage in cut]
        _check(ranges, 6)
        assert len(cut) == (stages or len(cut))
        least = cheapest(engine, 6, speeds, stages)
        assert cost(engine, ranges, [stage.node for stage in cut], speeds) == pytest.approx(least)
    cut = plan.plan(engine, STORIES, 3, {}, context=64, requests=1, revision=None)
    assert [(stage.first_layer, stage.last_layer, stage.node) for stage in cut] == [(0, 1, None), (2, 3, None), (4, 5, None)]


@pytest.mark.parametrize("sizes", [[], [5 << 20, 40 << 20], [90 << 20, 4, 0, 7]])
def test_as_many_bytes_are_read_of_files_and_memory(monkeypatch, tmp_path, sizes):
    paths = [tmp_path / str(i) for i in range(len(sizes))]
    for path, size in zip(paths, sizes):
        with path.open("wb") as file:
            file.truncate(size)
    given: list[Any] = []
    monkeypatch.setattr(speed, "_SIZE", 64 << 20)
    monkeypatch.setattr(speed.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(speed, "_read", lambda pieces: given.append(pieces) or 1.0)
    # As many threads as were told, but no more than there are processors.
    assert speed.measured([str(path) for path in paths], 3) == 3 and speed.measured([str(path) for path in paths], 9) == 4
    assert len(given) == 7
    for threads in given[:3], given[3:]:
        assert sum(piece.nbytes for pieces in threads for piece in pieces) == 64 << 20
        assert all(0 < piece.nbytes <= speed._PIECE for pieces in threads for piece in pieces)


def test_a_thread_that_is_interrupted_counts_what_it_reads_otherwise():
    class Piece:
        nbytes = 1000

        def max(self):
            time.sleep(next(waits, 0.1))

    # The first time is from the disk.
    waits = iter([1.0, 0.2, 0.05])
    assert 1000 / 0.08 < speed._read([Piece(), Piece()]) <= 1000 / 0.05


@pytest.mark.parametrize(("device", "reads"), [("cpu", True), (None, False), ("cuda", False)])
def test_a_machine_whose_gpu_takes_the_weights_is_not_measured(monkeypatch, device, reads):
    monkeypatch.delenv("ORTSHARD_DEVICE", raising=False)
    monkeypatch.setattr(speed, "devices", lambda: [*ortshard.devices()[:1]] * 2)
    monkeypatch.setattr(speed, "measured", lambda paths, _threads: 1.0 + len(paths))
    settings = Settings(MODEL.path, None, Key.fresh(), None, 64, 0, 0, {"device": device} if device else {})
    # A folder of a model has two files that its shards need.
    assert speed.read_speed(settings) == (3.0 if reads else 0.0)
    elsewhere = replace(settings, model=MODEL.path + "-of-another-machine", engine={"device": "cpu"})
    assert speed.read_speed(elsewhere) == 1.0


def test_a_door_that_closes_leaves_no_thread(tmp_path):
    started = time.monotonic()
    Links(Key.fresh()).close()
    assert time.monotonic() - started < 5
