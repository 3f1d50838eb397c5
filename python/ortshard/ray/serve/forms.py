"""What both kinds of answers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from ... import Step, Tokenizer
from .. import Answer
from .writing import usage_of


class Form(ABC):
    """The form of one answer: whole, or in pieces."""

    #: What the pieces of a stream call themselves.
    piece_kind: str

    def __init__(self, head: dict[str, Any], tokenizer: Tokenizer) -> None:
        self.head, self.tokenizer = head, tokenizer

    @abstractmethod
    async def whole(self, answer: Answer, steps: AsyncIterator[Step]) -> dict[str, Any]:
        """The whole answer."""

    @abstractmethod
    def pieces(self, answer: Answer, steps: AsyncIterator[Step]) -> AsyncIterator[dict[str, Any]]:
        """The answer in pieces."""

    def piece(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """One piece."""
        return {**self.head, "object": self.piece_kind, "choices": choices}

    def usage(self, answer: Answer) -> dict[str, Any]:
        """The last piece, which tells what the answer has taken."""
        return {**self.piece([]), "usage": usage_of(answer).model_dump()}
