"""What is measured: every engine as the users of it would run it, and what ortshard is to reach beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import binding
from .setup import FOUR_BIT_SHAPES, MAIN_SHAPE, Peers


@dataclass(frozen=True)
class Engine:
    """One row of the table. `kind` names the module that runs it, `options` are what that takes."""

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Target:
    """`ours` is to do `what` at least `factor` times as fast as `peer`; without a peer, as reading memory allows."""

    ours: str
    what: str
    factor: float | None
    peer: str = ""


GENAI = "onnxruntime-genai int4"
GENAI_ALL = "onnxruntime-genai int4, all logits"
Q4_0, Q4_0_PURE, Q8_0, BF16 = (f"llama.cpp {name}" for name in ("Q4_0", "Q4_0 pure", "Q8_0", "BF16"))
MXFP4 = "llama.cpp MXFP4 and Q8_0"
EXACT = "ortshard exact"
INT4 = "ortshard int4"
INT4_F16 = f"{INT4}, KV as f16"
# Name in the table, precision and type of KV cache (ORTSHARD_DTYPE_*), shards. What the library does not have is left out with a line.
ORTSHARD = [
    (EXACT, "EXACT", "F32", 1),
    (f"{EXACT}, 3 shards", "EXACT", "F32", 3),
    (INT4, "INT4", "F32", 1),
    (f"{INT4}, 3 shards", "INT4", "F32", 3),
    ("ortshard int4 fine", "INT4_FINE", "F32", 1),
    ("ortshard int8", "INT8", "F32", 1),
]
# The same for prompts so long that the KV cache is much of what a token reads.
ORTSHARD_LONG = [
    (EXACT, "EXACT", "F32", 1),
    (INT4, "INT4", "F32", 1),
    (INT4_F16, "INT4", "F16", 1),
    (f"{INT4}, KV as int8", "INT4", "INT8", 1),
]
# Shapes whose prompts run token by token in some layers, or attend to latents.
RECURRENT_AND_LATENT = ("qwen3.5-2b", "lfm2-1.2b", "deepseek-v2-lite")
# The prompt of the main table.
MAIN_PROMPT = 256


def targets(shape: str, prompt: int) -> list[Target]:
    """What is to be reached with a shape and a prompt of so many tokens; without a number: of interest."""
    if shape in FOUR_BIT_SHAPES:
        return [
            Target("ortshard int8", "prefill", 1.3, MXFP4),
            Target("ortshard int8", "decode", 1.3, MXFP4),
            Target(INT4, "prefill", None, MXFP4),
            Target(INT4, "decode", None, MXFP4),
            Target(EXACT, "prefill", None, BF16),
            Target(EXACT, "decode", None, BF16),
        ]
    if shape != MAIN_SHAPE:
        pairs = [(INT4, Q4_0), ("ortshard int8", Q8_0), (EXACT, BF16)]
        prefill = 1.0 if shape in RECURRENT_AND_LATENT else 1.3
        return [Target(ours, what, goal, peer) for ours, peer in pairs for what, goal in (("decode", 1.3), ("prefill", prefill))]
    if prompt > MAIN_PROMPT:
        return [
            Target(INT4, "prefill", 2.5, GENAI),
            Target(INT4, "decode", 3.0, GENAI),
            Target(INT4_F16, "prefill", None, GENAI),
            Target(INT4_F16, "decode", None, GENAI),
            Target(INT4_F16, "prefill", None, Q4_0),
            Target(INT4_F16, "decode", None, Q4_0),
            Target(INT4, "prefill", None, Q4_0),
            Target(INT4, "decode", None, Q4_0),
            Target(EXACT, "prefill", None, BF16),
            Target(EXACT, "decode", None, BF16),
        ]
    return [
        Target(INT4, "decode", 1.5, GENAI),
        Target(INT4, "decode", 2.0, Q4_0),
        Target(INT4, "decode", 0.75),
        Target(INT4, "prefill", 2.0, GENAI),
        Target(INT4, "prefill", 1.5, Q4_0),
        Target(EXACT, "decode", 1.25, BF16),
        Target(EXACT, "decode", 0.92),
        Target(EXACT, "prefill", 1.5, BF16),
        Target(INT4, "prefill", None, GENAI_ALL),
        Target(INT4, "decode", None, Q4_0_PURE),
        Target("ortshard int8", "decode", None, Q8_0),
        Target("ortshard int8", "prefill", None, Q8_0),
        Target(f"{EXACT}, 3 shards", "decode", None, EXACT),
        Target(f"{EXACT}, 3 shards", "prefill", None, EXACT),
        Target(f"{INT4}, 3 shards", "decode", None, INT4),
    ]


def constants(prefix: str) -> dict[str, int]:
    """The constants of the header whose names begin so, by what follows."""
    found = binding.CONSTANTS.items()
    return {name.removeprefix(prefix): value for name, value in found if name.startswith(prefix)}


def ortshard(library: Path, model: Path, prompt: int) -> tuple[list[Engine], dict[str, str]]:
    """The rows of this library, and why the others are left out."""
    precisions, kv_types = constants("ORTSHARD_PRECISION_"), constants("ORTSHARD_DTYPE_")
    engines, missing = [], {}
    for name, precision, kv_type, shards in ORTSHARD if prompt <= MAIN_PROMPT else ORTSHARD_LONG:
        if precision not in precisions:
            missing[name] = f"the header has no ORTSHARD_PRECISION_{precision}"
            continue
        options = {
            "library": str(library),
            "model": str(model),
            "precision": precisions[precision],
            "kv_type": kv_types[kv_type],
            "shards": shards,
        }
        engines.append(Engine(name, "ortshard", options))
    return engines, missing


def others(peers: Peers, shape: str) -> list[Engine]:
    """The rows of the peers."""

    def llama(name: str, file: str, note: str) -> Engine:
        options = {"model": str(peers.models / file), "library": str(peers.llama_cpp), "binding": str(peers.binding)}
        return Engine(name, "llama", options, note)

    def genai(name: str, folder: str, note: str) -> Engine:
        model = peers.models / folder
        size = (model / "model.onnx.data").stat().st_size
        return Engine(name, "genai", {"model": str(model), "weight_bytes": size}, note)

    if shape in FOUR_BIT_SHAPES:
        return [
            llama(MXFP4, "mxfp4.gguf", "experts in MXFP4 as published, the rest in blocks of 32"),
            llama(BF16, "bf16.gguf", "experts in MXFP4 as published; other activations are rounded to bf16 where that is faster"),
        ]
    rows = [
        llama(Q4_0, "q4_0.gguf", "blocks of 32, 8-bit head: what it makes of Q4_0 for this shape"),
        llama(Q4_0_PURE, "q4_0-pure.gguf", "with `--pure`: 4-bit head too"),
        llama(Q8_0, "q8_0.gguf", "blocks of 32"),
        llama(BF16, "bf16.gguf", "activations are rounded to bf16 where the processor has bf16 dot products"),
    ]
    if shape == MAIN_SHAPE:
        rows = [
            genai(GENAI, "genai-int4", "blocks of 32, 4-bit head, `prune_lm_head`: logits of the last token only"),
            genai(GENAI_ALL, "genai-int4-all-logits", "the same as the builder makes it unasked: logits of every token"),
            *rows,
        ]
    return rows
