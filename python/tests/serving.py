"""What the tests of the service share: a pipeline without machines, a server in a thread, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn

import ortshard
from ortshard.ray.serve import Slots, build

NAME = "stories"


class LocalAnswer:
    """What a pipeline's answer is, on a generation of this process."""

    def __init__(self, generation: ortshard.Generation, length: int) -> None:
        self._generation, self.prompt_length = generation, length
        self.ids: list[int] = []
        self.cancelled = False

    @property
    def finish(self) -> Any:
        return self._generation.finish

    def cancel(self) -> None:
        self.cancelled = True
        self._generation.cancel()

    async def async_steps(self) -> AsyncIterator[ortshard.Step]:
        steps = self._generation.steps()
        while (step := await asyncio.to_thread(next, steps, None)) is not None:
            if step.id is not None:
                self.ids.append(step.id)
            yield step


class LocalPipeline:
    """What the app needs of a pipeline, on a model of this process: the same texts without machines."""

    def __init__(self, model: ortshard.Model, context: int = 512) -> None:
        self.recoveries: list[Any] = []
        self._model, self._context = model, context
        self.tokenizer: Any = model.tokenizer
        self.published_sampling = model.engine.sampler_options(model.name)
        self.answers: list[LocalAnswer] = []

    def generate(self, prompt: Any, **options: Any) -> LocalAnswer:
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if len(ids) > self._context:
            raise ortshard.ContextFull(f"the prompt has {len(ids)} tokens, and a request has room for {self._context}")
        self.answers.append(LocalAnswer(self._model.generate(ids, capacity=self._context, **options), len(ids)))
        return self.answers[-1]

    def report(self) -> list[Any]:
        return []


@contextlib.contextmanager
def served(pipeline: Any, *, slots: Slots | None = None, **options: Any) -> Iterator[str]:
    """The app over `pipeline` on a port of its own; gives its address."""
    app = build(pipeline, NAME, context=512, slots=slots or Slots(8, 64), **options)
    # The log's own setup would be everybody's.
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def asked(address: str, body: Any = None, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any, Any]:
    """The status, JSON and headers of an answer. A body that is bytes goes as it is."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    given = {
        **({} if raw is None else {"Content-Type": "application/json"}),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    request = urllib.request.Request(address + path, raw, given)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            status, text, told = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, text, told = error.code, error.read(), error.headers
    return status, json.loads(text) if text else None, told


def no_blanks(model: ortshard.Model) -> dict[str, int]:
    """A bias against all that is only white space: a model that never saw JSON would write it for ever."""
    tokenizer: Any = model.tokenizer
    blank = [
        id for id in range(tokenizer.vocab_size) if tokenizer.token_bytes(id).strip() == b"" and not tokenizer.is_special(id)
    ]
    return {str(id): -100 for id in blank}
