"""Many requests in one call: on shards in a row, or on one shard."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_int64, c_void_p
from typing import Any

from . import _abi, errors
from ._abi import Logits
from ._library import Handle, error_of, lib, raw
from ._structs import enum_value
from .shards import Request, Sampler, alone, handle_of
from .tensor import Tensor, as_input, copied

__all__ = ["BatchError", "batch_infer", "batch_sample", "chain_infer", "chain_sample"]


def _handles(values: Sequence[Handle | None]) -> Any:
    return (c_void_p * max(len(values), 1))(*(handle_of(value) for value in values))


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
        lib.ortshard_chain_sample(_handles(requests), len(requests), byref(given._c()), handle_of(sampler), byref(id))
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
