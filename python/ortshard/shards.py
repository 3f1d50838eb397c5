"""Engines, shards, and requests on them: the layers of a model, run one by one or many at once."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ctypes import byref, c_int64, c_size_t, c_uint64, c_void_p
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _abi, errors
from ._abi import Boundary, EngineStats, Estimate, Logits, ModelFile, ModelInfo, ShardInfo
from ._library import Handle, error_of, lib, raw
from ._structs import bytes_of, describe, enum_value, fill, ids_array, ids_of, initial, number, read, utf8
from .callbacks import Fetcher, ProgressOption, loading, watched
from .runtime import ensure_runtime
from .tensor import Frame, Tensor, as_input, copied

__all__ = [
    "BatchError",
    "Engine",
    "Request",
    "Sampler",
    "Shard",
    "batch_infer",
    "batch_sample",
    "chain_infer",
    "chain_sample",
    "model_boundary",
    "model_eos",
    "model_info",
    "model_sampler_options",
]

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .text import Tokenizer

Path = str | os.PathLike[str]


class Engine(Handle):
    """Holds at most one shard of a model and replaces it safely.

    Options are those of `EngineOptions`, such as `device="cuda"`, `precision="int8"`, `memory_limit=2**30`, `offline=True`, or a
    function `fetch` that brings files.

    Models are folders or names on the hub; a keyword `revision` names a branch, tag or commit of a name. `progress` is a function
    that is told about each step of loading, or True for a tqdm bar.
    """

    _kind = "engine"

    def __init__(self, **options: Unpack[_abi.EngineOptions]) -> None:
        ensure_runtime()
        given: dict[str, Any] = dict(options)
        self._fetcher = Fetcher(given["fetch"]) if given.get("fetch") is not None else None
        if self._fetcher:
            given["fetch"] = self._fetcher.callback
        pointer = c_void_p()
        lib.ortshard_engine_create(byref(fill("ortshard_engine_options", given)), byref(pointer))
        self._adopt(pointer.value)

    @contextmanager
    def _files(self) -> Iterator[None]:
        with self._fetcher.raising() if self._fetcher else ExitStack():
            yield

    def _spec(self, model: Path, spec: Any) -> Any:
        struct = fill("ortshard_shard_spec", {key: value for key, value in spec.items() if key != "model"})
        struct.model = utf8(model, "model")
        return struct

    def ensure_shard(self, model: Path, *, progress: ProgressOption = None, **spec: Unpack[_abi.ShardSpec]) -> Shard:
        """Makes the layers `first_layer` to `last_layer`, both inclusive, of a model the engine's shard.

        Nothing happens if it is that already. After a failure the shard before is still there.
        """
        pointer, wanted = c_void_p(), self._spec(model, spec)
        with self._files(), loading(progress) as callback:
            lib.ortshard_engine_ensure_shard(self._handle, byref(wanted), callback, None, byref(pointer))
        return self._shard(pointer)

    def _shard(self, pointer: c_void_p) -> Shard:
        shard = Shard._of(pointer.value)
        shard._fetcher = self._fetcher
        return shard

    def current_shard(self) -> Shard | None:
        """The engine's shard, if it has one."""
        pointer = c_void_p()
        lib.ortshard_engine_current_shard(self._handle, byref(pointer))
        return self._shard(pointer) if pointer.value else None

    def clear(self) -> None:
        """Gives back the memory of the engine's shard and of the requests on it, which are stale from then on."""
        lib.ortshard_engine_clear(self._handle)

    def clear_pack_cache(self) -> int:
        """Deletes every quantised shard from the engine's cache of them, and says how many bytes that were."""
        freed = c_uint64()
        lib.ortshard_engine_clear_pack_cache(self._handle, byref(freed))
        return freed.value

    def load_checkpoint(self, checkpoint: Path, *, progress: ProgressOption = None) -> Shard:
        """Puts other weights of the same model, a safetensors file or a folder, into the shard's place."""
        pointer = c_void_p()
        with self._files(), loading(progress) as callback:
            lib.ortshard_engine_load_checkpoint(self._handle, utf8(checkpoint), callback, None, byref(pointer))
        return self._shard(pointer)

    def save_checkpoint(self, path: Path) -> None:
        """Saves the shard's tensors as a safetensors file."""
        lib.ortshard_engine_save_checkpoint(self._handle, utf8(path, "path"))

    def stats(self) -> EngineStats:
        """What the engine has counted since it was created."""
        return describe(EngineStats, "ortshard_engine_get_stats", self._handle)

    def estimate(self, model: Path, *, context: int, requests: int = 1, **spec: Unpack[_abi.ShardSpec]) -> Estimate:
        """What a shard and `requests` requests of `context` tokens on it will take, before it is loaded."""
        with self._files():
            wanted = byref(self._spec(model, spec))
            most = number(context, "uint32_t", "context"), number(requests, "uint32_t", "requests")
            return describe(Estimate, "ortshard_engine_get_estimate", self._handle, wanted, *most)

    def audit_files(self, model: Path, **spec: Unpack[_abi.ShardSpec]) -> list[ModelFile]:
        """The files that a shard needs, and whether they are here. Fetches nothing."""
        files: list[ModelFile] = []
        with self._files(), watched(lambda file: files.append(read(ModelFile, file)), _abi.ortshard_file) as callback:
            lib.ortshard_engine_audit_files(self._handle, byref(self._spec(model, spec)), callback, None)
        return files

    def model_info(self, model: Path, *, progress: ProgressOption = None, **spec: Unpack[_abi.ShardSpec]) -> ModelInfo:
        """The shape of a model, by its config.json."""
        with self._files(), loading(progress) as callback:
            wanted = byref(self._spec(model, spec))
            return describe(ModelInfo, "ortshard_engine_get_model_info", self._handle, wanted, callback, None)

    def eos(self, model: Path, *, progress: ProgressOption = None, **spec: Unpack[_abi.ShardSpec]) -> list[int]:
        """The ids that end a sequence, as the model's files declare them."""
        with self._files(), loading(progress) as callback:
            wanted = byref(self._spec(model, spec))
            return ids_of("ortshard_engine_model_eos", self._handle, wanted, callback, None)

    def sampler_options(
        self, model: Path, *, progress: ProgressOption = None, **spec: Unpack[_abi.ShardSpec]
    ) -> _abi.SamplerOptions:
        """How the model's publisher wants tokens chosen."""
        with self._files(), loading(progress) as callback:
            wanted, options = byref(self._spec(model, spec)), initial("ortshard_sampler_options")
            lib.ortshard_engine_get_sampler_options(self._handle, wanted, callback, None, byref(options))
        return _sampler_options(options)

    def open_tokenizer(self, model: Path, *, progress: ProgressOption = None, **spec: Unpack[_abi.ShardSpec]) -> Tokenizer:
        """The model's tokenizer."""
        from .text import Tokenizer

        pointer = c_void_p()
        with self._files(), loading(progress) as callback:
            wanted = byref(self._spec(model, spec))
            lib.ortshard_engine_open_tokenizer(self._handle, wanted, callback, None, byref(pointer))
        return Tokenizer._of(pointer.value)

    def boundary(self, model: Path, layer: int, *, progress: ProgressOption = None, **spec: Unpack[_abi.ShardSpec]) -> Boundary:
        """The place behind `layer`: whether the model can be cut there, and what passes."""
        with self._files(), loading(progress) as callback:
            wanted, layer = byref(self._spec(model, spec)), number(layer, "uint32_t", "layer")
            return describe(Boundary, "ortshard_engine_get_boundary", self._handle, wanted, layer, callback, None)


def model_info(model: Path) -> ModelInfo:
    """The shape of the model in a folder. Reads config.json only; needs neither weights nor ONNX Runtime."""
    return describe(ModelInfo, "ortshard_model_get_info", utf8(model, "model"))


def model_boundary(model: Path, layer: int) -> Boundary:
    """The place behind `layer` of the model in a folder."""
    return describe(Boundary, "ortshard_model_get_boundary", utf8(model, "model"), number(layer, "uint32_t", "layer"))


def model_eos(model: Path) -> list[int]:
    """The ids that end a sequence, as the files of a folder declare them."""
    return ids_of("ortshard_model_eos", utf8(model, "model"))


def model_sampler_options(model: Path) -> _abi.SamplerOptions:
    """How the folder's publisher wants tokens chosen."""
    options = initial("ortshard_sampler_options")
    lib.ortshard_model_get_sampler_options(utf8(model, "model"), byref(options))
    return _sampler_options(options)


def _sampler_options(struct: Any) -> _abi.SamplerOptions:
    plain = ("int32_t", "uint32_t", "uint64_t", "int64_t", "float", "double")
    fields = [name for name, *_ in struct._fields_ if _abi.FIELDS["ortshard_sampler_options", name][0] in plain]
    return {name: getattr(struct, name) for name in fields}  # type: ignore[return-value]


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

    def export_onnx(self, path: Path) -> None:
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
                _writable(out, np.float32)
            lib.ortshard_request_logits(self._handle, array.ctypes.data, len(array), out.ctypes.data, out.size, byref(needed))
        return out

    def sample(self, ids: Any, sampler: Sampler | None = None) -> int:
        """Runs token ids on a shard of all layers and has the token chosen that follows; without `sampler` the most probable."""
        array, id = ids_array(ids), c_int64()
        with alone([self]):
            lib.ortshard_request_sample(self._handle, array.ctypes.data, len(array), _handle_of(sampler), byref(id))
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
            _writable(out, None)
            room = (byref(given._c()), kind, out.ctypes.data, out.nbytes, byref(output))
            lib.ortshard_request_infer_into(self._handle, *room)
        return _lying_in(out, output)

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

    def import_state(self, state: bytes | bytearray | memoryview) -> None:
        """Puts the request where the one was that exported `state`."""
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


def _handle_of(value: Handle | None) -> int | None:
    return None if value is None else value._handle


def _handles(values: Sequence[Handle | None]) -> Any:
    return (c_void_p * max(len(values), 1))(*(_handle_of(value) for value in values))


def _writable(out: NDArray[Any], kind: Any, name: str = "out") -> None:
    if not (isinstance(out, np.ndarray) and out.flags.c_contiguous and out.flags.writeable):
        raise TypeError(f"{name} must be a writable array of numpy whose values lie one after another")
    if kind is not None and out.dtype != kind:
        raise TypeError(f"{name} must be an array of {np.dtype(kind)}, not {out.dtype}")


def _lying_in(out: NDArray[Any], output: Any) -> Tensor:
    flat = out.reshape(-1).view(np.uint8)[: output.byte_length]
    if output.dtype == _abi.DType.FRAME:
        return Frame(flat, checked=True)
    kind: Any = {_abi.DType.F32: np.float32, _abi.DType.F16: np.float16}.get(output.dtype, np.uint16)
    return Tensor(flat.view(kind).reshape(tuple(output.shape[: output.rank])), _abi.DType(output.dtype))


def chain_infer(requests: Sequence[Request], input: Any, logits: Logits | str | int = Logits.LAST) -> Tensor:
    """Runs `input` through requests on consecutive shards, in one call: if it fails, no position has moved."""
    given, output = as_input(input), _abi.ortshard_tensor()
    kind = enum_value(logits, Logits, "logits")
    with alone(requests):
        lib.ortshard_chain_infer(_handles(requests), len(requests), byref(given._c()), kind, byref(output))
        return copied(output)


def chain_sample(requests: Sequence[Request], input: Any, sampler: Sampler | None = None) -> int:
    """Runs `input` through requests on consecutive shards and has the next token chosen; without `sampler` the most probable."""
    given, id = as_input(input), c_int64()
    with alone(requests):
        lib.ortshard_chain_sample(_handles(requests), len(requests), byref(given._c()), _handle_of(sampler), byref(id))
    return id.value


class BatchError(errors.Error):
    """Some of a batch failed. `results` has what each gave: its output, or its exception."""

    def __init__(self, message: str, results: list[Any]) -> None:
        super().__init__(message)
        self.results = results


def finish_batch(status: int, results: list[Any], return_exceptions: bool) -> list[Any]:
    """The results, or the first failure with all of them."""
    first = next((result for result in results if isinstance(result, errors.Error)), None)
    if status and first is None:
        raise error_of(status)
    if first is None or return_exceptions:
        return results
    error = BatchError(
        f"{sum(isinstance(result, errors.Error) for result in results)} of {len(results)} failed, the first: {first}", results
    )
    error.status = first.status
    raise error from first


def _same_length(what: str, values: Sequence[Any], count: int) -> None:
    if len(values) != count:
        raise errors.InvalidArgument(f"there are {count} requests and {len(values)} {what}")


def batch_infer(
    requests: Sequence[Request],
    inputs: Sequence[Any],
    logits: Sequence[Logits | str | int] | None = None,
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Runs many requests on one shard at once: each gets the bits that it gets alone, as a `Tensor`.

    One that fails leaves the others to go on. Then `BatchError` is raised, which has all results; or, with `return_exceptions`, the
    list has the exception in its place.
    """
    count = len(requests)
    _same_length("inputs", inputs, count)
    given = [as_input(input) for input in inputs]
    tensors = (_abi.ortshard_tensor * max(count, 1))(*(tensor._c() for tensor in given))
    outputs, statuses = (_abi.ortshard_tensor * max(count, 1))(), (ctypes.c_int32 * max(count, 1))()
    kinds = None
    if logits is not None:
        _same_length("logits", logits, count)
        kinds = (ctypes.c_int32 * max(count, 1))(*(enum_value(kind, Logits, "logits") for kind in logits))
    with alone(requests):
        status = raw("ortshard_batch_infer")(_handles(requests), tensors, kinds, count, outputs, statuses)
        whole = error_of(status) if status and not any(statuses) else None
        if whole:
            raise whole
        results = [error_of(statuses[i], requests[i]._handle) if statuses[i] else copied(outputs[i]) for i in range(count)]
    return finish_batch(status, results, return_exceptions)


def batch_sample(
    requests: Sequence[Request],
    inputs: Sequence[Any],
    samplers: Sequence[Sampler | None] | None = None,
    *,
    return_exceptions: bool = False,
) -> list[Any]:
    """Runs many requests on a model's last shard at once and has the next token of each chosen, by its own sampler.

    Failures are told as `batch_infer()` tells them.
    """
    count = len(requests)
    _same_length("inputs", inputs, count)
    given = [as_input(input) for input in inputs]
    tensors = (_abi.ortshard_tensor * max(count, 1))(*(tensor._c() for tensor in given))
    ids, statuses = (c_int64 * max(count, 1))(), (ctypes.c_int32 * max(count, 1))()
    if samplers is not None:
        _same_length("samplers", samplers, count)
    chosen = None if samplers is None else _handles(samplers)
    with alone(requests):
        status = raw("ortshard_batch_sample")(_handles(requests), tensors, chosen, count, ids, statuses)
        if status and not any(statuses):
            raise error_of(status)
        results = [error_of(statuses[i], requests[i]._handle) if statuses[i] else ids[i] for i in range(count)]
    return finish_batch(status, results, return_exceptions)
