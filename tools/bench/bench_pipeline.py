"""What a pipeline costs and gives on one machine: stages in processes of their own, beside the whole model in one.

    python tools/bench/bench_pipeline.py target/models/qwen2.5-0.5b

Needs ortshard[ray] and a model (make_random_model.py writes one). Every process computes with one thread. It measures

- eight requests (`--requests`): the whole model in one process, and two stages;
- one request: three shards in one process, and three stages;
- what Ray's own calls would cost instead of ZeroMQ, there and back between two processes.

Where the processors are fewer than the stages that work at once, the numbers say little.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from typing import Any

import ortshard
import ray
from ortshard.ray import Pipeline
from ortshard.ray.link import Key, Links

WARM = 8


def prompts(count: int, length: int) -> list[list[int]]:
    """As many prompts, each of other tokens."""
    return [[100 * i + j % 50000 + 1 for j in range(length)] for i in range(count)]


def room(length: int, tokens: int) -> int:
    """Tokens that a request gets room for: a power of two, at least 1024."""
    return max(1024, 1 << (length + WARM + tokens).bit_length())


def whole(model: str, engine: Any, tokens: int, requests: int, length: int) -> float:
    """Tokens/s of all requests on one shard, step by step together."""
    with ortshard.load(model, **engine) as loaded:
        options: Any = {"temperature": 0, "ignore_eos": True, "capacity": room(length, tokens)}
        generations = [loaded.generate(prompt, **options) for prompt in prompts(requests, length)]
        for _ in range(WARM):
            ortshard.step_batch(generations)
        started = time.perf_counter()
        for _ in range(tokens):
            ortshard.step_batch(generations)
        return requests * tokens / (time.perf_counter() - started)


def cut(layers: int, count: int) -> list[tuple[int, int]]:
    """Layers in so many parts of about one size."""
    ends = [round(layers * (i + 1) / count) for i in range(count)]
    return [(start, end - 1) for start, end in zip([0, *ends], ends)]


def chain(model: str, engine: Any, tokens: int, count: int, length: int) -> float:
    """Tokens/s of one request on so many shards in this process."""
    layers = ortshard.model_info(model).layer_count
    shards = [ortshard.Engine(**engine).ensure_shard(model, first_layer=a, last_layer=b) for a, b in cut(layers, count)]
    requests = [shard.request(capacity=room(length, tokens)) for shard in shards]
    id = ortshard.chain_sample(requests, prompts(1, length)[0])
    for _ in range(WARM):
        id = ortshard.chain_sample(requests, [id])
    started = time.perf_counter()
    for _ in range(tokens):
        id = ortshard.chain_sample(requests, [id])
    return tokens / (time.perf_counter() - started)


def pipeline(model: str, engine: Any, tokens: int, count: int, requests: int, length: int) -> float:
    """Tokens/s of so many requests through so many stages, from when all have begun until one has ended."""
    options: Any = {"temperature": 0, "ignore_eos": True, "max_new_tokens": WARM + tokens}
    context = room(length, tokens)
    with Pipeline(model, count, context=context, requests=requests, cpus=0.5, threads=1, checkpoint=0, **engine) as made:
        came: list[list[float]] = [[] for _ in range(requests)]

        def read(answer: Any, times: list[float]) -> None:
            for _ in answer.steps():
                times.append(time.perf_counter())

        answers = [made.generate(prompt, **options) for prompt in prompts(requests, length)]
        threads = [threading.Thread(target=read, args=pair) for pair in zip(answers, came)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for report in made.report():
            print(f"   layers {report.first_layer}-{report.last_layer}: waits {report.waiting:.0%} of its time")
        start, end = max(times[WARM] for times in came), min(times[-1] for times in came)
        return sum(start < at <= end for times in came for at in times) / (end - start)


class Echo:
    """Gives back what comes, through Ray and through ZeroMQ."""

    def __init__(self, key: Key, back: str) -> None:
        self._links = Links(key)
        self._inbox, self.address = self._links.inbox("127.0.0.1")
        self._out = self._links.outbox(back)
        threading.Thread(target=self._echo, daemon=True).start()

    def _echo(self) -> None:
        while True:
            self._out.send_multipart(self._inbox.recv_multipart(copy=False), copy=False)

    def where(self) -> str:
        """Its address."""
        return self.address

    def call(self, data: bytes) -> bytes:
        """The same through Ray."""
        return data


def hops(size: int, count: int) -> tuple[float, float]:
    """Milliseconds there and back: by Ray's calls, and by ZeroMQ."""
    links = Links(Key.fresh())
    inbox, address = links.inbox("127.0.0.1")
    kind: Any = ray.remote(Echo)
    echo = kind.options(num_cpus=0).remote(links.key, address)
    out, data = links.outbox(ray.get(echo.where.remote())), bytes(size)

    def by_ray() -> None:
        ray.get(echo.call.remote(data))

    def by_zeromq() -> None:
        out.send_multipart([data], copy=False)
        inbox.recv_multipart(copy=False)

    took = []
    for way in (by_ray, by_zeromq):
        for _ in range(20):
            way()
        started = time.perf_counter()
        for _ in range(count):
            way()
        took.append((time.perf_counter() - started) / count * 1000)
    ray.kill(echo)
    links.close()
    return took[0], took[1]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--precision", default="int4")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--requests", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=16, help="tokens of each request's prompt")
    parser.add_argument("--here", choices=["whole", "chain"], help="only this, in this process")
    given = parser.parse_args()
    engine: Any = {"precision": given.precision, "device": "cpu"}
    if given.here:
        ortshard.load_runtime(threads=1)
        if given.here == "whole":
            print(whole(given.model, engine, given.tokens, given.requests, given.prompt))
        else:
            print(chain(given.model, engine, given.tokens, 3, given.prompt))
        return

    def here(what: str) -> float:
        numbers = [("--tokens", given.tokens), ("--requests", given.requests), ("--prompt", given.prompt)]
        options = [("--precision", given.precision), *numbers, ("--here", what)]
        command = [sys.executable, __file__, given.model, *(str(word) for option in options for word in option)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    one = here("whole")
    two = pipeline(given.model, engine, given.tokens, 2, given.requests, given.prompt)
    print(f"{given.requests} requests: the whole model {one:.1f} tokens/s, two stages {two:.1f}, {two / one:.2f} times as many")
    together = here("chain")
    apart = pipeline(given.model, engine, given.tokens, 3, 1, given.prompt)
    print(f"one request: three shards {together:.1f} tokens/s, three stages {apart:.1f}, {1 - apart / together:.1%} less")
    for size in (8 << 10, 2 << 20):
        by_ray, by_zeromq = hops(size, 100)
        print(f"{size >> 10} KB there and back: Ray's call {by_ray:.2f} ms, ZeroMQ {by_zeromq:.2f} ms")
    ray.shutdown()


if __name__ == "__main__":
    main()
