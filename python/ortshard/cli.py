"""The command `ortshard`: generate, chat, info, plan, pull, export-onnx and serve.

Exit codes: 0 done, 1 failed, 2 a wrong command line, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from . import __version__, callbacks, errors, serving
from ._abi import Device, FileState, Precision, Progress, Stage
from .engine import Engine
from .model import Model, Reply, load, plan
from .shards import Request

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives the exit code."""
    options = _parser().parse_args(arguments)
    callbacks.log_to(_logger(), "warning")
    try:
        if sys.stdout is None:
            raise OSError("the standard output is closed")
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (errors.Error, OSError, EOFError) as error:
        if getattr(options, "json", False):
            status = getattr(error, "status", None)
            told = {"error": str(error), "kind": type(error).__name__, "status": None if status is None else int(status)}
            with contextlib.suppress(OSError):
                print(json.dumps(told), flush=True)
        print(f"ortshard: {error}", file=sys.stderr)
        return 1
    return 0


def _logger() -> logging.Logger:
    logging.basicConfig(format="ortshard: %(message)s", stream=sys.stderr)
    return logging.getLogger("ortshard")


def bytes_of(text: str) -> int:
    """A number of bytes such as 800M or 1.5G.

    >>> bytes_of("1.5K")
    1536
    """
    stripped = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = stripped[-1:] if stripped[-1:] in _UNITS else ""
    try:
        count = int(float(stripped.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        count = 0
    if count <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 800M or 16G")
    return count


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ortshard", description="Runs any contiguous range of a language model's layers on ONNX Runtime."
    )
    parser.add_argument("--version", action="version", version=f"ortshard {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Any, name: str, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        made.set_defaults(run=run)
        made.add_argument("model", help="a folder, or a name on the hub")
        made.add_argument("--revision", help="branch, tag or commit of a model on the hub")
        made.add_argument("--offline", action="store_true", help="open no socket")
        made.add_argument("--cache-dir", help="the hub's cache, if not where the environment says")
        return made

    def device(made: argparse.ArgumentParser) -> None:
        made.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 or coreml; not there is an error, but for auto")
        made.add_argument(
            "--precision", default="auto", choices=[kind.name.lower() for kind in Precision], help="how weights are kept"
        )
        made.add_argument("--memory-limit", type=bytes_of, help="bytes that weights, KV caches and runs may take, such as 4G")

    def sampling(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--max-tokens", type=_count, default=0, help="the most tokens of an answer; 0: as many as there is room for"
        )
        made.add_argument(
            "--context", type=_count, default=0, help="tokens of prompt and answer; 0: the model's maximum, at most 4096"
        )
        made.add_argument("--temperature", type=float, help="0 is greedy")
        made.add_argument("--top-k", type=_count)
        made.add_argument("--top-p", type=float)
        made.add_argument("--min-p", type=float)
        made.add_argument("--repetition-penalty", type=float)
        made.add_argument("--seed", type=_count)
        made.add_argument("--stop", action="append", help="a string that ends the text; may be given several times")

    def layers(made: argparse.ArgumentParser) -> None:
        made.add_argument("--first-layer", type=_count, default=0)
        made.add_argument("--last-layer", type=_count, help="inclusive; the model's last without it")

    made = command(_generate, "generate", "Continues a text.")
    made.add_argument("prompt", nargs="?", help="standard input without it")
    device(made)
    sampling(made)
    made.add_argument("--json", action="store_true", help="one JSON object: text, ids, finish")

    made = command(_chat, "chat", "Talks with a model: one message a line, Ctrl-D ends.")
    device(made)
    sampling(made)
    made.add_argument("--system", help="a system message")

    made = command(_info, "info", "A model's shape, its memory, and how many layers fit here.")
    device(made)
    layers(made)
    made.add_argument("--context", type=_count, default=0, help="tokens of a request; 0: the model's maximum, at most 4096")
    made.add_argument("--requests", type=_count, default=1, help="requests at once")
    made.add_argument("--json", action="store_true")

    made = command(_plan, "plan", "Cuts a model into shards for machines.")
    made.add_argument("memory", nargs="+", type=bytes_of, help="bytes that are free on each machine, such as 16G 8G")
    device(made)
    made.add_argument("--margin", type=float, default=0.125, help="the part of them that stays free")
    made.add_argument("--keep-order", action="store_true", help="the layers go from machine to machine in this order")
    made.add_argument("--context", type=_count, default=0, help="tokens of a request; 0: the model's maximum, at most 4096")
    made.add_argument("--requests", type=_count, default=1, help="requests at once")
    made.add_argument("--json", action="store_true")

    made = command(_pull, "pull", "Fetches the files of a model, or of some of its layers, from the hub into its cache.")
    layers(made)
    made.add_argument("--json", action="store_true", help="a list of files")

    made = command(_export, "export-onnx", "Saves layers as a standard ONNX model.")
    made.add_argument("path", help="the file; the weights come beside it in PATH.data")
    device(made)
    layers(made)

    made = command(_serve, "serve", "Serves the OpenAI API over a pipeline of machines, on Ray.")
    device(made)
    serving.add_options(made)
    return parser


def _engine_options(options: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {"offline": options.offline, "cache_dir": options.cache_dir}
    if "device" in options:
        kind, _, index = options.device.partition(":")
        if kind.upper() not in Device.__members__ or not (index or "0").isdigit():
            raise errors.InvalidArgument(f"{options.device!r} is no device: cpu, cuda, cuda:1 or coreml")
        given |= {"device": kind, "device_index": int(index or 0), "require_device": kind != "auto"}
        given |= {"precision": options.precision, "memory_limit": options.memory_limit}
    return given


def _spec(options: argparse.Namespace) -> Any:
    return {"revision": options.revision, "first_layer": options.first_layer, "last_layer": options.last_layer}


def _sampling(options: argparse.Namespace) -> dict[str, Any]:
    names = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "stop"]
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return {**chosen, "max_new_tokens": options.max_tokens, "capacity": options.context}


class _Line:
    """Progress as one line on the terminal, drawn over and over; on anything else none."""

    def __init__(self) -> None:
        self.drawn = False

    def __call__(self, progress: Progress) -> None:
        if not sys.stderr.isatty():
            return
        stage = progress.stage.name.lower() if isinstance(progress.stage, Stage) else "loading"
        total = f" of {_size(progress.bytes_total)}" if progress.bytes_total else ""
        print(f"\r\033[K{stage} {_size(progress.bytes_done)}{total}", end="", file=sys.stderr, flush=True)
        self.drawn = True

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: object) -> None:
        if self.drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _loaded(options: argparse.Namespace) -> Iterator[Model]:
    with _Line() as line:
        model = load(options.model, revision=options.revision, progress=line, **_engine_options(options))
    with model:
        yield model


def _size(count: int) -> str:
    amount, units = float(count), ["B", "KB", "MB", "GB", "TB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def _generate(options: argparse.Namespace) -> None:
    prompt = sys.stdin.read() if options.prompt is None else options.prompt
    with _loaded(options) as model:
        if model.tokenizer is None:
            raise errors.NotFound(f"{options.model} has no tokenizer.json")
        with model.generate(prompt, **_sampling(options)) as generation:
            steps = []
            for step in generation.steps():
                steps.append(step)
                if not options.json:
                    print(step.text, end="", flush=True)
        if options.json:
            finish = getattr(steps[-1].finish, "name", str(steps[-1].finish)).lower()
            ids = [step.id for step in steps if step.id is not None]
            print(json.dumps({"text": "".join(step.text for step in steps), "ids": ids, "finish": finish}))
        else:
            print()


def _chat(options: argparse.Namespace) -> None:
    with contextlib.suppress(ImportError):
        # Editing and history at the prompt.
        importlib.import_module("readline")
    messages: list[dict[str, Any]] = [{"role": "system", "content": options.system}] if options.system else []
    with _loaded(options) as model:
        conversation = _Conversation(model, _sampling(options))
        while True:
            try:
                said = input("> " if sys.stdin.isatty() else "")
            except EOFError:
                return
            messages.append({"role": "user", "content": said})
            reply = conversation.answer(messages)
            with contextlib.closing(reply):
                try:
                    for text in reply:
                        print(text, end="", flush=True)
                except KeyboardInterrupt:
                    # Ctrl-C ends the answer, and at the prompt the program.
                    pass
                print(flush=True)
                messages.append(reply.message)


class _Conversation:
    """Keeps a request over the turns, so that each runs only what is new."""

    def __init__(self, model: Model, options: dict[str, Any]) -> None:
        self.model, self.options = model, options
        self.request: Request = model.request(capacity=options.pop("capacity"))
        self.ids: list[int] = []

    def answer(self, messages: list[dict[str, Any]]) -> Reply:
        tokenizer = self.model.tokenizer
        if tokenizer is None:
            raise errors.NotFound(f"{self.model.name} has no tokenizer.json")
        prompt = tokenizer.chat_text(messages, add_generation_prompt=True)
        ids = tokenizer.encode(prompt, add_special=False)
        # At least one token must be run.
        same = next((i for i, pair in enumerate(zip(self.ids, ids[:-1])) if pair[0] != pair[1]), min(len(self.ids), len(ids) - 1))
        same = min(same, self.request.position)
        try:
            self.request.truncate(same)
        except errors.OutOfRange:
            # A window has kept less than that.
            same = 0
            self.request.truncate(0)
        self.ids = ids
        generation = self.model.generate(ids[same:], on=self.request, keep_special=True, **self.options)
        return Reply(generation, tokenizer.chat_parser(prompt=prompt))


def _info(options: argparse.Namespace) -> None:
    with Engine(**_engine_options(options)) as engine, _Line() as line:
        info = engine.model_info(options.model, progress=line, revision=options.revision)
        context = options.context or min(info.max_positions, 4096)
        estimate = engine.estimate(options.model, context=context, requests=options.requests, **_spec(options))
        files = engine.audit_files(options.model, **_spec(options))
    missing = [file.name for file in files if file.state == FileState.MISSING]
    if options.json:
        print(json.dumps({"model": asdict(info), "estimate": asdict(estimate), "files": [asdict(file) for file in files]}))
        return
    last = info.layer_count - 1 if options.last_layer is None else options.last_layer
    print(
        f"{info.architecture}, {info.layer_count} layers, width {info.hidden_size}, {info.vocab_size} tokens, context {info.max_positions}"
    )
    print(f"layers {options.first_layer} to {last}, {options.requests} x {context} tokens:")
    for name, count in [
        ("weights", estimate.weight_bytes),
        ("KV caches", estimate.kv_bytes),
        ("a run", estimate.run_bytes),
        ("in all", estimate.total_bytes),
        ("peak of loading", estimate.load_peak_bytes),
    ]:
        print(f"  {name:16} {_size(count):>10}")
    fits = estimate.largest_last_layer
    here = "no layer fits" if fits is None else f"layers {options.first_layer} to {fits} fit"
    print(f"{here} into the {'limit' if options.memory_limit else 'memory that is free here'}")
    if missing:
        print(f"not here yet: {', '.join(str(name) for name in missing)}")


def _plan(options: argparse.Namespace) -> None:
    with Engine(**_engine_options(options)) as engine:
        longest = engine.model_info(options.model, revision=options.revision).max_positions
        common: dict[str, Any] = {"context": options.context or min(longest, 4096), "requests": options.requests}
        given: dict[str, Any] = {"margin": options.margin, "keep_order": options.keep_order}
        stages = plan(engine, options.model, options.memory, revision=options.revision, **common, **given)
    rows = [{**asdict(stage), "memory_bytes": options.memory[stage.device]} for stage in stages]
    if options.json:
        print(json.dumps(rows))
        return
    for stage in stages:
        memory = options.memory[stage.device]
        layers = f"machine {stage.device}: layers {stage.first_layer} to {stage.last_layer}"
        share = 100 * stage.needed_bytes / memory
        print(f"{layers:26} {_size(stage.needed_bytes):>10} of {_size(memory):>10}  {share:3.0f} %")


def _pull(options: argparse.Namespace) -> None:
    with Engine(**_engine_options(options)) as engine, _Line() as line:

        def fetched(progress: Progress) -> bool:
            line(progress)
            # All files are here where mapping begins.
            return progress.stage in (Stage.WEIGHTS, Stage.PACK, Stage.SESSION, Stage.READY)

        with contextlib.suppress(errors.Cancelled):
            engine.ensure_shard(options.model, progress=fetched, **_spec(options))
        with contextlib.suppress(errors.NotFound):
            engine.open_tokenizer(options.model, progress=line, revision=options.revision).close()
        files = engine.audit_files(options.model, **_spec(options))
    if options.json:
        print(json.dumps([asdict(file) for file in files]))
        return
    for file in files:
        print(f"{_size(file.size):>10}  {file.path}")


def _export(options: argparse.Namespace) -> None:
    with Engine(**_engine_options(options)) as engine:
        with _Line() as line:
            shard = engine.ensure_shard(options.model, progress=line, **_spec(options))
        with shard:
            shard.export_onnx(options.path)
    print(f"{options.path}, {options.path}.data")


def _serve(options: argparse.Namespace) -> None:
    serving.run(options, {**_engine_options(options), "revision": options.revision})
