"""One measurement of one engine, in a process of its own: no pool of threads outlives it.

    python worker.py JSON

where JSON is {"kind", "options", "threads", "prompt", "tokens", "capacity", "vocabulary", "logits"}: which module and
what it takes, numbers of threads and tokens, and a file for the logits after the prompt. Without "logits" only memory is
measured.

The last line of its output is the result, also JSON: {"ready", "prefill", "decode"} in seconds, "ids" and
"weight_bytes"; {"held"}, the bytes of its own that the process has after the prompt and the steps; for kind "memory"
{"bandwidth"}; or {"refused": why} if the engine raises NotImplementedError because
it does not have what is asked for, such as a precision.

An engine is a module with `load(options, threads)`, which brings the library into the process, and a class `Engine`:

    Engine(options, threads, capacity)   opens the model, ready for `capacity` tokens
    reset()                              forgets all tokens
    prompt(ids)                          runs the prompt
    logits()                             the logits that follow the prompt, as float32
    choose()                             the id of the largest of them
    step(id)                             runs `id`, and the id of the largest of the logits that follow
    weight_bytes                         what a step reads, as far as the engine tells

and perhaps a class `Batch` of the same methods, for {"requests": many} in its options: ids are lists of one for each request.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

WARM_STEPS = 4


def prompt_ids(length: int, vocabulary: int) -> list[int]:
    """The prompt, as benches/common makes it: any ids that the vocabulary has."""
    return [i * 7919 % vocabulary for i in range(length)]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Loads the engine, warms it up with a whole prompt and a few steps, and measures one answer."""
    module = importlib.import_module(f"{job['kind']}_engine")
    options, threads, tokens = job["options"], job["threads"], job["tokens"]
    prompt = prompt_ids(job["prompt"], job["vocabulary"])
    module.load(options, threads)

    start = time.perf_counter()
    engine = (module.Batch if options.get("requests", 1) > 1 else module.Engine)(options, threads, job["capacity"])
    engine.reset()
    ready = time.perf_counter() - start

    engine.prompt(prompt)
    Path(job["logits"]).write_bytes(engine.logits().tobytes())
    token = engine.choose()
    for _ in range(WARM_STEPS):
        token = engine.step(token)
    engine.reset()

    start = time.perf_counter()
    engine.prompt(prompt)
    ids = [engine.choose()]
    prefill = time.perf_counter() - start

    start = time.perf_counter()
    for _ in range(tokens):
        ids.append(engine.step(ids[-1]))
    decode = time.perf_counter() - start
    return dict(ready=ready, prefill=prefill, decode=decode, ids=ids, weight_bytes=engine.weight_bytes)


def held(job: dict[str, Any]) -> dict[str, Any]:
    """The memory of a process that has run a prompt and some steps: its own, mapped files are the system's."""
    module = importlib.import_module(f"{job['kind']}_engine")
    module.load(job["options"], job["threads"])
    engine = module.Engine(job["options"], job["threads"], job["capacity"])
    engine.reset()
    engine.prompt(prompt_ids(job["prompt"], job["vocabulary"]))
    token = engine.choose()
    for _ in range(job["tokens"]):
        token = engine.step(token)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {"held": 1024 * int(status["RssAnon"].split()[0])}


def main() -> None:
    job = json.loads(sys.argv[1])
    try:
        if job["kind"] == "memory":
            result = importlib.import_module("memory_engine").measure(job["options"], job["threads"])
        else:
            result = measure(job) if "logits" in job else held(job)
    except NotImplementedError as error:
        result = {"refused": str(error)}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
