"""The probabilities of an answer's tokens, in both of OpenAI's forms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ... import Finish, Step, Tokenizer
from .replies import ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob

# JSON has no infinity.
_LEAST = -9999.0


def _text(tokenizer: Tokenizer, id: int) -> str:
    return tokenizer.token_bytes(id).decode("utf-8", "replace")


def _counted(steps: Iterable[Step]) -> Iterator[tuple[int, Step]]:
    """The tokens that belong to the answer, and their steps: what ends an answer does not."""
    for step in steps:
        if step.id is not None and step.finish != Finish.EOS:
            yield step.id, step


def chat_logprobs(tokenizer: Tokenizer, steps: Iterable[Step], top: int) -> ChatLogprobs:
    """As /v1/chat/completions tells them."""

    def told(id: int, logprob: float) -> dict[str, object]:
        raw = tokenizer.token_bytes(id)
        return {"token": raw.decode("utf-8", "replace"), "logprob": max(logprob, _LEAST), "bytes": list(raw)}

    content = []
    for id, step in _counted(steps):
        best = [TopLogprob.model_validate(told(one.id, one.logprob)) for one in step.best[:top]]
        content.append(TokenLogprob.model_validate({**told(id, step.logprob), "top_logprobs": best}))
    return ChatLogprobs(content=content)


def completion_logprobs(tokenizer: Tokenizer, steps: Iterable[Step], top: int, offset: int = 0) -> CompletionLogprobs:
    """As /v1/completions tells them. `offset`: characters of the tokens before."""
    told = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for id, step in _counted(steps):
        text, logprob = _text(tokenizer, id), max(step.logprob, _LEAST)
        # The token itself is always among them.
        best = {_text(tokenizer, one.id): max(one.logprob, _LEAST) for one in step.best[:top]}
        told.tokens.append(text)
        told.token_logprobs.append(logprob)
        told.top_logprobs.append({text: logprob, **best})
        told.text_offset.append(offset)
        offset += len(text)
    return told
