"""One request, as the coordinator sees it: its tokens, how they are chosen, and where its text ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import Finish, Sampler, TextStream, Tokenizer, errors
from .wire import Step, Want

#: Wire numbers of requests: each is used once in a process, so that nothing late is taken for something of now.
_numbers = itertools.count(1)
# Sampler options under which the most probable token is chosen, whatever else they say.
_GREEDY = {"temperature", "seed", "top_k", "top_p", "min_p"}


@dataclass
class Rules:
    """How tokens are chosen and where the text ends: all plain values, since they go into the log."""

    sampler: dict[str, Any] = field(default_factory=dict)
    eos: list[int] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    max_new_tokens: int = 0
    ignore_eos: bool = False
    keep_special: bool = False
    include_stop: bool = False


#: Is told the text that has become certain and, at the end, why it has ended or the error.
Told = Callable[[str, "Finish | Exception | None"], None]


class StopScan:
    """Holds text back that could become a stop string."""

    def __init__(self, stops: Sequence[str], include: bool) -> None:
        self._stops, self._include, self._held = [stop for stop in stops if stop], include, ""

    def push(self, text: str) -> tuple[str, bool]:
        """The text that is certain, and whether a stop string has come."""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            end, start = min(found)
            return self._held[: end if self._include else start], True
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for keep in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-keep:]) for stop in self._stops):
                certain, self._held = self._held[:-keep], self._held[-keep:]
                return certain, False
        certain, self._held = self._held, ""
        return certain, False

    def finish(self) -> str:
        """What was still held back."""
        held, self._held = self._held, ""
        return held


class Job:
    """A text in progress. Whatever is lost can be computed again from its `tokens`."""

    def __init__(
        self,
        name: int,
        prompt: Sequence[int],
        rules: Rules,
        tokenizer: Tokenizer | None,
        told: Told,
        generated: Sequence[int] = (),
    ) -> None:
        self.name, self.rules, self._told = name, rules, told
        self.prompt_length = len(prompt)
        self.tokens: list[int] = list(prompt)
        self._text = ""
        self.finish: Finish | None = None
        self.cancelled = False
        #: Times that a machine had no memory for it.
        self.refused_memory = 0
        self.retries = 0
        self._stream: TextStream | None = tokenizer.stream(not rules.keep_special) if tokenizer else None
        self._scan = StopScan(rules.stop, rules.include_stop)
        self.greedy = rules.sampler.get("temperature") == 0 and set(rules.sampler) <= _GREEDY
        self._sampler: Sampler | None = None
        if not self.greedy:
            self._sampler = Sampler(**{"eos": rules.eos, **rules.sampler})
            self._sampler.accept(prompt)
        for id in generated:
            self._take(id)
        #: How many of the generated tokens the sampler has chosen: after a restart it chooses them again, to stand where it stood.
        self.drawn = len(generated) if self.greedy else 0
        self.start_over(0)

    def start_over(self, short_context: int) -> None:
        """Begins again under a new wire number: every stage computes all tokens anew."""
        self.number = next(_numbers)
        self.is_long = bool(short_context and len(self.tokens) > short_context)
        self.go_back([0])

    def go_back(self, positions: Sequence[int]) -> None:
        """Begins again at the first of `positions`; tokens are cut into steps at all of them, so that no stage takes half a step."""
        self.cursor = positions[0]
        redraw = self.prompt_length - 1 + self.drawn
        self.cuts = sorted({*positions, *([redraw] if self.drawn < len(self.generated) else [])})

    @property
    def generated(self) -> list[int]:
        """The tokens behind the prompt."""
        return self.tokens[self.prompt_length :]

    @property
    def ready(self) -> bool:
        """Whether it has tokens to run."""
        return self.cursor < len(self.tokens)

    def next_step(self, most: int) -> tuple[Step, bytes]:
        """The next tokens to run, at most so many."""
        start = self.cursor
        end = min([start + most, len(self.tokens), *(cut for cut in self.cuts if cut > start)])
        self.cursor = end
        redraws = self.drawn < len(self.generated) and start >= self.prompt_length - 1 + self.drawn
        want = Want.NOTHING
        if redraws:
            want = Want.ALL
        elif end == len(self.tokens):
            want = Want.ID if self.greedy else Want.LAST
        ids = np.array(self.tokens[start:end], np.int64).tobytes()
        return Step(self.number, start, end - start, want, self.is_long), ids

    def result(self, step: Step, part: Any) -> list[int] | None:
        """Takes what the last stage gave for a step: the new tokens, or None if something before it is missing."""
        if step.want == Want.NOTHING:
            return []
        if step.want == Want.ID:
            if step.end != len(self.tokens):
                return []
            return self._accept(int(np.frombuffer(part, np.int64)[0]))
        rows = step.count if step.want == Want.ALL else 1
        logits = np.frombuffer(part, np.float32).reshape(rows, -1)
        return self._draw(step.end - rows, logits)

    def _draw(self, first: int, logits: NDArray[np.float32]) -> list[int] | None:
        assert self._sampler is not None
        new: list[int] = []
        for row, values in enumerate(logits):
            index = first + row - (self.prompt_length - 1)
            if index < self.drawn or self.finish is not None:
                continue
            if index > self.drawn:
                return None
            id = self._sampler.sample(values)
            self.drawn += 1
            if index == len(self.generated):
                new += self._accept(id)
            elif self.generated[index] != id:
                raise errors.Internal(f"token {index} of request {self.name} was {self.generated[index]} and is now {id}")
        return new

    def _accept(self, id: int) -> list[int]:
        if self.greedy:
            self.drawn += 1
        self._take(id)
        return [id]

    def _take(self, id: int) -> None:
        """Adds a token to the text."""
        self.tokens.append(id)
        rules = self.rules
        text, stopped = "", False
        if not rules.ignore_eos and id in rules.eos:
            self.finish = Finish.EOS
        if self._stream is not None and (self.finish is None or rules.keep_special):
            text, stopped = self._scan.push(self._stream.push(id))
        if stopped:
            self.finish = Finish.STOP
        elif self.finish is None and rules.max_new_tokens and len(self.generated) >= rules.max_new_tokens:
            self.finish = Finish.LENGTH
        if self.finish is not None and not stopped and self._stream is not None:
            rest, found = self._scan.push(self._stream.finish())
            text += rest + ("" if found else self._scan.finish())
        self._text += text

    def tell(self) -> None:
        """Tells the text that has become certain since the last call."""
        text, self._text = self._text, ""
        if text:
            self._told(text, None)

    def end(self, why: Finish | Exception | None = None) -> None:
        """Tells that it has ended, once."""
        if isinstance(why, Finish):
            self.finish = self.finish or why
        self.tell()
        self._told("", why if isinstance(why, Exception) else self.finish)


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Options without arrays, for the log."""
    return {name: item.tolist() if isinstance(item, np.ndarray) else item for name, item in value.items()}
