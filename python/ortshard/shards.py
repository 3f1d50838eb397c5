"""Shards, requests on them, and samplers."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import byref, c_int64, c_size_t, c_uint64, c_void_p
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _abi, errors
from ._abi import Logits, ShardInfo
from ._library import Handle, lib
from ._structs import bytes_of, describe, enum_value, fill, ids_array, number, utf8
from .callbacks import Fetcher
from .tensor import Frame, Tensor, as_input, copied, lying_in, writable

__all__ = ["Request", "Sampler", "Shard"]

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Shard(Handle):
    """A loaded range of layers. Any number of requests and threads share it."""

    _kind = "shard"
    _fetcher: Fetcher | None = None

    @cached_property
    def info(self) -> ShardInfo:
        """What it is, what it takes and gives, and where it runs."""
        return describe(ShardInfo, "ortshard_shard_get_info", self._handle)

    def request(self, **options: Unpack[_abi.RequestOptions]) -> Request:
        """A request on it, at position 0."""
        return Request(self, **options)

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Saves the shard as a standard ONNX model: `path`, and its weights beside it in `path` followed by ".data"."""
        lib.ortshard_shard_export_onnx(self._handle, utf8(path, "path"))

    def retain(self) -> Shard:
        """Another reference to the shard, which is closed on its own."""
        lib.ortshard_shard_retain(self._handle)
        shard = Shard._of(self._handle)
        shard._fetcher = self._fetcher
        return shard

    def __repr__(self) -> str:
        if self.closed:
            return "<Shard closed>"
        return f"<Shard {self.info.architecture} layers {self.info.first_layer} to {self.info.last_layer} of {self.info.layer_count}>"


class Sampler(Handle):
    """A rule and a random stream that choose the next token from logits. Options are those of `SamplerOptions`.

    >>> Sampler(temperature=0).sample([0.5, 2.0, 1.0])
    1
    """

    _kind = "sampler"

    def __init__(self, **options: Unpack[_abi.SamplerOptions]) -> None:
        pointer = c_void_p()
        lib.ortshard_sampler_create(byref(fill("ortshard_sampler_options", options)), byref(pointer))
        self._adopt(pointer.value)

    def accept(self, ids: Any) -> None:
        """Adds tokens to the text so far that the sampler has not chosen: a prompt."""
        array = ids_array(ids)
        lib.ortshard_sampler_accept(self._handle, array.ctypes.data, len(array))

    def sample(self, logits: Any) -> int:
        """Chooses the next token from one row of logits."""
        array, id = np.ascontiguousarray(logits, np.float32).reshape(-1), c_int64()
        lib.ortshard_sampler_sample(self._handle, array.ctypes.data, len(array), byref(id))
        return id.value

    def reset(self) -> None:
        """Puts it back to the start of its random stream, and makes it forget the text so far."""
        lib.ortshard_sampler_reset(self._handle)


class Request(Handle):
    """A sequence of tokens on a shard: a KV cache and a position in it.

    Options are those of `RequestOptions`, such as `capacity=2048` or, for another process, `output="frame"`.

    What runs give is memory of its own, which no later run changes. One thread at a time runs a request; another that tries gets
    `InvalidState`.
    """

    _kind = "request"

    def __init__(self, shard: Shard, **options: Unpack[_abi.RequestOptions]) -> None:
        pointer = c_void_p()
        lib.ortshard_request_create(shard._handle, byref(fill("ortshard_request_options", options)), byref(pointer))
        self._start(pointer, shard._fetcher)

    def _start(self, pointer: c_void_p, fetcher: Fetcher | None) -> None:
        # Held while what the library lends is copied or in use, so that nobody frees or changes it meanwhile.
        self._lock = threading.Lock()
        self._fetcher = fetcher
        self._adopt(pointer.value)

    def close(self) -> None:
        """Frees it; while a run is in progress, at its end."""
        lock: threading.Lock | None = self.__dict__.get("_lock")
        if lock is None or lock.acquire(blocking=False):
            try:
                super().close()
            finally:
                if lock is not None:
                    lock.release()
        else:
            self._close_later = True

    _close_later = False

    @property
    def position(self) -> int:
        """The number of tokens that were run, which is the position of the next one."""
        position = c_uint64()
        lib.ortshard_request_position(self._handle, byref(position))
        return position.value

    @property
    def capacity(self) -> int:
        """The number of tokens there is room for."""
        capacity = c_uint64()
        lib.ortshard_request_capacity(self._handle, byref(capacity))
        return capacity.value

    def logits(self, ids: Any, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Runs token ids on a shard of all layers and gives the last one's logits, in `out` if that is given."""
        array, needed = ids_array(ids), c_size_t()
        with alone([self]):
            if out is None:
                lib.ortshard_request_logits(self._handle, array.ctypes.data, len(array), None, 0, byref(needed))
                out = np.empty(needed.value, np.float32)
            else:
                writable(out, np.float32)
            lib.ortshard_request_logits(self._handle, array.ctypes.data, len(array), out.ctypes.data, out.size, byref(needed))
        return out

    def sample(self, ids: Any, sampler: Sampler | None = None) -> int:
        """Runs token ids on a shard of all layers and has the token chosen that follows; without `sampler` the most probable."""
        array, id = ids_array(ids), c_int64()
        with alone([self]):
            lib.ortshard_request_sample(self._handle, array.ctypes.data, len(array), handle_of(sampler), byref(id))
        return id.value

    def infer(self, input: Any, logits: Logits | str | int = Logits.LAST, out: NDArray[Any] | None = None) -> Tensor:
        """Runs ids or hidden states through the shard, continuing at the position, and gives logits or hidden states.

        The first shard takes ids, any other hidden states or a `Frame`, from numpy or by DLPack. The last one gives logits, [1, rows,
        vocab_size]: of the last token, `"all"` or `"none"`; any other hidden states [1, n, hidden_size], or a `Frame` if the request
        was made so; with `output="pieces"` an empty one, and `frame_pieces()` has it. With `out`, an array that is large enough, the values are written there, and the result lies in it.
        """
        given, output = as_input(input), _abi.ortshard_tensor()
        kind = enum_value(logits, Logits, "logits")
        with alone([self]):
            if out is None:
                lib.ortshard_request_infer(self._handle, byref(given._c()), kind, byref(output))
                return copied(output)
            writable(out, None)
            room = (byref(given._c()), kind, out.ctypes.data, out.nbytes, byref(output))
            lib.ortshard_request_infer_into(self._handle, *room)
        return lying_in(out, output)

    def infer_frame(self, input: Any) -> Frame:
        """`infer()` of a request that was made with `output="frame"`."""
        output = self.infer(input)
        if not isinstance(output, Frame):
            raise errors.InvalidArgument("the request gives no frames: make it with output='frame'")
        return output

    @contextmanager
    def frame_pieces(self) -> Iterator[list[memoryview]]:
        """The frame of what the request gave last, in pieces and without a copy, for `socket.sendmsg()` or `os.writev()`.

        Within the block no run of the request is possible, and after it the pieces are gone. BufferError, and the request stays as it
        is, if something still holds one of them.
        """
        needed = c_size_t()
        self._take()
        try:
            lib.ortshard_request_frame_pieces(self._handle, None, 0, byref(needed))
            pieces = (_abi.ortshard_piece * needed.value)()
            lib.ortshard_request_frame_pieces(self._handle, pieces, needed.value, byref(needed))
        except BaseException:
            self._give_back()
            raise
        lent = [(ctypes.c_char * piece.size).from_address(piece.data or 0) for piece in pieces]
        views = [memoryview(memory).cast("B").toreadonly() for memory in lent]
        alive = [weakref.ref(memory) for memory in lent]
        del lent
        try:
            yield views
        finally:
            for view in views:
                view.release()
            if any(memory() is not None for memory in alive):
                raise BufferError("something still holds a piece of the frame, and the request stays as it is")
            self._give_back()

    def truncate(self, position: int) -> None:
        """Forgets every token from `position` on; 0 empties the request."""
        with alone([self]):
            lib.ortshard_request_truncate(self._handle, number(position, "uint64_t", "position"))

    def cancel(self) -> None:
        """Cancels the run in progress or, if none is, the next one, which raises `Cancelled`. From any thread."""
        lib.ortshard_request_cancel(self._handle)

    def clear_cancel(self) -> None:
        """Takes a cancellation back that no call has met yet."""
        lib.ortshard_request_clear_cancel(self._handle)

    def fork(self) -> Request:
        """Another request with the same tokens behind it."""
        pointer = c_void_p()
        with alone([self]):
            lib.ortshard_request_fork(self._handle, byref(pointer))
        request = Request.__new__(Request)
        request._start(pointer, self._fetcher)
        return request

    def export_state(self) -> bytes:
        """Its state as bytes to be kept or sent: it goes on elsewhere, bit for bit."""
        with alone([self]):
            return bytes_of("ortshard_request_export_state", self._handle)

    def export_state_since(self, since: int) -> bytes:
        """What its state has gained since it was at position `since`."""
        with alone([self]):
            return bytes_of("ortshard_request_export_state_since", self._handle, number(since, "uint64_t", "since"))

    def import_state(self, state: bytes | bytearray | memoryview) -> None:
        """Puts the request where the one was that exported `state`; what it gained since a position is taken there."""
        array = np.frombuffer(state, np.uint8)
        with alone([self]):
            lib.ortshard_request_import_state(self._handle, array.ctypes.data, array.nbytes)

    def _take(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise errors.InvalidState("the request is in use by another call right now")

    def _give_back(self) -> None:
        self._lock.release()
        if self._close_later:
            self.close()


@contextmanager
def alone(requests: Sequence[Request]) -> Iterator[None]:
    """Has the requests for itself, so that what the library lends can be copied before anybody runs or frees them."""
    taken: list[Request] = []
    try:
        for request in requests:
            request._take()
            taken.append(request)
        yield
    finally:
        for request in taken:
            request._give_back()


def handle_of(value: Handle | None) -> int | None:
    """The handle, or NULL."""
    return None if value is None else value._handle
