"""The page docs/peers.md: the tables, and how they came about."""

from argparse import Namespace

from .engines import Engine
from .setup import BINDING, BINDING_SHA256, GENAI_BUILD, REQUIREMENTS


def versions() -> str:
    """The peers' versions, as pinned."""
    pins = dict(line.split("==") for line in REQUIREMENTS.read_text().split() if "==" in line)
    genai = f"onnxruntime-genai {pins['onnxruntime-genai']} on ONNX Runtime {pins['onnxruntime']}"
    return f"{genai}, and the llama.cpp in the source package of llama-cpp-python {BINDING} (sha256 {BINDING_SHA256[:12]}...)"


def document(tables: str, engines: list[Engine], options: Namespace) -> str:
    """The page."""
    notes = "\n".join(f"- {engine.name}: {engine.note}." for engine in engines if engine.note)
    layers = f", {options.layers} layers of it" if options.layers else ""
    more = f" --layers {options.layers}" if options.layers else ""
    beside = "- A neighbour: beside each engine another program of one thread computes all the time.\n" * options.neighbour
    more += " --neighbour" * options.neighbour
    command = f'SHAPE={options.shape} PROMPT={options.prompt} PEERS="--out {options.out}{more}"'
    settings = " ".join(f"`{key}={value}`" for key, value in GENAI_BUILD.items() if key != "hf_token")
    return f"""# Beside other engines

Written by `make bench-peers {command}` (`tools/bench/bench_peers.py`). The numbers are of one machine and one
day; the ratios are what counts.

{tables}

## How it is measured

- Model: random bf16 weights of the shape of {options.shape}{layers} (`tools/bench/make_random_model.py`); every engine gets those same weights,
  converted or quantised by its own tools. Prompt of {options.prompt} tokens, greedy decoding of {options.tokens} after the first, batch 1.
{beside}- Every engine has the same number of threads, and everything else as its makers set it, unless said below.
- One round measures each engine once, in a process of its own, so that no idle threads of another one are about; the
  order moves on from round to round. Each process warms up with the whole prompt and a few tokens. Ratios are made within
  a round, and the median of them is given: neighbours' noise that lasts longer than a round cancels out.
- On a machine that is busy with other things not even the ratios hold: engines whose threads wait for each other without
  sleeping suffer most. Measurements during which other programs, or the host of a virtual machine, took more than
  {options.busy:.0%} of the processors are not counted.
- Prefill: from the ids of the prompt to the id of the first new token. Decode: the ids after it, each chosen from its
  logits by argmax. Ready: opening the converted model, with warm file cache, up to the first token's turn; loading the
  library itself is not in it. ortshard quantises a shard when it is first opened and keeps it in the cache, which is in
  the first of its values.
- Limit: plain reading of the bf16 weight file's cached pages with as many threads (`tools/bench/peers/memory.c`), over the weights'
  bytes: a token reads them all once. On a shared machine that speed changes within seconds; an engine's limit is the mean
  of a measurement just before it and one just after.
- Agrees: the correlation of the logits after the prompt with those of ortshard exact. It shows that all run the same
  model; on random weights, 4 bits keep less of them than on trained ones.

## Settings

Versions: {versions()}.

- onnxruntime-genai: its model builder for int4 on the processor, {settings}; `intra_op_num_threads`
  is set, since it takes half of the processors unless told.
- llama.cpp: built for this processor (`GGML_NATIVE`), Release, else its defaults: OpenMP, repacked weights, flash attention
  where it chooses so, both thread counts set. Logits are asked for the last token only. Driven through llama.h.
- ortshard: through its C interface; logits of the last token only.

{notes}
"""
