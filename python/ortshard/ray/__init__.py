"""A pipeline of machines on Ray: a model cut into stages, whose texts go on unchanged when a machine is lost.

    from ortshard.ray import Pipeline

    with Pipeline("models/stories", stages=3) as pipeline:
        for text in pipeline.generate("Once upon a time"):
            print(text, end="", flush=True)

Ray places, starts and watches the stages' processes. Between them tokens go by ZeroMQ, in frames of the library. docs/scale-out.md says
how, and what survives what. It needs `pip install ortshard[ray]`.
"""

from .answer import Answer
from .pipeline import Pipeline, StageReport
from .problems import NoCapacity, OtherWeights
from .recovery import Recovery

__all__ = ["Answer", "NoCapacity", "OtherWeights", "Pipeline", "Recovery", "StageReport"]
