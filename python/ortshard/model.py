"""A whole model in one object: the shortest way to text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import _abi, errors
from ._abi import ChatEvent, ChatEventKind, Finish
from ._structs import no_option
from .callbacks import ProgressOption
from .engine import Engine
from .generation import Generation, Prompt
from .shards import Request, Shard
from .text import ChatParser, Messages, Tokenizer

__all__ = ["Model", "Reply", "load", "plan"]

if TYPE_CHECKING:
    from typing_extensions import Unpack

    class GenerateOptions(_abi.GenerationOptions, _abi.SamplerOptions, _abi.RequestOptions, total=False):
        """Those of a generation, its sampler and its request, side by side."""

    class ReplyOptions(GenerateOptions, _abi.ChatOptions, total=False):
        """Those of a chat, too."""


Path = str | os.PathLike[str]


def load(
    model: Path, *, revision: str | None = None, progress: ProgressOption = None, **options: Unpack[_abi.EngineOptions]
) -> Model:
    """Loads all layers of a model, a folder or a name on the hub, with its tokenizer if it has one.

        with ortshard.load("models/stories") as model:
            for text in model.generate("Once upon a time"):
                print(text, end="", flush=True)

    Options are those of `EngineOptions`. `progress` is a function that is told about each step, or True for a tqdm bar.
    """
    return Model(Engine(**options), model, revision=revision, progress=progress)


class Model:
    """A whole model on an engine, and its tokenizer. Any number of threads may generate with it at once."""

    def __init__(self, engine: Engine, model: Path, *, revision: str | None = None, progress: ProgressOption = None) -> None:
        self.engine: Engine = engine
        self.name = os.fspath(model)
        self._spec: Any = {"revision": revision}
        self.shard: Shard = engine.ensure_shard(model, progress=progress, **self._spec)
        self.tokenizer: Tokenizer | None = None
        with suppress(errors.NotFound):
            self.tokenizer = engine.open_tokenizer(model, progress=progress, **self._spec)

    def request(self, **options: Unpack[_abi.RequestOptions]) -> Request:
        """A request on all its layers."""
        return self.shard.request(**options)

    def generate(
        self, prompt: Prompt, *, add_special: bool = True, on: Request | None = None, **options: Unpack[GenerateOptions]
    ) -> Generation:
        """The text after `prompt`, a text or token ids: iterate over it.

        Options are those of `GenerationOptions`, of `SamplerOptions` and of `RequestOptions` side by side: `max_new_tokens=100`,
        `temperature=0`, `stop=["\\n"]`, `capacity=2048`. `published_sampling=True`: tokens are chosen as the publisher wants.
        `on`: a request that it goes on on, instead of a new one.
        """
        parts = sorted_out(options)
        if parts["generation"].pop("published_sampling", 0):
            if parts["sampler"]:
                raise errors.InvalidArgument(f"published_sampling contradicts {', '.join(parts['sampler'])}")
            parts["sampler"] = dict(self.engine.sampler_options(self.name, **self._spec))
        request = on or self.request(**parts["request"])
        owned = () if on else (request,)
        try:
            if parts["sampler"]:
                parts["generation"]["sampling"] = parts["sampler"]
            generation = Generation(request, self.tokenizer, **parts["generation"])
            generation._owned = owned
        except BaseException:
            for handle in owned:
                handle.close()
            raise
        try:
            generation.append(prompt, add_special)
        except BaseException:
            generation.close()
            raise
        return generation

    def chat(self, messages: Messages, *, format: str | None = None, **options: Unpack[ReplyOptions]) -> Reply:
        """The answer to a conversation, by the model's chat template: iterate over it for its text.

        Options are those of `generate()` and of `ChatOptions`, such as `tools=[...]`, what the model may call, each with its JSON
        schema, and `variables={...}`, further ones of the template. `format`: that of the answer, if not the one that the template
        tells.
        """
        if self.tokenizer is None:
            raise errors.NotFound(f"{self.name} has no tokenizer.json")
        given: dict[str, Any] = {"add_generation_prompt": True, "keep_special": True, **options}
        chat: Any = {name: given.pop(name) for name in list(given) if ("ortshard_chat_options", name) in _abi.FIELDS}
        prompt = self.tokenizer.chat_text(messages, **chat)
        ids = self.tokenizer.chat_ids(messages, **chat)
        parser = self.tokenizer.chat_parser(format=format, prompt=prompt, tools=chat.get("tools"))
        return Reply(self.generate(ids, **given), parser)

    def close(self) -> None:
        """Closes engine, shard and tokenizer. Generations in progress go on."""
        for handle in (self.tokenizer, self.shard, self.engine):
            if handle is not None:
                handle.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Model {self.name}>"


def sorted_out(options: Any) -> dict[str, dict[str, Any]]:
    """Each option by the struct that has it."""
    parts: dict[str, dict[str, Any]] = {"generation": {}, "sampler": {}, "request": {}}
    structs = {part: f"ortshard_{part}_options" for part in parts}
    for name, value in options.items():
        for part, taken in parts.items():
            if (structs[part], name) in _abi.FIELDS:
                taken[name] = value
                break
        else:
            raise no_option(name, [field for struct, field in _abi.FIELDS if struct in structs.values()])
    return parts


class Reply:
    """An answer in a conversation, while it is generated. Iterating gives its text; `events()` all that it holds."""

    def __init__(self, generation: Generation, parser: ChatParser) -> None:
        self.generation = generation
        self._parser = parser

    def events(self) -> Iterator[ChatEvent]:
        """Content, reasoning and tool calls, as they become certain."""
        for text in self.generation:
            yield from self._parser.push(text)
        yield from self._parser.finish()

    def __iter__(self) -> Iterator[str]:
        return (event.text for event in self.events() if event.kind == ChatEventKind.CONTENT)

    def read(self) -> dict[str, Any]:
        """The whole message at once."""
        for _ in self.events():
            pass
        return self.message

    @property
    def message(self) -> dict[str, Any]:
        """The message so far, ready for the next turn's `messages`."""
        return self._parser.message

    @property
    def finish(self) -> Finish | int | None:
        """Why the answer has ended; None if it goes on."""
        return self.generation.finish

    def cancel(self) -> None:
        """Ends the answer. From any thread."""
        self.generation.cancel()

    def close(self) -> None:
        """Frees what it runs on."""
        self.generation.close()
        self._parser.close()

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plan(
    engine: Engine, model: Path, devices: Sequence[int | _abi.PlanDevice], *, revision: str | None = None, **options: Unpack[_abi.PlanOptions]
) -> list[_abi.PlanStage]:
    """`Engine.plan()`: which device holds which layers of a model."""
    return engine.plan(model, devices, revision=revision, **options)
