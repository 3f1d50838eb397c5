"""ortshard, by its C interface (include/ortshard.h)."""

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int64, c_size_t, c_void_p
from typing import Any

import numpy as np
import binding
from binding import CONSTANTS, STRUCTS, initial

DEVICES = {
    name.removeprefix("ORTSHARD_DEVICE_").lower(): value
    for name, value in CONSTANTS.items()
    if name.startswith("ORTSHARD_DEVICE_")
}
Tensor = STRUCTS["ortshard_tensor"]


class Failure(RuntimeError):
    """A call that did not return ORTSHARD_OK."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"{function}: {library.ortshard_last_error().decode()}")
        self.status = status


def call(function: str, *arguments: Any) -> None:
    status = getattr(library, function)(*arguments)
    if status != CONSTANTS["ORTSHARD_OK"]:
        raise Failure(function, status)


def load(options: dict[str, Any], threads: int) -> None:
    global library
    library = binding.load(options["library"])
    call("ortshard_runtime_load", byref(initial("ortshard_runtime_options", threads=threads)))


class Engine:
    """`options`: library; model, a folder; precision, an ORTSHARD_PRECISION_*; kv_type, an ORTSHARD_DTYPE_*, or the default; shards,
    how many of equal size; perhaps device, which must be there then."""

    def __init__(self, options: dict[str, Any], _threads: int, capacity: int) -> None:
        kind, _, index = options.get("device", "auto").partition(":")
        self.engine_options = initial(
            "ortshard_engine_options",
            precision=options["precision"],
            kv_type=options.get("kv_type", 0),
            device=DEVICES[kind],
            device_index=int(index or 0),
            require_device="device" in options,
            batch_slots=options.get("requests", 1),
        )
        self.output = Tensor()
        self.requests: list[c_void_p] = []
        self.next: Next | None = None
        self.weight_bytes = 0
        model, shards = options["model"].encode(), options["shards"]
        info = initial("ortshard_model_info")
        call("ortshard_model_get_info", model, byref(info))
        layers = info.layer_count
        for n in range(shards):
            spec = initial(
                "ortshard_shard_spec", model=model, first_layer=n * layers // shards, last_layer=(n + 1) * layers // shards - 1
            )
            self.add(spec, capacity)

    def add(self, spec: Structure, capacity: int) -> None:
        """One more shard, in an engine of its own, and a request on it. They live as long as the process."""
        engine, shard, request = c_void_p(), c_void_p(), c_void_p()
        try:
            call("ortshard_engine_create", byref(self.engine_options), byref(engine))
            call("ortshard_engine_ensure_shard", engine, byref(spec), None, None, byref(shard))
        except Failure as failure:
            refused = ("ORTSHARD_ERROR_INVALID_ARGUMENT", "ORTSHARD_ERROR_UNSUPPORTED")
            if failure.status in [CONSTANTS[name] for name in refused]:
                raise NotImplementedError(str(failure)) from failure
            raise
        call("ortshard_request_create", shard, byref(initial("ortshard_request_options", capacity=capacity)), byref(request))
        info = initial("ortshard_shard_info")
        call("ortshard_shard_get_info", shard, byref(info))
        self.weight_bytes += info.weight_bytes
        self.shard = shard
        self.requests.append(request)

    def reset(self) -> None:
        for request in self.requests:
            call("ortshard_request_truncate", request, 0)

    def prompt(self, ids: list[int]) -> None:
        chain, count = (c_void_p * len(self.requests))(*self.requests), c_size_t(len(self.requests))
        tensor = ids_tensor((c_int64 * len(ids))(*ids))
        call("ortshard_chain_infer", chain, count, byref(tensor), CONSTANTS["ORTSHARD_LOGITS_LAST"], byref(self.output))

    def logits(self) -> np.ndarray:
        pointer = ctypes.cast(self.output.data, POINTER(c_float))
        return np.ctypeslib.as_array(pointer, (self.output.byte_length // 4,))

    def choose(self) -> int:
        return int(self.logits().argmax())

    def step(self, token: int) -> int:
        if self.next is None:
            self.next = Next(self.requests)
        return self.next.after(token)


class Next:
    """The next token of a chain of requests, chosen greedily by the library; what describes it is made once."""

    def __init__(self, requests: list[c_void_p]) -> None:
        self.chain, self.count = (c_void_p * len(requests))(*requests), c_size_t(len(requests))
        self.id = (c_int64 * 1)()
        self.input, self.sampler = ids_tensor(self.id), greedy()

    def after(self, token: int) -> int:
        self.id[0] = token
        call("ortshard_chain_sample", self.chain, self.count, byref(self.input), self.sampler, self.id)
        return self.id[0]


def greedy() -> c_void_p:
    sampler = c_void_p()
    call("ortshard_sampler_create", byref(initial("ortshard_sampler_options", temperature=0)), byref(sampler))
    return sampler


def ids_tensor(ids: Any) -> Tensor:
    """What describes an array of ids, which must stay."""
    return Tensor(CONSTANTS["ORTSHARD_DTYPE_I64"], 1, (c_int64 * 4)(len(ids)), ctypes.cast(ids, c_void_p), ctypes.sizeof(ids))


class Batch(Engine):
    """Many requests on one shard, whose tokens run together. `options`: as for one, and requests, how many."""

    def __init__(self, options: dict[str, Any], threads: int, capacity: int) -> None:
        super().__init__(options, threads, capacity)
        count = options["requests"]
        while len(self.requests) < count:
            request = c_void_p()
            asked = initial("ortshard_request_options", capacity=capacity)
            call("ortshard_request_create", self.shard, byref(asked), byref(request))
            self.requests.append(request)
        self.handles, self.count = (c_void_p * count)(*self.requests), c_size_t(count)
        self.samplers = (c_void_p * count)(*(greedy() for _ in range(count)))
        self.outputs, self.ids = (Tensor * count)(), (c_int64 * count)()
        self.singles = (Tensor * count)()
        for index, tensor in enumerate(self.singles):
            address = ctypes.addressof(self.ids) + index * ctypes.sizeof(c_int64)
            tensor.__init__(CONSTANTS["ORTSHARD_DTYPE_I64"], 1, (c_int64 * 4)(1), address, ctypes.sizeof(c_int64))

    def prompt(self, ids: list[int]) -> None:
        data = (c_int64 * len(ids))(*ids)
        inputs = (Tensor * len(self.requests))(*(ids_tensor(data) for _ in self.requests))
        call("ortshard_batch_infer", self.handles, inputs, None, self.count, self.outputs, None)

    def logits(self) -> np.ndarray:
        def of(output: Tensor) -> np.ndarray:
            pointer = ctypes.cast(output.data, POINTER(c_float))
            return np.ctypeslib.as_array(pointer, (output.byte_length // 4,))

        return np.stack([of(output) for output in self.outputs])

    def choose(self) -> list[int]:
        return self.logits().argmax(axis=1).tolist()

    def step(self, tokens: list[int]) -> list[int]:
        self.ids[:] = tokens
        call("ortshard_batch_sample", self.handles, self.singles, self.samplers, self.count, self.ids, None)
        return list(self.ids)
