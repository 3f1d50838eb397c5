"""The command `ortshard serve`. What it runs is in ortshard.ray.serve, which needs more than the rest of the command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from . import errors
from .engine import Engine


def stages_of(text: str) -> int | list[tuple[int, int]]:
    """A number of stages, or the first and last layer of each.

    >>> stages_of("0-11,12-23")
    [(0, 11), (12, 23)]
    """
    try:
        if text.isdigit():
            return int(text)
        pairs = [part.split("-") for part in text.split(",")]
        return [(int(first), int(last)) for first, last in pairs]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of stages, nor layers such as 0-11,12-23") from error


def add_options(made: argparse.ArgumentParser) -> None:
    """The options beside those of the model and the device."""
    made.add_argument("--host", default="127.0.0.1", help="where it listens; 0.0.0.0: on every network of the machine")
    made.add_argument("--port", type=int, default=8000)
    made.add_argument("--name", help="what clients call the model, if not its own name")
    made.add_argument(
        "--api-key-file", help="a file with the key that clients must have, if not the environment's ORTSHARD_API_KEY"
    )
    made.add_argument("--queue", type=int, default=64, help="requests that may wait; the next ones hear 429")
    made.add_argument("--max-body", type=int, default=4 << 20, help="the most bytes of a request")
    made.add_argument(
        "--stages", type=stages_of, help="how many, or the layers of each, such as 0-11,12-23; as few as fit without it"
    )
    made.add_argument("--replicas", type=int, default=1, help="rows of stages")
    made.add_argument("--spare", type=int, default=0, help="processes that stand by for lost ones, for each replica")
    made.add_argument("--context", type=int, default=0, help="tokens of a request; 0: the model's maximum, at most 4096")
    made.add_argument("--requests", type=int, default=8, help="requests that a replica runs at once")
    made.add_argument("--cpus", type=float, default=1, help="processors that Ray reserves for a stage")
    made.add_argument("--threads", type=int, help="threads that a stage computes with; as many as processors without it")
    made.add_argument(
        "--address", help="that of a Ray cluster, at whose head the service then listens; this machine alone without it"
    )
    made.add_argument("--bind", default="127.0.0.1", help="the network that stages listen on; own: each machine's own address")


def run(options: argparse.Namespace, engine: dict[str, Any]) -> None:
    """Serves until Ctrl-C, or until it is told to end."""
    try:
        from .ray import serve
    except ImportError as error:
        raise errors.Unsupported(str(error)) from error
    key = _key(options.api_key_file)
    if key is None and options.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"ortshard: who reaches {options.host} may ask without an API key", file=sys.stderr)
    given = {name: value for name, value in engine.items() if value not in (None, False)}
    context = options.context
    if not context:
        with Engine(**{name: given[name] for name in ("offline", "cache_dir") if name in given}) as local:
            context = min(local.model_info(options.model, revision=options.revision).max_positions, 4096)
    names = ("stages", "replicas", "spare", "requests", "cpus", "threads")
    pipeline = {name: getattr(options, name) for name in names}
    where = serve.start(
        options.model, host=options.host, port=options.port, name=options.name, api_key=key, queue=options.queue,
        body=options.max_body, address=options.address, context=context, bind=None if options.bind == "own" else options.bind,
        **pipeline, **given,
    )  # fmt: skip
    # Only now, since Ray sets one of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(f"ortshard: {where} answers, OpenAI's API is at {where}/v1", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        # How it is meant to end.
        pass
    finally:
        serve.stop()


def _key(file: str | None) -> str | None:
    if file is None:
        return os.environ.get("ORTSHARD_API_KEY") or None
    key = Path(file).read_text("utf-8").strip()
    if not key:
        raise errors.InvalidArgument(f"{file} holds no key")
    return key
