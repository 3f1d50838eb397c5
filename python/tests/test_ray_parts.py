"""The parts of ortshard.ray that need no cluster: messages, keys, digests, texts and the log."""

import json
import random
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import golden

import ortshard

pytest.importorskip("ray")
zmq = pytest.importorskip("zmq")

from ortshard.ray.fingerprint import agree, fingerprint
from ortshard.ray.job import Job, Rules
from ortshard.ray.link import Key, Links
from ortshard.ray.log import Log
from ortshard.ray.plan import _check
from ortshard.ray.problems import OtherWeights
from ortshard.ray.wire import Group, Step, Want, decode

MODEL = golden("llama_gqa")


def a_group():
    group = Group(7, 3, freed=[11, 2**63])
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
    for message in ([], [b""], [b"OSR1" + bytes(16) + b"\xff" * 8], twice.encode()):
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
        ours.outbox(address).send(b"it is me")
        assert inbox.poll(5000) and inbox.recv() == b"it is me"
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
OPTIONS = [
    {"temperature": 0, "max_new_tokens": 60},
    {"temperature": 0, "max_new_tokens": 1},
    {"max_new_tokens": 80},
    {"temperature": 0.9, "seed": 5, "repetition_penalty": 1.2, "frequency_penalty": 0.2, "max_new_tokens": 70},
    {"temperature": 0, "stop": ["girl", "oak tree.", " hollow oak"]},
    {"temperature": 0, "stop": ["hollow"], "include_stop": True},
    {"temperature": 0, "keep_special": True},
    {"seed": 3},
    {"temperature": 0, "ignore_eos": True, "max_new_tokens": 300},
    {"temperature": 0, "ignore_eos": True},
]


def tell(model, options, generated=(), steps=(1000,)):
    """The text of a job whose stages are a request in this process, and its tokens."""
    ids, said, ends = model.tokenizer.encode(PROMPT), [], []
    sampler = {name: value for name, value in options.items() if name in ortshard.SamplerOptions.__annotations__}
    own = {name: value for name, value in options.items() if name not in sampler}

    def told(text, end):
        said.append(text)
        ends.append(end)

    job = Job(1, ids, Rules(sampler, model.tokenizer.eos, **own), model.tokenizer, told, generated)
    turn = 0
    with model.request() as request:
        while job.finish is None and len(job.tokens) <= request.capacity:
            step, part = job.next_step(steps[turn % len(steps)])
            turn += 1
            rows = {Want.NOTHING: "none", Want.ID: "last", Want.LAST: "last", Want.ALL: "all"}[step.want]
            logits = request.infer(np.frombuffer(part, np.int64), rows).numpy()[0]
            if step.want == Want.ID:
                logits = np.int64(ortshard.Sampler(temperature=0).sample(logits[-1]))
            assert job.result(step, logits.tobytes()) is not None
            job.tell()
        job.end(None if job.finish else ortshard.Finish.CONTEXT_FULL)
    return "".join(said), ends[-1], job.generated


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_texts_are_those_of_a_model(stories, options):
    generation = stories.generate(PROMPT, **options)
    text = generation.read()
    said, finish, ids = tell(stories, options)
    assert (said, finish) == (text, generation.finish)
    # Another coordinator that has the first tokens goes on with the same.
    for known in {0, 1, len(ids) // 2, len(ids) - 1}:
        assert tell(stories, options, ids[:known], steps=(3, 7))[::2] == (text, ids), known


def test_a_log_that_broke_off_is_read_up_to_there(tmp_path):
    path = tmp_path / "log"
    log = Log(path)
    rules = Rules({"temperature": 0}, eos=[2], stop=["x"])
    log.begin(1, [5, 6], rules)
    log.begin(2, [7], rules)
    log.tokens(1, [8])
    log.tokens(1, [9, 10])
    log.end(2)
    log.close()
    with path.open("ab") as file:
        file.write(b'{"request": 1, "tok')
    again = Log(path)
    assert again.last == 2 and list(again.unfinished) == [1]
    assert again.unfinished[1].generated == [8, 9, 10] and again.unfinished[1].rules == rules
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


def test_a_door_that_closes_leaves_no_thread(tmp_path):
    started = time.monotonic()
    Links(Key.fresh()).close()
    assert time.monotonic() - started < 5
