"""Answers of /v1/completions: the text as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ... import Step, Tokenizer
from .. import Answer
from .forms import Form
from .logprobs import completion_logprobs
from .replies import Completion, CompletionChoice
from .writing import reason_of, usage_of


class CompletionForm(Form):
    """`top`: of how many tokens the probabilities are told; None: of none."""

    piece_kind = "text_completion"

    def __init__(self, head: dict[str, Any], tokenizer: Tokenizer, top: int | None) -> None:
        super().__init__(head, tokenizer)
        self._top, self._offset = top, 0

    def _choice(self, text: str, steps: list[Step], reason: Any) -> CompletionChoice:
        logprobs = None
        if self._top is not None:
            logprobs = completion_logprobs(self.tokenizer, steps, self._top, self._offset)
            self._offset += sum(map(len, logprobs.tokens))
        return CompletionChoice(text=text, logprobs=logprobs, finish_reason=reason)

    async def whole(self, answer: Answer, steps: AsyncIterator[Step]) -> dict[str, Any]:
        """The whole answer."""
        all_steps = [step async for step in steps]
        choice = self._choice("".join(step.text for step in all_steps), all_steps, reason_of(answer))
        return Completion(**self.head, choices=[choice], usage=usage_of(answer)).model_dump()

    async def pieces(self, answer: Answer, steps: AsyncIterator[Step]) -> AsyncIterator[dict[str, Any]]:
        """The answer in pieces: one for each token that makes text certain, or whose probability is asked for."""
        async for step in steps:
            if step.text or self._top is not None:
                yield self.piece([self._choice(step.text, [step], None).model_dump()])
        yield self.piece([self._choice("", [], reason_of(answer)).model_dump()])
