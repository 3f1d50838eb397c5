"""What a request says about how tokens are chosen, as the options of a pipeline."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from .fields import Sampling
from .problems import Problem

#: Options that say the same under the same name.
_SAME = ["temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"]


def sampling_options(request: Sampling, published: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """The sampler's options, and where the text ends. Where the request says nothing it is as the model's publisher wants it."""
    options = {name: value for name, value in published.items() if value}
    options["temperature"] = published.get("temperature", 1.0)
    for name in _SAME:
        if (value := getattr(request, name)) is not None:
            options[name] = value
    # Those that change nothing are left out: without any the most probable token needs no row of logits.
    options = {name: value for name, value in options.items() if value or name == "temperature"}
    options["seed"] = secrets.randbits(63) if request.seed is None else request.seed % 2**64
    if request.logit_bias:
        options["biases"] = _biases(request.logit_bias, vocabulary)
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    if stop:
        options["stop"] = stop
    if request.max_tokens is not None:
        options["max_new_tokens"] = request.max_tokens
    if request.ignore_eos:
        options["ignore_eos"] = True
    if request.stream_options is not None and not request.stream:
        raise Problem(400, '/stream_options: only with "stream": true', "/stream_options", "invalid_value")
    return options


def _biases(given: Mapping[str, float], vocabulary: int) -> list[tuple[int, float]]:
    biases: dict[int, float] = {}
    for text, bias in given.items():
        id, place = int(text), f"/logit_bias/{text}"
        if id >= vocabulary:
            raise Problem(400, f"{place}: the model has {vocabulary} tokens", place, "invalid_value")
        if id in biases:
            raise Problem(400, f"{place}: token {id} comes twice", place, "invalid_value")
        biases[id] = bias
    return list(biases.items())
