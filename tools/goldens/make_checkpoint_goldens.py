"""Writes tests/checkpoints.json: what transformers makes of checkpoints whose names or files are not the usual ones.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/make_checkpoint_goldens.py

`names`: the tensors of one of tests/models under other names. `rename` replaces the first prefix that fits, `remove` leaves
tensors out, and `add` adds some, each with the rows of another one in reverse order. `last_logits` are transformers' own;
where they are null, they are the bits that it gives for the model as it is.

`files`: two checkpoints in one folder, the model's own and one in which the rows of all tensors are reversed. `layout` says
which file holds which, `index` what an index names for all tensors, `config` what is added to config.json; `counts` is the one
whose bits transformers gives.
"""

import json
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2] / "tests"
HEAD, EMBEDDING, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"
TIED, UNTIED = "qwen3_tied", "llama_gqa"

NAMES = [
    {"model": TIED, "rename": {"model.": ""}},
    {"model": UNTIED, "rename": {"model.": ""}},
    {"model": TIED, "rename": {"model.": "model.model."}},
    {"model": UNTIED, "rename": {"model.": "model.model.", "lm_head.": "model.lm_head."}},
    {"model": UNTIED, "rename": {"model.layers.0": "layers.0", "model.norm": "norm"}},
    {"model": TIED, "rename": {EMBEDDING: HEAD}},
    {"model": TIED, "rename": {EMBEDDING: "model.lm_head.weight", "model.": ""}},
    {"model": TIED, "add": {HEAD: EMBEDDING}},
    {"model": TIED, "add": {"model.lm_head.weight": EMBEDDING}},
    {"model": UNTIED, "add": {"model.lm_head.weight": HEAD}},
    {"model": UNTIED, "add": {"embed_tokens.weight": EMBEDDING}},
    {"model": UNTIED, "add": {"norm.weight": NORM}},
    {"model": UNTIED, "add": {"model.model.norm.weight": NORM}},
    {"model": UNTIED, "add": {"model.layers.0.self_attn.q_proj.bias": NORM, "model.layers.0.self_attn.q_norm.weight": NORM}},
    {"model": UNTIED, "add": {"vision_tower.layers.0.mlp.up_proj.weight": EMBEDDING, "score.weight": HEAD}},
]

INDEX = "model.safetensors.index.json"
FILES = [
    {"layout": {"model.safetensors": "own", "old.safetensors": "reversed"}, "index": {INDEX: "old.safetensors"}},
    {"layout": {"a.safetensors": "own"}, "index": {INDEX: "./a.safetensors"}},
    {"layout": {"sub/a.safetensors": "own"}, "index": {INDEX: "sub/a.safetensors"}},
    {"layout": {"sub/a.safetensors": "own"}, "index": {INDEX: ".//sub/./a.safetensors"}},
    {"layout": {"model.safetensors": "own", "model.fp16.safetensors": "reversed", "consolidated.safetensors": "reversed"}},
    {"layout": {"model.safetensors": "reversed", "x.safetensors": "own"}, "config": {"transformers_weights": "x.safetensors"}},
    {"layout": {"model.safetensors": "reversed", "x.safetensors": "own"}, "config": {"transformers_weights": "./x.safetensors"}},
    {"layout": {"model.safetensors": "own", "x.safetensors": "reversed"}, "config": {"transformers_weights": None}},
    {
        "layout": {"model.safetensors": "reversed", "y.safetensors": "own"},
        "index": {"x.safetensors.index.json": "y.safetensors"},
        "config": {"transformers_weights": "x.safetensors.index.json"},
    },
]


def reverse(tensor):
    return tensor.flip(0).contiguous()


def last_logits(folder, prompt):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float().eval()
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1]


def start(model, folder, config):
    """The configuration of `model` in `folder`, its tensors and its prompt."""
    source = ROOT / "models" / model
    text = json.loads((source / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(text))
    return load_file(source / "model.safetensors"), json.loads((source / "golden.json").read_text())["prompt_ids"]


def renamed(name, rename):
    old = next((old for old in rename if name.startswith(old)), None)
    return name if old is None else rename[old] + name.removeprefix(old)


def of_names(variant, folder):
    weights, prompt = start(variant["model"], folder, {})
    wanted = last_logits(ROOT / "models" / variant["model"], prompt)
    tensors = {renamed(name, variant.get("rename", {})): tensor for name, tensor in weights.items()}
    tensors |= {name: reverse(weights[other]) for name, other in variant.get("add", {}).items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    found = last_logits(folder, prompt)
    return variant | {"last_logits": None if torch.equal(found, wanted) else found.tolist()}


def of_files(variant, folder):
    weights, prompt = start(UNTIED, folder, variant.get("config", {}))
    sets = {"own": weights, "reversed": {name: reverse(tensor) for name, tensor in weights.items()}}
    wanted = {}
    for name, tensors in sets.items():
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        json_text = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({k: v for k, v in json_text.items() if k != "transformers_weights"}))
        wanted[name] = last_logits(folder, prompt)
        (folder / "config.json").write_text(json.dumps(json_text))
    (folder / "model.safetensors").unlink()
    for file, which in variant["layout"].items():
        (folder / file).parent.mkdir(exist_ok=True)
        save_file(sets[which], folder / file, {"format": "pt"})
    for index, file in variant.get("index", {}).items():
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": {name: file for name in weights}}))
    found = last_logits(folder, prompt)
    return {"model": UNTIED} | variant | {"counts": next(name for name in wanted if torch.equal(found, wanted[name]))}


def main():
    transformers.logging.set_verbosity_error()
    golden = {}
    for kind, variants, look in ("names", NAMES, of_names), ("files", FILES, of_files):
        golden[kind] = []
        for variant in variants:
            with tempfile.TemporaryDirectory() as folder:
                golden[kind].append(look(variant, Path(folder)))
    lines = [f'"{kind}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for kind, rows in golden.items()]
    (ROOT / "checkpoints.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
