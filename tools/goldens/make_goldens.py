"""Write tiny random models, and transformers' own answers to them, into tests/models/.

The library is right when it agrees with transformers on every one of these
folders. Each is an ordinary model folder (config.json and weights, no
tokenizer) plus two files of answers:

* golden.json: the prompt's ids and the ids that greedy decoding adds to them;
* golden.safetensors: `logits` at every prompt position, and `hidden.N`, the
  residual stream after layer N (so before the final norm), all in float32.

A model may have more prompts under names, which are in both files.

The shapes are odd on purpose (head counts, head sizes and widths that are no
multiple of a vector register), and half of the configs are spelled as
transformers 4 did, because most of the published models still are.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/make_goldens.py [model or family ...]
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from families import FAMILIES
from safetensors.torch import save_file
from spec import F32, Spec, class_of, decoder_of
from transformers import AutoConfig, DynamicCache, PreTrainedModel

OUT = Path(__file__).resolve().parents[2] / "tests" / "models"
GREEDY_STEPS = 24
# How far, as a share of the largest logit, the best token must lead the second
# one. Well above float32 noise, so that a correct engine takes the same path.
MIN_MARGIN = 1e-2


def random_model(family: str, spec: Spec, seed: int) -> PreTrainedModel:
    """The model with weights that keep activations near 1 and spread the logits.

    Every bias and norm is random too: an engine that drops one must show it.
    """
    config = AutoConfig.for_model(family, **spec.config)
    model = class_of(config).from_config(config, attn_implementation="eager", dtype=F32).eval()
    random = torch.Generator().manual_seed(seed)
    own = getattr(FAMILIES[family], "values", lambda name, noise: None)
    stored = model.state_dict()
    buffers = [(name, buffer) for name, buffer in model.named_buffers() if name in stored]
    with torch.no_grad():
        for name, weight in (*model.named_parameters(), *buffers):
            noise = torch.randn(weight.shape, generator=random)
            special = own(name, noise)
            if special is not None:
                weight.copy_(special)
            elif name.endswith("bias"):
                weight.copy_(0.3 * noise)
            elif "norm" in name:
                weight.copy_(1 + 0.2 * noise)
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_(0.35 * noise)
            else:
                weight.copy_(1.6 / weight.shape[-1] ** 0.5 * noise)
    cast(model, spec.dtype)
    if spec.published:
        FAMILIES[family].prepare(model)
    return model


def cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Cast the weights alone: model.to() would round RoPE's frequencies as well."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return model


def write_folder(family: str, model: PreTrainedModel, spec: Spec, folder: Path) -> None:
    """Save the model as `spec` wants it spelled and split."""
    shutil.rmtree(folder, ignore_errors=True)
    stored = model.state_dict()
    buffers = [buffer for name, buffer in model.named_buffers() if name in stored]
    size = sum(weight.nbytes for weight in (*model.parameters(), *buffers))
    # Files are filled tensor by tensor, so a little room keeps their number down.
    model.save_pretrained(
        folder,
        max_shard_size=size if spec.files == 1 else int(size / spec.files * 1.15),
        save_original_format=not spec.stacked,
    )
    assert len(list(folder.glob("model*.safetensors"))) == spec.files, folder

    path = folder / "config.json"
    config = json.loads(path.read_text())
    text = config.get("text_config", config)
    if spec.v4_rope_key:
        respell_as_v4(text, spec.v4_rope_key, spec.v4_names)
    for part in (text, text.get("rope_parameters") or text.get("rope_scaling") or {}):
        for key in spec.omit:
            part.pop(key, None)
    config |= spec.written
    if spec.published:
        FAMILIES[family].publish(folder, config)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def respell_as_v4(config: dict[str, Any], rope_key: str, names: dict[str, str]) -> None:
    """Turn a config.json of transformers 5 into what version 4 wrote."""
    scaling = config.pop("rope_parameters")
    if "full_attention" in scaling:
        sliding, scaling = scaling["sliding_attention"], scaling["full_attention"]
        if sliding["rope_theta"] != scaling["rope_theta"]:
            config["rope_local_base_freq"] = sliding["rope_theta"]
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in scaling:
            config[names.get(key, key)] = scaling.pop(key)
    kind = scaling.pop("rope_type")
    if "partial_rotary_factor" in scaling:
        config["partial_rotary_factor"] = scaling.pop("partial_rotary_factor")
    config["rope_scaling"] = None if kind == "default" else {rope_key: kind, **scaling}
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    config.pop("layer_types", None)


@torch.no_grad()
def prompt_pass(model: PreTrainedModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits of the whole prompt, and what every layer handed on to the next."""
    answers: dict[str, torch.Tensor] = {}

    def keep(n: int, out: Any) -> None:
        answers[f"hidden.{n}"] = (out if isinstance(out, torch.Tensor) else out[0])[0].clone()

    hooks = [
        layer.register_forward_hook(lambda _, __, out, n=n: keep(n, out))
        for n, layer in enumerate(decoder_of(model).layers)
    ]
    answers["logits"] = model(ids, use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return answers


@torch.no_grad()
def greedy(model: PreTrainedModel, ids: torch.Tensor) -> tuple[list[int], float]:
    """Greedy ids through the KV cache, and the path's narrowest relative margin."""
    cache = DynamicCache(config=model.config)
    fed, chosen, margin = ids, [], float("inf")
    for _ in range(GREEDY_STEPS):
        logits = model(fed, past_key_values=cache, use_cache=True).logits[0, -1]
        best, second = logits.topk(2).values
        margin = min(margin, ((best - second) / logits.abs().max()).item())
        chosen.append(int(logits.argmax()))
        fed = torch.tensor([chosen[-1:]])
    return chosen, margin


@torch.no_grad()
def generated(model: PreTrainedModel, ids: torch.Tensor) -> tuple[list[int], float]:
    """Greedy ids as `generate` finds them, which may begin anew in between, and the path's narrowest relative margin."""
    model.generation_config.eos_token_id = None
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=GREEDY_STEPS,
        return_dict_in_generate=True,
        output_logits=True,
        pad_token_id=0,
    )
    margin = float("inf")
    for logits in made.logits:
        best, second = logits[0].topk(2).values
        margin = min(margin, ((best - second) / logits.abs().max()).item())
    chosen = made.sequences[0, ids.shape[1] :].tolist()
    # Without a cache everything is computed anew for each token.
    for count in range(GREEDY_STEPS):
        so_far = torch.cat([ids, torch.tensor([chosen[:count]], dtype=torch.int64)], 1)
        assert torch.allclose(model(so_far, use_cache=False).logits[0, -1], made.logits[count][0], atol=1e-3)
    return chosen, margin


def load(folder: Path, **overrides: Any) -> PreTrainedModel:
    """The model in float32, from the folder alone, as any reader would see it."""
    config = AutoConfig.from_pretrained(folder)
    for key, value in overrides.items():
        setattr(config.get_text_config(), key, value)
    return (
        class_of(config).from_pretrained(folder, config=config, dtype=F32, attn_implementation="eager").eval()
    )


def window_effect(
    folder: Path, ids: torch.Tensor, logits: torch.Tensor, key: str, window: int, reading: dict[str, Any]
) -> float:
    """How much the window under `key` changes the logits, and that only beyond it."""
    without = prompt_pass(load(folder, **{key: 4096}, **reading), ids)["logits"]
    change = (logits - without).abs().amax(-1)
    assert change[:window].max() < 1e-4 < 0.1 < change[window:].max(), folder
    return round(change.max().item(), 3)


def make(family: str, name: str, spec: Spec) -> None:
    """Write one folder, with the first seed whose greedy path has no near tie and no early loop."""
    folder = OUT / name
    for seed in range(1000):
        built = random_model(family, spec, seed)
        write_folder(family, built, spec, folder)
        reading = FAMILIES[family].reading() if spec.published else {}
        model = load(folder, **reading)
        random = torch.Generator().manual_seed(seed)
        ids = torch.randint(model.config.get_text_config().vocab_size, (1, spec.prompt), generator=random)
        greedy_ids, margin = greedy(model, ids)
        others = {}
        for what, tokens in spec.generated.items():
            prompt = torch.randint(model.config.vocab_size, (1, tokens), generator=random)
            others[what] = (prompt, *generated(model, prompt))
        paths = [(greedy_ids, margin), *((chosen, own) for _, chosen, own in others.values())]
        # The path must be the model's own, not an artefact of the cache.
        full = prompt_pass(model, torch.cat([ids, torch.tensor([greedy_ids])], 1))["logits"]
        is_own = full[spec.prompt - 1 : -1].argmax(-1).tolist() == greedy_ids
        if is_own and all(own > MIN_MARGIN and len(set(chosen)) >= GREEDY_STEPS // 2 for chosen, own in paths):
            break
    else:
        raise RuntimeError(f"{name}: no seed will do")

    answers = prompt_pass(model, ids)
    # The rewritten config must still say what the config it came from said.
    assert torch.equal(answers["logits"], prompt_pass(cast(built, F32), ids)["logits"]), name

    golden: dict[str, Any] = {
        "prompt_ids": ids[0].tolist(),
        "greedy_ids": greedy_ids,
        "transformers": transformers.__version__,
        "family": family,
        "seed": seed,
        "min_margin": round(margin, 5),
    }
    for what, (prompt, chosen, _) in others.items():
        golden[what] = {"prompt_ids": prompt[0].tolist(), "greedy_ids": chosen}
        answers[f"{what}.logits"] = prompt_pass(model, prompt)["logits"]
    for key in ("sliding_window", "attention_chunk_size"):
        window = getattr(model.config.get_text_config(), key, None)
        if window:
            golden["window_effect"] = window_effect(folder, ids, answers["logits"], key, window, reading)
    save_file({key: value.contiguous() for key, value in answers.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(name, f"seed {seed}", f"margin {margin:.4f}", f"logits' std {answers['logits'].std():.2f}")


def main() -> None:
    # One thread and no tricks: the same bits on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    wanted = set(sys.argv[1:])
    for family, module in FAMILIES.items():
        for name, spec in getattr(module, "MODELS", {}).items():
            if not wanted or wanted & {family, name}:
                make(family, name, spec)


if __name__ == "__main__":
    main()
