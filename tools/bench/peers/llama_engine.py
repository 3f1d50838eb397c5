"""llama.cpp, by the low-level part of its Python binding: the functions of llama.h."""

import ctypes
import os
import sys
from typing import Any

import numpy as np


def load(options: dict[str, Any], _threads: int) -> None:
    os.environ["LLAMA_CPP_LIB_PATH"] = options["library"]
    sys.path.insert(0, options["binding"])
    import llama_cpp.llama_cpp as llama

    global quiet  # the library keeps a pointer to it
    quiet = llama.llama_log_callback(lambda _level, _text, _user: None)
    llama.llama_log_set(quiet, None)
    llama.llama_backend_init()


class Engine:
    """`options`: model, a GGUF file. Everything but threads and context is llama.cpp's default."""

    def __init__(self, options: dict[str, Any], threads: int, capacity: int) -> None:
        import llama_cpp.llama_cpp as llama

        self.llama = llama
        self.model = llama.llama_model_load_from_file(options["model"].encode(), llama.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {options['model']}")
        params = llama.llama_context_default_params()
        params.n_ctx = capacity
        # The prompt in one call; it is computed in pieces of n_ubatch, which stays its default.
        params.n_batch = max(params.n_batch, capacity)
        params.n_threads = params.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp gives no context of {capacity} tokens")
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.weight_bytes = llama.llama_model_size(self.model)

    def reset(self) -> None:
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)

    def prompt(self, ids: list[int]) -> None:
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        # A batch of this kind asks for the last token's logits only.
        status = self.llama.llama_decode(self.context, self.llama.llama_batch_get_one(tokens, len(ids)))
        if status:
            raise RuntimeError(f"llama_decode: {status}")

    def logits(self) -> np.ndarray:
        pointer = self.llama.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(pointer, (self.vocabulary,))

    def choose(self) -> int:
        return int(self.logits().argmax())

    def step(self, token: int) -> int:
        self.prompt([token])
        return self.choose()
