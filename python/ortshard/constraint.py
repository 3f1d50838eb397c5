"""What a text must look like: a JSON schema, a regular expression or a Lark grammar, as a rule for the next token."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_void_p

import numpy as np
from numpy.typing import NDArray

from . import _abi
from ._library import Handle, lib
from ._structs import enum_value, ids_array, ids_of, json_text, number
from .tensor import writable
from .text import Tokenizer

__all__ = []

# Where the library has no grammars, there is none here.
if "ortshard_constraint_create" in _abi.FUNCTIONS:
    __all__ += ["Constraint"]

    class Constraint(Handle):
        """A grammar, and how far a text has come in it: which tokens may come next.

        A generation takes one in its options `constraint`, or a text in `grammar` and `grammar_kind`. A loop of one's own asks it:

            constraint.mask(logits)
            id = sampler.sample(logits)
            constraint.advance(id)

        `grammar`: a JSON schema, as a mapping or its text, or what `kind` says: "regex" or "lark". `eos`: the tokens that end the text;
        without them those of the tokenizer.
        """

        _kind = "constraint"

        def __init__(
            self, tokenizer: Tokenizer, grammar: _abi.Text, kind: str | int = "json_schema", eos: Sequence[int] = ()
        ) -> None:
            pointer, ends = c_void_p(), ids_array(eos)
            number_of_kind = enum_value(kind, getattr(_abi, "Grammar"), "kind")
            given = json_text(grammar, "grammar")
            pointer_to_ends = ends.ctypes.data if len(ends) else None
            lib.ortshard_constraint_create(tokenizer._handle, number_of_kind, given, pointer_to_ends, len(ends), byref(pointer))
            self._adopt(pointer.value)

        def clone(self) -> Constraint:
            """Another that goes on from here on its own, without compiling."""
            pointer = c_void_p()
            lib.ortshard_constraint_clone(self._handle, byref(pointer))
            return Constraint._of(pointer.value)

        def mask(self, logits: NDArray[np.float32]) -> None:
            """Sets the logits, one row of a last shard's, of the tokens that may not come next to minus infinity."""
            writable(logits, np.float32, "logits")
            lib.ortshard_constraint_mask(self._handle, ctypes.c_void_p(logits.ctypes.data), logits.size)

        def advance(self, id: int) -> None:
            """Takes the next token."""
            lib.ortshard_constraint_advance(self._handle, number(id, "int64_t", "id"))

        def known_ids(self) -> list[int]:
            """The tokens that must come next, whatever the logits; often there are none."""
            return ids_of("ortshard_constraint_known_ids", self._handle)
