"""One request, as the coordinator sees it: its tokens, and the generation that chooses them and makes text of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import Finish, Generation, Tokenizer, errors
from .. import Step as Told
from .wire import Step, Want

#: Wire numbers of requests: each is used once in a process, so that nothing late is taken for something of now.
_numbers = itertools.count(1)

#: Is told each step of the text or, at last, an error.
Tell = Callable[["Told | Exception"], None]


class Job:
    """A text in progress. Whatever is lost can be computed again from its `tokens`."""

    def __init__(
        self, name: int, prompt: Sequence[int], options: Mapping[str, Any], size: tuple[int, int], tokenizer: Tokenizer | None,
        tell: Tell, generated: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """`options`: those of a generation. `size`: the tokens that the model knows, and those that there is room for. `generated`:
        tokens that another coordinator had chosen."""
        self.name, self._tell = name, tell
        self._generation: Generation = Generation.remote(*size, 0, tokenizer, **options)
        self._generation.append(prompt)
        self.prompt_length = len(prompt)
        self.tokens: list[int] = [*prompt, *generated]
        self._logged = len(self.tokens)
        #: The most tokens that the text may have.
        self._longest = min(size[1], len(prompt) + (int(options.get("max_new_tokens", 0)) or size[1]))
        #: How many tokens the generation has chosen. Those of another coordinator it chooses again, to stand where that one stood.
        self.drawn = 0
        self.finish: Finish | None = None
        self.cancelled = False
        #: Times that a machine had no memory for it.
        self.refused_memory = 0
        self.retries = 0
        self._untold: list[Told] = []
        #: Whether the most probable token is all that a choice needs.
        self.greedy = self._generation.candidates == 1
        self._take_known()
        while self.greedy and self._redraws and self.finish is None:
            self._step([0.0], [generated[self.drawn]])
        self.start_over(0)

    def start_over(self, short_context: int) -> None:
        """Begins again under a new wire number: every stage computes all tokens anew."""
        self.number = next(_numbers)
        self.is_long = bool(short_context and len(self.tokens) > short_context)
        self.go_back([0])

    def go_back(self, positions: Sequence[int]) -> None:
        """Begins again at the first of `positions`; tokens are cut into steps at all of them, so that no stage takes half a step."""
        self.cursor = positions[0]
        #: Whether the stages run its next tokens without being told.
        self.goes_round = False
        self.cuts = sorted({*positions, *([self._redraw] if self._redraws else [])})

    @property
    def _redraws(self) -> bool:
        return self.drawn < len(self.generated)

    @property
    def _redraw(self) -> int:
        """The position of the token whose logits choose the next one."""
        return self.prompt_length - 1 + self.drawn

    @property
    def generated(self) -> list[int]:
        """The tokens behind the prompt."""
        return self.tokens[self.prompt_length :]

    @property
    def _end(self) -> int:
        # What another coordinator chose last may have ended the text, and is not run before that is known.
        return len(self.tokens) - (1 if self._redraws else 0)

    @property
    def ready(self) -> bool:
        """Whether it has tokens to run."""
        return self.cursor < self._end and not self.goes_round

    @property
    def has_prompt(self) -> bool:
        """Whether it has tokens to run in front of the last one."""
        return self.cursor < len(self.tokens) - 1

    @property
    def rounds(self) -> int:
        """How many tokens the stages may choose and run at most behind the next step, without being told."""
        if not self.greedy or self._redraws or self.has_prompt:
            return 0
        return max(self._longest - len(self.tokens) - 1, 0)

    def next_step(self, most: int) -> tuple[Step, bytes]:
        """The next tokens to run, at most so many."""
        start = self.cursor
        end = min([start + most, self._end, *(cut for cut in self.cuts if cut > start)])
        self.cursor = end
        want = Want.NOTHING
        if self._redraws and end > self._redraw:
            want = Want.ALL
        elif end == len(self.tokens):
            want = Want.ID if self.greedy else Want.LAST
        ids = np.array(self.tokens[start:end], np.int64).tobytes()
        return Step(self.number, start, end - start, want, self.is_long), ids

    def result(self, step: Step, part: Any) -> bool:
        """Takes what the last stage gave for a step. False: something before it is missing."""
        if self.goes_round:
            self.cursor = max(self.cursor, step.end)
        if step.want == Want.ID:
            if step.end == len(self.tokens):
                self._step([0.0], np.frombuffer(part, np.int64))
        elif step.want != Want.NOTHING:
            rows = step.count if step.want == Want.ALL else 1
            logits = np.frombuffer(part, np.float32).reshape(rows, -1)
            for position, values in enumerate(logits, step.end - rows):
                if position > self._redraw:
                    return False
                if position == self._redraw and self.finish is None:
                    self._step(values)
        return True

    def cancel(self) -> None:
        """Ends the text."""
        if self.finish is None:
            self._generation.cancel()
            self._take(self._generation.step_with())

    def _step(self, logits: Any, ids: Any = None) -> None:
        """Takes the token that logits choose, and those behind it that need no run."""
        self._take(self._generation.step_with(logits, ids))
        self._take_known()

    def _take_known(self) -> None:
        while self.finish is None and not self._generation.pending():
            self._take(self._generation.step_with())

    def _take(self, told: Told) -> None:
        self._untold.append(told)
        if told.finish:
            self.finish = Finish(told.finish)
        if told.id is None:
            return
        place = self.prompt_length + self.drawn
        self.drawn += 1
        if place == len(self.tokens):
            self.tokens.append(told.id)
        elif self.tokens[place] != told.id:
            raise errors.Internal(f"token {place} of request {self.name} was {self.tokens[place]} and is now {told.id}")

    def unlogged(self) -> list[int]:
        """The tokens since the last call."""
        new, self._logged = self.tokens[self._logged :], len(self.tokens)
        return new

    def tell(self) -> None:
        """Tells the steps since the last call."""
        untold, self._untold = self._untold, []
        for told in untold:
            self._tell(told)

    def fail(self, why: Exception) -> None:
        """Tells that it has failed."""
        self.tell()
        self._tell(why)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the log keeps them: without arrays, and without keys that are numbers."""
    sampling: dict[str, Any] = dict(options.get("sampling") or {})
    if isinstance(sampling.get("biases"), Mapping):
        sampling["biases"] = [([id], bias) for id, bias in sampling["biases"].items()]
    given = {**options, **({"sampling": sampling} if sampling else {})}
    found: dict[str, Any] = json.loads(json.dumps(given, default=lambda value: value.tolist()))
    return found
