"""Engines: they load, replace and describe shards of models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ctypes import byref, c_size_t, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

from . import _abi
from ._abi import Boundary, EngineStats, Estimate, ModelFile, ModelInfo, PlanStage
from ._library import Handle, lib
from ._structs import describe, fill, ids_of, initial, number, read, utf8
from .callbacks import Fetcher, ProgressOption, loading, watched
from .runtime import ensure_runtime
from .shards import Shard
from .text import Tokenizer

__all__ = ["Engine", "model_boundary", "model_eos", "model_info", "model_sampler_options"]

if TYPE_CHECKING:
    from typing_extensions import Unpack

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

    def plan(
        self,
        model: Path,
        devices: Sequence[int | _abi.PlanDevice],
        *,
        revision: str | None = None,
        first_layer: int = 0,
        last_layer: int | None = None,
        **options: Unpack[_abi.PlanOptions],
    ) -> list[PlanStage]:
        """Cuts a model among devices: which one holds which layers, from the first stage to the last.

        A device is the bytes that are free on it, or a `PlanDevice`. Options are those of `PlanOptions`. Raises `OutOfMemory` if no
        plan fits, with what would.
        """
        spec = self._spec(model, {"revision": revision, "first_layer": first_layer, "last_layer": last_layer})
        given = fill("ortshard_plan_options", {**options, "devices": devices})
        stages, needed = (_abi.ortshard_plan_stage * max(len(devices), 1))(), c_size_t()
        with self._files():
            lib.ortshard_engine_plan(self._handle, byref(spec), byref(given), stages, len(devices), byref(needed))
        return [read(PlanStage, stage) for stage in stages[: needed.value]]

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
