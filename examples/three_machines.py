"""One story from three machines, one of which is lost on the way: the story is the same.

The machines are raylets of Ray on this one: `make demo-ray`.
"""

from __future__ import annotations

import argparse
import os
import signal

import ortshard
import ray
from ortshard.ray import Pipeline
from ray.cluster_utils import Cluster


def main() -> None:
    """Tells the story twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/stories")
    parser.add_argument("--prompt", default="One rainy morning, a small fox")
    parser.add_argument("--max-tokens", type=int, default=200)
    given = parser.parse_args()
    options = {"temperature": 0.7, "seed": 1, "max_new_tokens": given.max_tokens}

    print("== one process\n" + given.prompt, end="")
    with ortshard.load(given.model, device="cpu") as model:
        expected = model.generate(given.prompt, **options).read()
    print(expected)

    machine = {"num_cpus": 1, "memory": 1 << 30, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**machine, "num_cpus": 0, "memory": 0, "include_dashboard": False})
    # Three for the stages, and one that stands by.
    for _ in range(4):
        cluster.add_node(**machine)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        with Pipeline(given.model, stages=3, context=512, spare=1, checkpoint=32) as pipeline:
            for stage in pipeline.report():
                print(f"\n   stage {stage.stage}: layers {stage.first_layer} to {stage.last_layer}, process {stage.pid}", end="")
            print("\n== three machines\n" + given.prompt, end="", flush=True)
            told, lost = "", pipeline.report()[1].pid
            for number, text in enumerate(pipeline.generate(given.prompt, **options)):
                told += text
                print(text, end="", flush=True)
                if number == 10:
                    os.kill(lost, signal.SIGKILL)
                    print(f"\n   [process {lost} of stage 1 is killed]\n", end="", flush=True)
            for recovery in pipeline.recoveries:
                print(
                    f"\n   [replaced in {recovery.seconds:.2f} s; {recovery.recomputed_tokens} tokens computed twice by one stage]"
                )
            print("the same story" if told == expected else "ANOTHER STORY")
            raise SystemExit(0 if told == expected else 1)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
