"""Tensors go in and out without copies where lifetimes allow, and nothing that was given changes later."""

import gc
import sys
import threading
import time

import numpy as np
import pytest
from conftest import golden

import ortshard

MODEL = golden("llama_gqa")


class Lends:
    """What another library would lend by DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **how):
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.fixture
def front(engine):
    with engine.ensure_shard(MODEL.path, last_layer=1) as shard:
        yield shard


def test_what_a_run_gave_never_changes(front):
    request = front.request()
    first = request.infer(MODEL.prompt)
    array, lent = first.numpy(), np.from_dlpack(first)
    assert np.shares_memory(array, lent)
    before = array.copy()
    for _ in range(3):
        request.truncate(0)
        request.infer([9] * len(MODEL.prompt))
    assert np.array_equal(array, before) and np.array_equal(lent, before)
    request.close()
    front.close()
    del first, request
    gc.collect()
    assert np.array_equal(array, before) and np.array_equal(lent, before)


def test_out_is_filled_and_lent(front):
    request, out = front.request(), np.zeros((1, 40, 48), np.float32)
    given = request.infer(MODEL.prompt, out=out)
    assert given.shape == (1, 32, 48) and np.shares_memory(given.numpy(), out)
    assert np.array_equal(front.request().infer(MODEL.prompt).numpy(), out[:, :32])
    assert not out[:, 32:].any()
    with pytest.raises(ortshard.BufferTooSmall):
        request.infer([1], out=np.zeros(3, np.float32))
    assert request.position == 32
    for wrong in (np.zeros((4, 4), np.float32).T[::2], [1.0]):
        with pytest.raises(TypeError, match="out must be"):
            request.infer([1], out=wrong)
    readonly = np.zeros(48, np.float32)
    readonly.flags.writeable = False
    with pytest.raises(TypeError, match="writable"):
        request.infer([1], out=readonly)


def test_ids_and_hidden_states_of_any_kind_go_in(engine, front):
    wanted = front.request().infer(MODEL.prompt).numpy()
    ids = np.array(MODEL.prompt)
    kinds = [tuple(MODEL.prompt), ids.astype(np.int32), ids[None], ids.astype(np.uint8), ids.astype(">i8"), Lends(ids)]
    strided = np.repeat(ids, 2)[::2]
    for given in [*kinds, strided, iter(MODEL.prompt), range(5)]:
        got = front.request().infer(given).numpy()
        assert np.array_equal(got, wanted) or given == range(5)
    back = engine.ensure_shard(MODEL.path, first_layer=2)
    logits = back.request().infer(wanted).numpy()
    for given in (Lends(wanted), wanted[0], np.asfortranarray(wanted), ortshard.Tensor(wanted)):
        assert np.array_equal(back.request().infer(given).numpy(), logits)
    with pytest.raises(ortshard.InvalidArgument, match="48"):
        back.request().infer(wanted[:, :, :47])


def test_bfloat16_travels_by_dlpack(engine, front):
    exact = front.request().infer(MODEL.prompt)
    half = front.request(hidden_dtype="f16").infer(MODEL.prompt)
    assert half.dtype == ortshard.DType.F16 and half.numpy().dtype == np.float16
    assert np.array_equal(half.numpy(), exact.numpy().astype(np.float16))
    tensor = front.request(hidden_dtype="bf16").infer(MODEL.prompt)
    assert tensor.dtype == ortshard.DType.BF16 and tensor.nbytes * 2 == exact.nbytes
    assert np.abs(tensor.numpy() - exact.numpy()).max() <= np.abs(exact.numpy()).max() / 256
    # There and back under the name of bfloat16, in the same memory.
    again = ortshard.Tensor.from_dlpack(Lends(tensor))
    assert again.dtype == ortshard.DType.BF16
    assert again._array.ctypes.data == tensor._array.ctypes.data
    back = engine.ensure_shard(MODEL.path, first_layer=2)
    assert np.array_equal(back.request().infer(Lends(tensor)).numpy(), back.request().infer(tensor).numpy())


def test_torch_takes_and_gives(engine, front):
    torch = pytest.importorskip("torch")
    exact = front.request().infer(torch.tensor(MODEL.prompt))
    assert torch.equal(torch.from_dlpack(exact), torch.from_numpy(exact.numpy()))
    tensor = front.request(hidden_dtype="bf16").infer(MODEL.prompt)
    lent = torch.from_dlpack(tensor)
    assert lent.dtype == torch.bfloat16 and lent.data_ptr() == tensor._array.ctypes.data
    back = engine.ensure_shard(MODEL.path, first_layer=2)
    assert torch.equal(torch.from_dlpack(back.request().infer(lent)), torch.from_dlpack(back.request().infer(tensor)))


def test_pieces_of_a_frame_are_the_frame_and_hold_the_request(front):
    request = front.request(output="pieces")
    assert request.infer(MODEL.prompt).nbytes == 0
    frame = front.request(output="frame").infer_frame(MODEL.prompt)
    with request.frame_pieces() as pieces:
        assert b"".join(pieces) == bytes(frame)
        for call in (lambda: request.infer([1]), lambda: request.truncate(0), request.fork):
            with pytest.raises(ortshard.InvalidState):
                call()
        kept = pieces[1]
    with pytest.raises(ValueError, match="released"):
        kept.tobytes()
    assert request.infer([1]).shape
    # Somebody who keeps a view keeps the request as it is.
    manager = request.frame_pieces()
    view = np.asarray(manager.__enter__()[1])
    with pytest.raises(BufferError):
        manager.__exit__(None, None, None)
    before = view.copy()
    with pytest.raises(ortshard.InvalidState):
        request.infer([2])
    request.close()
    assert np.array_equal(view, before)


def test_frames_tell_whose_they_are(engine, front):
    frame = front.request(output="frame").infer_frame(MODEL.prompt)
    info = frame.info
    assert (info.position, info.tokens, info.layer, info.part_count) == (0, 32, 1, 1)
    assert info.model == engine.boundary(MODEL.path, 1).model
    ((role, part),) = frame.parts
    assert role == ortshard.Role.HIDDEN_STATES and np.shares_memory(part.numpy(), frame.numpy())
    assert np.array_equal(part.numpy(), front.request().infer(MODEL.prompt).numpy())
    back = engine.ensure_shard(MODEL.path, first_layer=2)
    request = back.request()
    request.infer(bytes(frame))
    with pytest.raises(ortshard.InvalidState):
        request.infer(frame)
    damaged = bytearray(frame.data)
    damaged[200] ^= 1
    with pytest.raises(ortshard.Malformed):
        ortshard.Frame(damaged)


def test_a_request_that_runs_is_refused_and_closed_at_the_end(stories):
    # How the threads are scheduled is the machine's matter, so it is tried until they meet.
    for _ in range(100):
        request, given = stories.request(), []

        def runs(request=request, given=given):
            given.append(request.infer([7] * 500, "all"))

        thread = threading.Thread(target=runs)
        thread.start()
        refused = False
        while thread.is_alive() and not refused:
            try:
                request.truncate(request.position)
            except ortshard.InvalidState:
                refused = True
                request.close()
        thread.join()
        if refused:
            assert request.closed and given[0].shape == (1, 500, 1536)
            return
    pytest.fail("no call met another")


def test_python_goes_on_while_the_library_works(stories):
    """The GIL is released: this thread counts on within the runs of another."""
    request, done, ticks, within = stories.request(), threading.Event(), [0], []

    def runs():
        for _ in range(8):
            request.truncate(0)
            before = ticks[0]
            request.infer([7] * 400, "all")
            within.append(ticks[0] - before)
        done.set()

    # Nobody is made to give the GIL away; it changes hands only where it is let go of.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(30)
    try:
        thread = threading.Thread(target=runs)
        thread.start()
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0)
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sum(count > 10 for count in within) >= 4, within
