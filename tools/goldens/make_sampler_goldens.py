"""Writes tests/sampler.json: which tokens each control of the sampler leaves, and with what probabilities; and what a
generation_config.json asks for.

    python3 tools/goldens/make_sampler_goldens.py

The answers are those of transformers' own logits processors, in float64, in the order in which transformers' `generate` puts
them; at temperature 0, the largest of what those before the warpers leave. Two controls are not in transformers, and are written here from their definitions: presence and frequency penalties as
OpenAI documents them (mu[j] - c[j] * frequency - (c[j] > 0) * presence, where c counts what was sampled), which come after the
repetition penalty as in vLLM, and top-n-sigma as llama.cpp computes it (arXiv 2411.07641: the deviation of all logits that are
not masked). Needs `transformers` and `torch`.
"""

import json
import random
from pathlib import Path

import torch
from transformers import GenerationConfig
from transformers.generation import logits_process as processors

OUT = Path(__file__).resolve().parents[2] / "tests" / "sampler.json"
VOCABULARY = 48
CASES = 420


class Penalties(processors.LogitsProcessor):
    """Repetition, then frequency and presence, of the last `window` tokens."""

    def __init__(self, options, prompt):
        self.options, self.prompt = options, prompt

    def __call__(self, input_ids, scores):
        begin = max(0, input_ids.shape[1] - self.options.get("penalty_window", 0)) if "penalty_window" in self.options else 0
        if "repetition_penalty" in self.options:
            processor = processors.RepetitionPenaltyLogitsProcessor(self.options["repetition_penalty"])
            scores = processor(input_ids[:, begin:], scores)
        sampled = input_ids[0, max(begin, self.prompt):]
        counts = torch.bincount(sampled, minlength=VOCABULARY).double()
        scores = scores - self.options.get("frequency_penalty", 0.0) * counts
        return scores - self.options.get("presence_penalty", 0.0) * (counts > 0)


class TopNSigma(processors.LogitsProcessor):
    def __init__(self, n):
        self.n = n

    def __call__(self, input_ids, scores):
        valid = scores[scores > -torch.inf]
        return scores.masked_fill(scores < valid.max() - self.n * valid.std(correction=0), -torch.inf)


def pipeline(options, prompt):
    """The processors in the order of transformers' `_get_logits_processor`."""
    steps, eos = [], options.get("eos", [])
    biases = {tuple(bias["ids"]): bias["bias"] for bias in options.get("biases", [])}
    if biases:
        steps.append(processors.SequenceBiasLogitsProcessor({ids: float(bias or "-inf") for ids, bias in biases.items()}))
    if {"repetition_penalty", "presence_penalty", "frequency_penalty"} & options.keys():
        steps.append(Penalties(options, prompt))
    if "no_repeat_ngram" in options:
        steps.append(processors.NoRepeatNGramLogitsProcessor(options["no_repeat_ngram"]))
    if "min_new_tokens" in options:
        steps.append(processors.MinNewTokensLengthLogitsProcessor(prompt, options["min_new_tokens"], eos))
    if "allowed" in options:
        steps.append(processors.PrefixConstrainedLogitsProcessor(lambda batch, ids: options["allowed"], 1))
    if "banned" in options:
        steps.append(processors.SuppressTokensLogitsProcessor(options["banned"]))
    if options["temperature"] == 0:
        return processors.LogitsProcessorList(steps)
    steps.append(processors.TemperatureLogitsWarper(options["temperature"]))
    if "top_n_sigma" in options:
        steps.append(TopNSigma(options["top_n_sigma"]))
    if options["top_k"]:
        steps.append(processors.TopKLogitsWarper(options["top_k"]))
    if "top_p" in options:
        steps.append(processors.TopPLogitsWarper(options["top_p"]))
    if "min_p" in options:
        steps.append(processors.MinPLogitsWarper(options["min_p"]))
    if "typical_p" in options:
        steps.append(processors.TypicalLogitsWarper(options["typical_p"]))
    return processors.LogitsProcessorList(steps)


def single(value):
    """As float32 has it, which is what the sampler is given."""
    return torch.tensor(value, dtype=torch.float32).item()


def some(dice, count):
    return dice.sample(range(VOCABULARY), count)


def controls(dice):
    """Each control with a value of its own."""
    return {
        "top_p": lambda: single(dice.uniform(0.05, 0.99)),
        "min_p": lambda: single(dice.uniform(0.001, 0.6)),
        "typical_p": lambda: single(dice.uniform(0.1, 0.97)),
        "top_n_sigma": lambda: single(dice.uniform(0.3, 3)),
        "repetition_penalty": lambda: single(dice.uniform(0.6, 2)),
        "presence_penalty": lambda: single(dice.uniform(-2, 2)),
        "frequency_penalty": lambda: single(dice.uniform(-2, 2)),
        "no_repeat_ngram": lambda: dice.choice([1, 2, 2, 3, 4]),
        "biases": None,
        "banned": lambda: some(dice, dice.choice([1, 5, 20])),
        "min_new_tokens": lambda: dice.choice([1, 5, 9]),
        "allowed": lambda: some(dice, 30),
    }


def biases(dice, text):
    """Of single tokens, of sequences that the text ends with, and of others. None stands for minus infinity."""
    sequences = {tuple(some(dice, 1)) for _ in range(4)}
    for length in (1, 2, 3):
        end = text[len(text) - length:]
        sequences |= {(*end, dice.randrange(VOCABULARY)), (*some(dice, length), dice.randrange(VOCABULARY))}
    value = lambda: dice.choice([None, single(dice.uniform(-8, 8)), single(dice.uniform(-3, 3))])
    return [{"ids": list(ids), "bias": value()} for ids in sorted(sequences)]


def case(dice, index, rows):
    # Few different ids, so that they repeat.
    ids = some(dice, 9)
    prompt = [dice.choice(ids) for _ in range(dice.choice([0, 1, 3, 12]))]
    chosen = [dice.choice(ids) for _ in range(dice.choice([0, 2, 6, 14]))]
    text = prompt + chosen
    makers = controls(dice)
    wanted = [list(makers)[index % len(makers)]]
    if index >= 8 * len(makers):
        wanted += dice.sample(list(makers), dice.randrange(len(makers)))
    row = dice.randrange(len(rows))
    if "top_p" in wanted:
        row -= row % 2  # of equals at the border torch keeps any
    temperature = single(dice.choice([1.0, 0.2, 0.7, 1.0, 1.5, 4.0, 0.0]))
    options = {"temperature": temperature, "top_k": dice.choice([0, 0, 0, 1, 3, 10, 47, 60])}
    for name in makers:
        if name in wanted:
            options[name] = biases(dice, text) if name == "biases" else makers[name]()
    if "min_new_tokens" in options:
        options["eos"] = some(dice, 3)
    if {"repetition_penalty", "presence_penalty", "frequency_penalty"} & options.keys() and dice.random() < 0.5:
        options["penalty_window"] = dice.choice([1, 4, 10, 100])
    if "banned" in options:
        alone = {bias["ids"][0] for bias in options.get("biases", []) if len(bias["ids"]) == 1}
        options["banned"] = [id for id in options["banned"] if id not in alone] or [next(iter(set(range(VOCABULARY)) - alone))]
    scores = torch.tensor([rows[row]], dtype=torch.float64)
    input_ids = torch.tensor([text], dtype=torch.long).reshape(1, -1)
    scores = pipeline(options, len(prompt))(input_ids, scores)[0]
    if temperature == 0:
        scores[scores < scores.max()] = -torch.inf
        scores[scores.argmax() + 1:] = -torch.inf
    left = (scores > -torch.inf).nonzero().flatten().tolist()
    probabilities = scores.softmax(-1)[left].tolist() if left else []
    return {"row": row, "prompt": prompt, "chosen": chosen, "options": options, "ids": left,
            "probabilities": [float(f"{value:.9g}") for value in probabilities]}


# Files of models as they are published, and others.
PUBLISHED = [
    {},
    {"do_sample": False, "temperature": 0.3, "top_p": 0.5},
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [7, 8, 9], "bos_token_id": 1},  # Llama 3
    {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1, "eos_token_id": [5, 6]},  # Qwen2
    {"do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95, "min_p": 0.0, "cache_implementation": "hybrid"},  # Gemma
    {"do_sample": True, "top_k": 0, "min_p": 0.05, "typical_p": 0.9, "no_repeat_ngram_size": 3, "min_new_tokens": 4},
    {"repetition_penalty": 1.3, "suppress_tokens": [3, 4], "bad_words_ids": [[1, 2], [5], [6]], "eos_token_id": 5},
    {"sequence_bias": [[[1, 2], -1.5], [[3], 2.0]], "num_beams": 1, "guidance_scale": None, "top_k": None},
    {"do_sample": True, "temperature": None, "top_p": 1.0, "_from_model_config": True, "max_length": 4096},
]


def published(file):
    """What `generate` makes of a generation_config.json, in the sampler's names."""
    config = GenerationConfig.from_dict(file)
    defaults = GenerationConfig._get_default_generation_params()
    value = lambda key: defaults.get(key) if getattr(config, key, None) is None else getattr(config, key)
    names = {"no_repeat_ngram_size": "no_repeat_ngram", "suppress_tokens": "banned"}
    keys = ["top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "suppress_tokens"]
    options = {names.get(key, key): value(key) for key in keys if value(key) is not None}
    options["temperature"] = value("temperature") if value("do_sample") else 0.0
    eos = value("eos_token_id")
    options["eos"] = [] if eos is None else eos if isinstance(eos, list) else [eos]
    biases = []
    if value("bad_words_ids"):
        processor = processors.NoBadWordsLogitsProcessor(value("bad_words_ids"), options["eos"])
        biases += [{"ids": list(ids), "bias": None} for ids in processor.sequence_bias]
    if value("sequence_bias"):
        biases += [{"ids": ids, "bias": bias} for ids, bias in value("sequence_bias")]
    return {"file": file, "options": options | {"biases": biases}}


def main():
    dice = random.Random(7)
    rows = []
    for kind in range(12):
        step = 4 if kind % 2 else 1 << 14  # every other row has many equals
        spread = [1.5, 3, 6][kind // 2 % 3]
        rows.append([round(dice.gauss(0, spread) * step) / step for _ in range(VOCABULARY)])
    rows[4][5] = rows[4][17] = rows[5][11] = -torch.inf  # masked by the caller
    cases = [case(dice, index, rows) for index in range(CASES)]
    rows = [[None if value == -torch.inf else value for value in row] for row in rows]
    line = lambda value: json.dumps(value, separators=(",", ":"))
    parts = {"published": map(published, PUBLISHED), "rows": rows, "cases": cases}
    parts = (f"{line(name)}:[\n" + ",\n".join(map(line, part)) + "\n]" for name, part in parts.items())
    OUT.write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
