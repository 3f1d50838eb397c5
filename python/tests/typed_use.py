"""Use as mypy --strict must take it; where it must not, the line says so, and an error that is not found is one."""

import numpy as np
from numpy.typing import NDArray

import ortshard


def told() -> str:
    """Types of what is given."""
    with ortshard.load("models/stories", device="cpu", memory_limit=2**30) as model:
        with model.generate("Once", temperature=0, max_new_tokens=9, stop=["\n"], capacity=64) as generation:
            pieces: list[str] = list(generation)
        answer: str = "".join(model.chat([{"role": "user", "content": "Hi"}], tools=[], temperature=0.5, format="qwen3"))
        logits: NDArray[np.float32] = model.request(capacity=8).logits([1, 2, 3])
        id: int = ortshard.Sampler(top_k=1, biases={3: 1.0}).sample(logits)
        layers: int = model.shard.info.layer_count
        return f"{pieces} {answer} {id} {layers}"


def refused(model: ortshard.Model, shard: ortshard.Shard) -> None:
    """What has no such option or type."""
    model.generate("Once", temprature=0)  # type: ignore[call-arg]
    model.chat([], maximum=9)  # type: ignore[call-arg]
    shard.request(capacity="many")  # type: ignore[arg-type]
    ortshard.Engine(devise="cpu")  # type: ignore[call-arg]
    shard.info.layers  # type: ignore[attr-defined]
