"""onnxruntime-genai, by its Python API."""

import json
from typing import Any

import numpy as np


def load(_options: dict[str, Any], _threads: int) -> None:
    import onnxruntime_genai  # noqa: F401


class Engine:
    """`options`: model, the folder that the builder wrote; weight_bytes."""

    def __init__(self, options: dict[str, Any], threads: int, capacity: int) -> None:
        import onnxruntime_genai as genai

        self.genai = genai
        config = genai.Config(options["model"])
        # It takes half of the processors unless told.
        session = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self.model = genai.Model(config)
        self.capacity = capacity
        self.weight_bytes = options["weight_bytes"]

    def reset(self) -> None:
        params = self.genai.GeneratorParams(self.model)
        params.set_search_options(max_length=self.capacity, do_sample=False, batch_size=1)
        self.generator = self.genai.Generator(self.model, params)

    def prompt(self, ids: list[int]) -> None:
        self.generator.append_tokens(np.array(ids, dtype=np.int32))

    def logits(self) -> np.ndarray:
        values = np.asarray(self.generator.get_logits(), dtype=np.float32)
        return values.reshape(-1, values.shape[-1])[-1]

    def choose(self) -> int:
        if self.generator.is_done():
            raise RuntimeError("the model ended its answer before all tokens were measured; try another --prompt")
        self.generator.generate_next_token()
        return int(self.generator.get_next_tokens()[0])

    def step(self, _id: int) -> int:
        # It keeps the token that it chose, and runs it before it chooses the next.
        return self.choose()
