"""Shards, requests and engines: any cut gives the same bits, what fails changes nothing, and every error is its own class."""

import sys
import threading
import types

import numpy as np
import pytest
from conftest import STORIES, golden

import ortshard

MODEL = golden("llama_gqa")
LAYERS = 3


@pytest.fixture
def shard(engine):
    with engine.ensure_shard(MODEL.path) as made:
        yield made


@pytest.fixture(scope="module")
def whole():
    with ortshard.Engine(device="cpu") as engine, engine.ensure_shard(MODEL.path) as shard:
        return shard.request().infer(MODEL.prompt, "all").numpy()


def cut(*firsts):
    """Requests on shards that begin at layers 0 and `firsts`."""
    begins, requests = [0, *firsts], []
    for begin, end in zip(begins, [*firsts, LAYERS]):
        engine = ortshard.Engine(device="cpu")
        requests.append(engine.ensure_shard(MODEL.path, first_layer=begin, last_layer=end - 1).request())
    return requests


@pytest.mark.parametrize("firsts", [(), (1,), (2,), (1, 2)])
def test_any_cut_gives_the_same_bits(whole, firsts):
    given = MODEL.prompt
    for request in cut(*firsts):
        given = request.infer(given, "all")
    assert np.array_equal(given.numpy(), whole)
    assert np.array_equal(ortshard.chain_infer(cut(*firsts), MODEL.prompt, "all").numpy(), whole)
    ids = [ortshard.chain_sample(chain := cut(*firsts), MODEL.prompt)]
    while len(ids) < 8:
        ids.append(ortshard.chain_sample(chain, ids[-1]))
    assert ids == MODEL.greedy[:8]


def test_calls_of_any_length_give_the_same_bits(shard, whole):
    request = shard.request(capacity=64)
    pieces = [request.infer(MODEL.prompt[i : i + 5], "all")[0] for i in range(0, len(MODEL.prompt), 5)]
    assert np.array_equal(np.concatenate(pieces), whole[0])
    assert (request.position, request.capacity) == (len(MODEL.prompt), 64)
    request.truncate(7)
    assert np.array_equal(request.infer(MODEL.prompt[7:], "all")[0], whole[0, 7:])
    request.truncate(0)
    assert np.array_equal(request.logits(MODEL.prompt), whole[0, -1])
    assert request.infer([3], "none").shape == (1, 0, 128)


def test_a_request_forks_and_travels(shard, whole):
    request = shard.request()
    request.infer(MODEL.prompt[:20], "none")
    fork, state = request.fork(), request.export_state()
    other = shard.request()
    other.import_state(state)
    for one in (request, fork, other):
        assert np.array_equal(one.infer(MODEL.prompt[20:], "all")[0], whole[0, 20:])
    other.truncate(20)
    other.import_state(request.export_state_since(20))
    assert np.array_equal(other.logits([3]), request.logits([3]))
    other.truncate(len(MODEL.prompt))
    damaged = bytearray(state)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(ortshard.Malformed):
        other.import_state(damaged)
    assert other.position == len(MODEL.prompt)


def test_a_batch_gives_each_what_it_gets_alone(shard, whole):
    requests = [shard.request() for _ in range(5)]
    inputs = [MODEL.prompt[: 4 + i] for i in range(5)]
    for i, logits in enumerate(ortshard.batch_infer(requests, inputs)):
        assert np.array_equal(logits[0, 0], whole[0, 3 + i])
    ids = ortshard.batch_sample(
        requests, [MODEL.prompt[4 + i] for i in range(5)], [ortshard.Sampler(temperature=0), None, None, None, None]
    )
    assert ids == [int(whole[0, 4 + i].argmax()) for i in range(5)]

    requests[1].cancel()
    with pytest.raises(ortshard.BatchError) as failed:
        ortshard.batch_infer(requests, [[1], [1], [999999], [1], [1]])
    kinds = [type(result).__name__ for result in failed.value.results]
    assert kinds == ["Tensor", "Cancelled", "OutOfRange", "Tensor", "Tensor"]
    assert [request.position for request in requests] == [6, 6, 7, 9, 10]
    results = ortshard.batch_infer(requests, [[1]] * 5, return_exceptions=True)
    assert all(isinstance(result, ortshard.Tensor) for result in results)


def test_swaps_are_transactions(engine, whole):
    first = engine.ensure_shard(MODEL.path)
    assert engine.ensure_shard(MODEL.path).info == first.info and engine.stats().shards_loaded == 1
    request = first.request()
    with pytest.raises(ortshard.NotFound, match="nowhere"):
        engine.ensure_shard("/nowhere")
    with pytest.raises(ortshard.OutOfRange):
        engine.ensure_shard(MODEL.path, first_layer=LAYERS)
    assert np.array_equal(request.infer(MODEL.prompt, "all").numpy(), whole)
    # A replaced shard's requests go on; those on a shard that was cleared do not.
    other = engine.ensure_shard(golden("qwen3_tied").path)
    assert engine.current_shard().info.architecture == "Qwen3ForCausalLM"
    assert request.infer([1]).shape == (1, 1, 128)
    engine.clear()
    assert engine.current_shard() is None
    with pytest.raises(ortshard.StaleShard):
        other.request()


def test_a_load_is_watched_and_cancelled_by_its_progress(engine):
    seen = []
    engine.ensure_shard(MODEL.path, progress=seen.append)
    stages = [progress.stage for progress in seen]
    assert stages == sorted(stages) and stages[-1] == ortshard.Stage.READY
    engine.clear()
    with pytest.raises(ortshard.Cancelled):
        engine.ensure_shard(MODEL.path, progress=lambda progress: progress.stage == ortshard.Stage.WEIGHTS)

    class Mine(Exception):
        pass

    def raises(progress):
        raise Mine(int(progress.stage))

    with pytest.raises(Mine, match="1"):
        engine.ensure_shard(MODEL.path, progress=raises)
    assert engine.current_shard() is None
    # From inside: an error, and no deadlock.
    inner = []

    def loads(_):
        with pytest.raises(ortshard.InvalidState):
            engine.clear()
        inner.append(1)

    engine.ensure_shard(MODEL.path, progress=loads)
    assert inner


def test_a_host_brings_the_files(tmp_path):
    asked = []

    def fetch(model, revision, file):
        asked.append((model, revision, file))
        path = f"{MODEL.path}/{file}"
        open(path).close()
        return path

    with ortshard.Engine(device="cpu", fetch=fetch) as engine, engine.ensure_shard("my/model", revision="v1") as shard:
        assert shard.request().sample(MODEL.prompt) == MODEL.greedy[0]
        assert ("my/model", "v1", "config.json") in asked

    def broken(model, revision, file):
        raise RuntimeError("the disk is on fire")

    with ortshard.Engine(device="cpu", fetch=broken) as engine, pytest.raises(RuntimeError, match="on fire"):
        engine.ensure_shard("my/model")


def test_nothing_is_freed_within_a_callback_that_must_not_free(engine):
    last = [engine.ensure_shard(MODEL.path).request()]

    def fetch(model, revision, file):
        last.clear()
        return f"{MODEL.path}/{file}"

    with ortshard.Engine(device="cpu", fetch=fetch) as other, pytest.raises(ortshard.Error):
        other.ensure_shard("my/model", layer_count=99)
    assert not last and len(ortshard._library._waiting) == 1
    engine.ensure_shard(MODEL.path)
    assert ortshard._library._waiting == []


def test_progress_is_a_bar_where_tqdm_is(engine, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, desc, total, **_):
            self.desc, self.n, self.closed = desc, 0, False
            self.total = total
            bars.append(self)

        def update(self, count):
            self.n += count

        def close(self):
            self.closed = True

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
    engine.ensure_shard(MODEL.path, progress=True)
    weights = next(bar for bar in bars if bar.desc == "weights")
    assert weights.n > 100_000 and all(bar.closed for bar in bars) and bars[-1].desc == "ready"
    monkeypatch.setitem(sys.modules, "tqdm", None)
    engine.clear()
    engine.ensure_shard(MODEL.path, progress=True)


def test_memory_that_runs_out_says_where(tmp_path):
    with ortshard.Engine(device="cpu") as engine:
        need = engine.estimate(STORIES, context=64)
    with ortshard.Engine(device="cpu", memory_limit=need.weight_bytes // 2) as engine:
        with pytest.raises(ortshard.OutOfMemory) as failed:
            engine.ensure_shard(STORIES)
        assert failed.value.site == ortshard.OomSite.LOAD
        assert failed.value.device == "cpu" and failed.value.requested_bytes > 0
        assert isinstance(failed.value, MemoryError) and failed.value.status == ortshard.Status.OUT_OF_MEMORY
        assert engine.stats().out_of_memory_load == 1
    with ortshard.Engine(device="cpu", memory_limit=need.total_bytes + need.total_bytes // 4) as engine:
        shard = engine.ensure_shard(STORIES)
        with pytest.raises(ortshard.OutOfMemory) as failed:
            _ = [shard.request(capacity=512) for _ in range(100)]
        assert failed.value.site == ortshard.OomSite.KV and failed.value.requested_bytes > 0
        del failed
        assert shard.request(capacity=64).sample([1, 2, 3]) >= 0


def test_checkpoints_files_and_boundaries(engine, tmp_path, whole):
    shard = engine.ensure_shard(MODEL.path)
    engine.save_checkpoint(tmp_path / "saved.safetensors")
    again = engine.load_checkpoint(tmp_path / "saved.safetensors")
    assert np.array_equal(again.request().infer(MODEL.prompt, "all").numpy(), whole)
    assert {file.name for file in engine.audit_files(MODEL.path)} == {"config.json", "model.safetensors"}
    boundary = engine.boundary(MODEL.path, 0)
    assert boundary == ortshard.model_boundary(MODEL.path, 0)
    assert boundary.can_cut and boundary.reason == "" and boundary.hidden_states_width == 48
    assert engine.model_info(MODEL.path) == ortshard.model_info(MODEL.path)
    assert engine.eos(MODEL.path) == ortshard.model_eos(MODEL.path)
    assert engine.sampler_options(MODEL.path) == ortshard.model_sampler_options(MODEL.path)
    assert engine.clear_pack_cache() == 0
    assert "LlamaForCausalLM layers 0 to 2 of 3" in repr(shard)
    with pytest.raises(ortshard.Unsupported, match="multiples of 16"):
        shard.export_onnx(tmp_path / "shard.onnx")


def test_an_exported_shard_runs_in_onnxruntime(engine, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = golden("qwen3_16")
    engine.ensure_shard(model.path).export_onnx(tmp_path / "shard.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "shard.onnx", providers=["CPUExecutionProvider"])
    feeds = {"input_ids": np.array([model.prompt]), "attention_mask": np.ones((1, len(model.prompt)), np.int64)}
    for given in session.get_inputs():
        if given.name.startswith("past"):
            feeds[given.name] = np.zeros((1, given.shape[1], 0, given.shape[3]), np.float32)
    logits, theirs = session.run(["logits"], feeds)[0], model.tensor("logits")
    assert np.abs(logits[0] - theirs).max() <= 1e-4 * np.abs(theirs).max()


def test_a_request_is_cancelled_from_another_thread(stories):
    request = stories.request()
    request.cancel()
    with pytest.raises(ortshard.Cancelled):
        request.infer([1, 2])
    request.cancel()
    request.clear_cancel()
    assert request.infer([1, 2]).shape == (1, 1, 1536)
    stop = threading.Event()

    def cancels():
        while not stop.wait(0.001):
            request.cancel()

    thread = threading.Thread(target=cancels)
    thread.start()
    try:
        with pytest.raises(ortshard.Cancelled):
            for _ in range(1000):
                request.truncate(0)
                request.infer([5] * 400, "none")
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda s: s.request(capacity=10**6), ortshard.OutOfRange, "capacity"),
        (lambda s: s.request(capacity=-1), ortshard.OutOfRange, "capacity is -1"),
        (lambda s: s.request(capacty=1), TypeError, "did you mean 'capacity'"),
        (lambda s: s.request(output="fram"), ortshard.InvalidArgument, "tensor, frame, pieces"),
        (lambda s: s.request().infer([]), ortshard.InvalidArgument, ""),
        (lambda s: s.request().infer([128]), ortshard.OutOfRange, "128"),
        (lambda s: s.request().infer([1.5]), TypeError, "whole numbers"),
        (lambda s: s.request().infer([True]), TypeError, "whole numbers"),
        (lambda s: s.request().infer([2**70]), (TypeError, OverflowError), ""),
        (lambda s: s.request().infer(np.ones((1, 2, 48), np.float32)), ortshard.InvalidArgument, "ids"),
        (lambda s: s.request().infer(np.ones(3)), TypeError, "float64"),
        (lambda s: s.request().infer(np.ones((1, 1, 1, 1, 1), np.int64)), ortshard.InvalidArgument, "dimensions"),
        (lambda s: s.request().infer([1], "most"), ortshard.InvalidArgument, "last, all, none"),
        (lambda s: s.request().infer(b"no frame"), ortshard.Malformed, ""),
        (lambda s: s.request(capacity=4).infer([1] * 5), ortshard.ContextFull, ""),
        (lambda s: s.request().truncate(1), ortshard.OutOfRange, ""),
        (lambda s: s.request().truncate(-1), ortshard.OutOfRange, "position is -1"),
        (lambda s: s.request().infer_frame([1]), ortshard.InvalidArgument, "output='frame'"),
        (lambda s: s.request(no_cache=True).export_state(), ortshard.InvalidState, ""),
        (lambda s: ortshard.Sampler(temperature=-1), ortshard.InvalidArgument, "temperature"),
        (lambda s: ortshard.Sampler(biases=[([], 1.0)]), ortshard.InvalidArgument, "bias"),
        (lambda s: ortshard.Engine(device="gpu"), ortshard.InvalidArgument, "auto, cpu, cuda, coreml"),
        (lambda s: ortshard.Engine(device=2**32 + 1), ortshard.OutOfRange, "device is 4294967297"),
        (lambda s: ortshard.Engine(cache_dir=5), TypeError, "cache_dir must be a str"),
        (lambda s: ortshard.Engine(device="cuda", require_device=True), ortshard.DeviceUnavailable, ""),
        (lambda s: ortshard.model_info("a\0b"), ortshard.InvalidArgument, "NUL"),
        (lambda s: ortshard.chain_infer([], [1]), ortshard.InvalidArgument, ""),
        (lambda s: ortshard.batch_infer([s.request()], [[1], [2]]), ortshard.InvalidArgument, "1 requests and 2 inputs"),
    ],
)
def test_wrong_arguments_are_named(shard, call, kind, words):
    with pytest.raises(kind, match=words or None):
        call(shard)


def test_what_is_closed_says_so(shard):
    request = shard.request()
    with request:
        request.sample([1])
    assert request.closed
    request.close()
    with pytest.raises(ortshard.InvalidState, match="Request is closed"):
        request.sample([1])
    import copy
    import pickle

    for copies in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            copies(shard)
    reference = shard.retain()
    shard.close()
    assert reference.request().sample(MODEL.prompt) == MODEL.greedy[0]
