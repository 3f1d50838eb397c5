"""Text after a prompt, token by token."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from ctypes import byref, c_int32, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _abi, errors
from ._abi import Finish, Step
from ._library import Handle, error_of, lib, raw
from ._structs import bytes_of, fill, ids_array, ids_of, number, read, utf8
from .batch import finish_batch
from .callbacks import Fetcher
from .runtime import ensure_runtime
from .shards import Request
from .text import Tokenizer

__all__ = ["Generation", "step_batch"]

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: A prompt: a text, or token ids.
Prompt = str | Sequence[int] | NDArray[np.integer[Any]]
# Tokens of a prompt between two looks at Ctrl-C. Any number gives the same result.
_PIECE = 256


class Generation(Handle):
    """A text in progress on a whole model. Iterating gives its pieces as they become certain:

        for text in generation:
            print(text, end="", flush=True)

    It is made on requests of one's own: one on a whole model, or one on each of its shards in turn, which it has to itself until it is
    closed. `Generation.open()` and `Model.generate()` make the requests, too. Options are those of `GenerationOptions`;
    `sampling={...}` takes those of `SamplerOptions`.

    When the text has ended, more of a prompt may be appended. After an error it is as it was before the call, and no token is lost.
    """

    _kind = "generation"
    _owned: tuple[Handle, ...] = ()
    _finish: Finish | int | None = None
    _fetchers: Sequence[object] = ()

    def __init__(
        self,
        requests: Request | Sequence[Request],
        tokenizer: Tokenizer | None = None,
        **options: Unpack[_abi.GenerationOptions],
    ) -> None:
        given = [requests] if isinstance(requests, Request) else list(requests)
        handles = (c_void_p * max(len(given), 1))(*(request._handle for request in given))
        pointer, struct = c_void_p(), fill("ortshard_generation_options", options)
        text = None if tokenizer is None else tokenizer._handle
        lib.ortshard_generation_create(handles, len(given), text, byref(struct), byref(pointer))
        self._adopt(pointer.value)
        # Files may be fetched as long as it lives.
        self._fetchers = [request._fetcher for request in given]

    @classmethod
    def open(cls, model: str | os.PathLike[str], **options: Unpack[_abi.GenerationOptions]) -> Generation:
        """On a request on all layers of a model, a folder or a name on the hub, with its tokenizer if it has one.

        `engine={...}` and `request={...}` take options of those; with `published_sampling=True` tokens are chosen as the publisher wants.
        """
        ensure_runtime()
        pointer, given, fetchers = c_void_p(), dict(options), []
        engine = options.get("engine")
        if engine and engine.get("fetch"):
            fetchers.append(Fetcher(engine["fetch"]))  # type: ignore[arg-type]
            given["engine"] = {**engine, "fetch": fetchers[0].callback}
        struct = fill("ortshard_generation_options", given)
        with fetchers[0].raising() if fetchers else nullcontext():
            lib.ortshard_generation_open(utf8(model, "model"), byref(struct), byref(pointer))
        generation = cls._of(pointer.value)
        generation._fetchers = fetchers
        return generation

    @classmethod
    def remote(
        cls,
        vocab_size: int,
        capacity: int,
        short_context: int = 0,
        tokenizer: Tokenizer | None = None,
        **options: Unpack[_abi.GenerationOptions],
    ) -> Generation:
        """One whose tokens you run elsewhere, and which does the rest:

            while generation.finish is None:
                ids = generation.pending()
                step = generation.step_with(run(ids) if len(ids) else None)

        `vocab_size` and `short_context` are those of the shards, `capacity` the number of tokens that there is room for.
        """
        pointer, struct = c_void_p(), fill("ortshard_generation_options", options)
        sizes = (
            number(vocab_size, "uint32_t", "vocab_size"),
            number(capacity, "uint32_t", "capacity"),
            number(short_context, "uint64_t", "short_context"),
        )
        text = None if tokenizer is None else tokenizer._handle
        lib.ortshard_generation_create_remote(*sizes, text, byref(struct), byref(pointer))
        return cls._of(pointer.value)

    def append(self, prompt: Prompt, add_special: bool = True) -> None:
        """Adds a text or token ids to the prompt: before the first step, or after the text has ended."""
        if isinstance(prompt, str):
            lib.ortshard_generation_append_text(self._handle, utf8(prompt, "prompt"), int(add_special))
        else:
            ids = ids_array(prompt)
            lib.ortshard_generation_append_ids(self._handle, ids.ctypes.data, len(ids))
        self._finish = None

    def prefill(self, most: int = _PIECE) -> int:
        """Runs the next `most` tokens of the prompt, but for its last one, and gives the number of those left to run. Not needed."""
        left = c_size_t()
        lib.ortshard_generation_prefill(self._handle, number(most, "size_t", "most"), byref(left))
        return left.value

    def step(self) -> Step:
        """The next token and the text that it makes certain."""
        struct = _abi.ortshard_step(struct_size=ctypes.sizeof(_abi.ortshard_step))
        lib.ortshard_generation_step(self._handle, byref(struct))
        return self._told(struct)

    def pending(self) -> list[int]:
        """Of one whose tokens run elsewhere: those to be run before the next step. None: it needs no run."""
        return ids_of("ortshard_generation_pending", self._handle)

    @property
    def candidates(self) -> int:
        """How many of the largest logits decide the next token."""
        count = c_size_t()
        lib.ortshard_generation_candidates(self._handle, byref(count))
        return count.value

    def step_with(self, logits: Any = None, ids: Any = None) -> Step:
        """The next token, with the logits that running the pending tokens has given; None where there were none.

        With `ids` these are the largest logits, in falling order, and the tokens that have them: as many as `candidates` says, and all
        that equal the last of those.
        """
        values = np.ascontiguousarray([] if logits is None else logits, np.float32).reshape(-1)
        largest = None if ids is None else ids_array(ids)
        if largest is not None and len(largest) != len(values):
            raise errors.InvalidArgument(f"there are {len(largest)} ids and {len(values)} logits")
        struct = _abi.ortshard_step(struct_size=ctypes.sizeof(_abi.ortshard_step))
        which = None if largest is None else largest.ctypes.data
        lib.ortshard_generation_step_with(self._handle, which, values.ctypes.data, len(values), byref(struct))
        return self._told(struct)

    def _told(self, struct: Any) -> Step:
        step = read(Step, struct)
        self._finish = step.finish or None
        return step

    @property
    def finish(self) -> Finish | int | None:
        """Why the text has ended; None if it goes on."""
        return self._finish

    def steps(self) -> Iterator[Step]:
        """Steps until the text ends; the last one says why. Ctrl-C stops between two tokens, and within a long prompt."""
        before, left = -1, 0
        # One that was cancelled goes on no more, and the next step says so.
        while self._finish is None and left != before:
            before, left = left, self.prefill()
        while self._finish is None:
            yield self.step()

    def __iter__(self) -> Iterator[str]:
        return (step.text for step in self.steps() if step.text)

    def read(self) -> str:
        """The rest of the text at once."""
        return "".join(self)

    def run(self, callback: Callable[[Step], object]) -> Finish | int | None:
        """Gives each step to `callback` until the text ends, or the callback gives True, which cancels it."""
        for step in self.steps():
            if callback(step) is True and self._finish is None:
                self.cancel()
        return self._finish

    def cancel(self) -> None:
        """Ends the text at the step in progress, or the next one. From any thread."""
        lib.ortshard_generation_cancel(self._handle)

    def logits(self) -> NDArray[np.float32] | None:
        """The logits that the last token was chosen from, with the option `keep_logits`; None before the first step."""
        needed = c_size_t()
        lib.ortshard_generation_logits(self._handle, None, 0, byref(needed))
        if needed.value == 0:
            return None
        logits = np.empty(needed.value, np.float32)
        lib.ortshard_generation_logits(self._handle, logits.ctypes.data, logits.size, byref(needed))
        return logits

    if "ortshard_generation_fork" in _abi.FUNCTIONS:

        def fork(self) -> Generation:
            """Another that goes on from here on its own, on forks of the requests. What the last step gave is not in it."""
            pointer = c_void_p()
            lib.ortshard_generation_fork(self._handle, byref(pointer))
            fork = Generation._of(pointer.value)
            fork._fetchers, fork._finish = self._fetchers, self._finish
            return fork

        def export_state(self) -> bytes:
            """Its state as bytes to be kept or sent: one with the same options goes on from there, elsewhere, with the same text."""
            return bytes_of("ortshard_generation_export_state", self._handle)

        def import_state(self, state: bytes | bytearray | memoryview) -> None:
            """Puts it where the one was that exported `state`."""
            array = np.frombuffer(state, np.uint8)
            lib.ortshard_generation_import_state(self._handle, array.ctypes.data, array.nbytes)
            self._finish = None

    def close(self) -> None:
        """Frees it, and the request if the model made it. Requests of one's own go on from where it left them."""
        super().close()
        owned, self._owned = self._owned, ()
        for handle in owned:
            handle.close()


def step_batch(generations: Sequence[Generation], *, return_exceptions: bool = False) -> list[Any]:
    """One step of many generations at once: those of one request each on one shard run together. Gives a `Step` for each.

    One that fails leaves the others to go on. Then `BatchError` is raised, which has all results; or, with `return_exceptions`, the
    list has the exception in its place.
    """
    count = len(generations)
    handles = (c_void_p * max(count, 1))(*(generation._handle for generation in generations))
    steps, statuses = (_abi.ortshard_step * max(count, 1))(), (c_int32 * max(count, 1))()
    for step in steps:
        step.struct_size = ctypes.sizeof(_abi.ortshard_step)
    status = raw("ortshard_generation_step_batch")(handles, count, steps, statuses)
    if status and not any(statuses):
        raise error_of(status)
    results: list[Step | errors.Error] = []
    for generation, step, own in zip(generations, steps, statuses):
        results.append(error_of(own, generation._handle) if own else generation._told(step))
    return finish_batch(status, results, return_exceptions)
