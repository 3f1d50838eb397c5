"""Write tiny random models, and transformers' own answers to them, into tests/models/.

The library is right when it agrees with transformers on every one of these
folders. Each is an ordinary model folder (config.json and weights, no
tokenizer) plus two files of answers:

* golden.json: the prompt's ids and the ids that greedy decoding adds to them;
* golden.safetensors: `logits` at every prompt position, and `hidden.N`, the
  residual stream after layer N (so before the final norm), all in float32.

The shapes are odd on purpose (head counts, head sizes and widths that are no
multiple of a vector register), and half of the configs are spelled as
transformers 4 did, because most of the published models still are.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/make_goldens.py [name ...]
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

OUT = Path(__file__).resolve().parents[2] / "tests" / "models"
GREEDY_STEPS = 24
# How far, as a share of the largest logit, the best token must lead the second
# one. Well above float32 noise, so that a correct engine takes the same path.
MIN_MARGIN = 1e-2


@dataclass
class Spec:
    """One model: what its config says, and how the folder spells it."""

    family: str
    config: dict[str, Any]
    dtype: torch.dtype = torch.bfloat16
    # Keys to leave out of config.json, so that readers need the class default.
    omit: tuple[str, ...] = ()
    # Transformers 4's name for the kind of RoPE; None: keep version 5's spelling.
    v4_rope_key: str | None = None
    files: int = 1
    # All experts of a layer in one tensor, as transformers 5 holds them in memory.
    stacked: bool = False
    prompt: int = 32


def shape(hidden: int, inter: int, layers: int, heads: int, kv: int, vocab: int, **more: Any) -> dict[str, Any]:
    """The config keys that every model has, with `more` for the others."""
    return dict(
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        vocab_size=vocab,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        **more,
    )


def rope(theta: float = 10000.0, kind: str = "default", **more: Any) -> dict[str, Any]:
    return {"rope_theta": theta, "rope_type": kind, **more}


BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32

SPECS: dict[str, Spec] = {
    # As small as a config gets: everything optional is left to the defaults.
    "llama_mha": Spec(
        "llama",
        shape(36, 70, 2, 6, 6, 101, rms_norm_eps=1e-5),
        F32,
        omit=("num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_theta", "rope_scaling", "mlp_bias"),
        v4_rope_key="rope_type",
    ),
    "llama_gqa": Spec("llama", shape(48, 70, 3, 6, 3, 128, head_dim=10, rope_parameters=rope(5e5)), F16),
    "llama_bias_sharded": Spec(
        "llama",
        shape(50, 90, 3, 5, 1, 101, head_dim=18, attention_bias=True, mlp_bias=True),
        v4_rope_key="type",
        files=3,
        prompt=28,
    ),
    # Original length 64 puts head_dim 16's waves in all three of llama3's bands.
    "llama31_tied": Spec(
        "llama",
        shape(64, 104, 2, 4, 2, 128, tie_word_embeddings=True, rope_parameters=rope(
            1e4, "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64,
        )) | {"eos_token_id": [2, 3, 5]},
        v4_rope_key="rope_type",
        prompt=40,
    ),
    "llama_linear": Spec(
        "llama", shape(48, 64, 2, 4, 2, 96, rope_parameters=rope(1e4, "linear", factor=4.0)), F16, v4_rope_key="type"
    ),
    "llama_yarn": Spec(
        "llama",
        shape(48, 64, 2, 3, 3, 96, rope_parameters=rope(
            1e4, "yarn", factor=4.0, original_max_position_embeddings=64,
        )),
        F32,
        prompt=40,
    ),
    "llama_yarn_mscale": Spec(
        "llama",
        shape(64, 80, 2, 4, 1, 96, rope_parameters=rope(
            1e4, "yarn", factor=8.0, original_max_position_embeddings=32,
            beta_fast=4.0, beta_slow=0.5, mscale=1.4, mscale_all_dim=0.7,
        )),
        v4_rope_key="type",
        prompt=40,
    ),
    # No original length: it is then max_position_embeddings.
    "llama_yarn_factor": Spec(
        "llama",
        shape(60, 70, 2, 3, 1, 99, rope_parameters=rope(
            1e4, "yarn", factor=2.0, attention_factor=1.25, beta_fast=8.0, beta_slow=1.0, truncate=False,
        )),
        F16,
        omit=("original_max_position_embeddings",),
        prompt=40,
    ),
    "mistral_window": Spec(
        "mistral", shape(40, 72, 3, 4, 2, 128, head_dim=16, sliding_window=6), v4_rope_key="rope_type", prompt=24
    ),
    # Mistral's default is 8 key/value heads, not as many as there are heads.
    "mistral_full": Spec(
        "mistral",
        shape(64, 72, 2, 16, 8, 104, sliding_window=None, rms_norm_eps=1e-5),
        omit=("num_key_value_heads", "head_dim"),
        v4_rope_key="type",
    ),
    # A window that use_sliding_window turns off, as the published Qwen2.5 have.
    "qwen2_tied": Spec(
        "qwen2",
        shape(56, 88, 2, 7, 1, 128, tie_word_embeddings=True, rope_parameters=rope(1e6),
              use_sliding_window=False, sliding_window=4, max_window_layers=1),
        v4_rope_key="rope_type",
    ),
    "qwen2_untied": Spec("qwen2", shape(60, 70, 2, 6, 2, 97, rope_parameters=rope(1e6)), F16),
    "qwen2_window": Spec(
        "qwen2",
        shape(64, 72, 4, 4, 2, 112, use_sliding_window=True, sliding_window=5, max_window_layers=2),
        v4_rope_key="rope_type",
    ),
    "qwen3_tied": Spec(
        "qwen3", shape(64, 80, 2, 4, 2, 128, head_dim=24, tie_word_embeddings=True, rope_parameters=rope(1e6))
    ),
    "qwen3_bias_sharded": Spec(
        "qwen3",
        shape(42, 70, 2, 6, 3, 101, head_dim=24, attention_bias=True, rope_parameters=rope(1e6)),
        F16,
        v4_rope_key="rope_type",
        files=2,
    ),
    # An explicit layer_types wins over max_window_layers.
    "qwen3_alternating": Spec(
        "qwen3",
        shape(36, 50, 4, 4, 1, 99, head_dim=12, use_sliding_window=True, sliding_window=7,
              layer_types=["sliding_attention", "full_attention"] * 2),
        F32,
    ),
    # Head norms in front of heads that ONNX Runtime's own attention can rotate.
    "qwen3_16": Spec(
        "qwen3", shape(48, 70, 3, 4, 2, 101, head_dim=16, tie_word_embeddings=True, rope_parameters=rope(1e6))
    ),
    # Caps low enough to bend what they cap, and heads that ONNX Runtime's own attention can rotate.
    "gemma2_16": Spec(
        "gemma2",
        shape(48, 70, 3, 4, 2, 101, head_dim=16, query_pre_attn_scalar=24, sliding_window=6,
              attn_logit_softcapping=2.0, final_logit_softcapping=2.0, tie_word_embeddings=False),
        v4_rope_key="rope_type",
    ),
    "gemma2_plain": Spec(
        "gemma2",
        shape(60, 90, 2, 6, 3, 99, head_dim=10, query_pre_attn_scalar=7, attention_bias=True, tie_word_embeddings=False,
              attn_logit_softcapping=None, final_logit_softcapping=None, hidden_activation="gelu",
              layer_types=["full_attention", "sliding_attention"], sliding_window=9),
        F16,
        files=2,
    ),
    "qwen3_moe": Spec(
        "qwen3_moe",
        shape(48, 70, 3, 4, 2, 101, head_dim=16, moe_intermediate_size=20, num_experts=8, num_experts_per_tok=2,
              norm_topk_prob=True, rope_parameters=rope(1e6)),
        v4_rope_key="rope_type",
        files=2,
    ),
    # Experts on every second layer but one, and weights that do not add up to one.
    "qwen3_moe_mixed": Spec(
        "qwen3_moe",
        shape(36, 50, 6, 6, 1, 99, head_dim=10, moe_intermediate_size=12, num_experts=5, num_experts_per_tok=3,
              decoder_sparse_step=2, mlp_only_layers=[3], attention_bias=True, tie_word_embeddings=True),
        F16,
    ),
    "qwen3_moe_stacked": Spec(
        "qwen3_moe",
        shape(32, 44, 2, 2, 1, 64, head_dim=16, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2,
              norm_topk_prob=True, mlp_only_layers=[1]),
        stacked=True,
    ),
    # Wide enough for a blocked kernel's main loop as well as its tail.
    "llama_256": Spec(
        "llama",
        shape(256, 688, 2, 4, 2, 512, tie_word_embeddings=True, rope_parameters=rope(5e5), rms_norm_eps=1e-5),
        prompt=24,
    ),
}


def random_model(spec: Spec, seed: int) -> PreTrainedModel:
    """The model with weights that keep activations near 1 and spread the logits.

    Every bias and norm is random too: an engine that drops one must show it.
    """
    config = AutoConfig.for_model(spec.family, **spec.config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=F32).eval()
    random = torch.Generator().manual_seed(seed)
    # Gemma's norms multiply by one more than their weight, and its embedding is scaled up.
    gemma = spec.family.startswith("gemma")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if "norm" in name:
                weight.copy_((0 if gemma else 1) + 0.2 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.3 * noise)
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_((0.1 if gemma else 0.35) * noise)
            else:
                weight.copy_(1.6 / weight.shape[-1] ** 0.5 * noise)
    return cast(model, spec.dtype)


def cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Cast the weights alone: model.to() would round RoPE's frequencies as well."""
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return model


def write_folder(model: PreTrainedModel, spec: Spec, folder: Path) -> None:
    """Save the model as `spec` wants it spelled and split."""
    shutil.rmtree(folder, ignore_errors=True)
    size = sum(weight.nbytes for weight in model.parameters())
    # Files are filled tensor by tensor, so a little room keeps their number down.
    model.save_pretrained(
        folder,
        max_shard_size=size if spec.files == 1 else int(size / spec.files * 1.15),
        save_original_format=not spec.stacked,
    )
    assert len(list(folder.glob("model*.safetensors"))) == spec.files, folder

    path = folder / "config.json"
    config = json.loads(path.read_text())
    if spec.v4_rope_key:
        respell_as_v4(config, spec.v4_rope_key)
    for part in (config, config.get("rope_parameters") or config.get("rope_scaling") or {}):
        for key in spec.omit:
            part.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def respell_as_v4(config: dict[str, Any], rope_key: str) -> None:
    """Turn a config.json of transformers 5 into what version 4 wrote."""
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    kind = scaling.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {rope_key: kind, **scaling}
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    config.pop("layer_types", None)


@torch.no_grad()
def prompt_pass(model: PreTrainedModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits of the whole prompt, and what every layer handed on to the next."""
    answers: dict[str, torch.Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, out, n=n: answers.update({f"hidden.{n}": out[0].clone()}))
        for n, layer in enumerate(model.model.layers)
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


def load(folder: Path, **overrides: Any) -> PreTrainedModel:
    """The model in float32, from the folder alone, as any reader would see it."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=F32, attn_implementation="eager", **overrides).eval()


def window_effect(folder: Path, ids: torch.Tensor, logits: torch.Tensor, window: int) -> float:
    """How much the sliding window changes the logits, and that only beyond it."""
    without = prompt_pass(load(folder, sliding_window=4096), ids)["logits"]
    change = (logits - without).abs().amax(-1)
    assert change[:window].max() < 1e-4 < 0.1 < change[window:].max(), folder
    return round(change.max().item(), 3)


def make(name: str, spec: Spec) -> None:
    """Write one folder, with the first seed whose greedy path has no near tie and no early loop."""
    folder = OUT / name
    for seed in range(1000):
        built = random_model(spec, seed)
        write_folder(built, spec, folder)
        model = load(folder)
        random = torch.Generator().manual_seed(seed)
        ids = torch.randint(model.config.vocab_size, (1, spec.prompt), generator=random)
        greedy_ids, margin = greedy(model, ids)
        if margin > MIN_MARGIN and len(set(greedy_ids)) >= GREEDY_STEPS // 2:
            break
    else:
        raise RuntimeError(f"{name}: no seed will do")

    answers = prompt_pass(model, ids)
    # The rewritten config must still say what the config it came from said.
    assert torch.equal(answers["logits"], prompt_pass(cast(built, F32), ids)["logits"]), name
    # The path must be the model's own, not an artefact of the cache.
    full = prompt_pass(model, torch.cat([ids, torch.tensor([greedy_ids])], 1))["logits"]
    assert full[spec.prompt - 1 : -1].argmax(-1).tolist() == greedy_ids, name

    golden: dict[str, Any] = {
        "prompt_ids": ids[0].tolist(),
        "greedy_ids": greedy_ids,
        "transformers": transformers.__version__,
        "family": spec.family,
        "seed": seed,
        "min_margin": round(margin, 5),
    }
    window = getattr(model.config, "sliding_window", None)
    if window:
        golden["window_effect"] = window_effect(folder, ids, answers["logits"], window)
    save_file({key: value.contiguous() for key, value in answers.items()}, folder / "golden.safetensors")
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    print(name, f"seed {seed}", f"margin {margin:.4f}", f"logits' std {answers['logits'].std():.2f}")


def main() -> None:
    # One thread and no tricks: the same bits on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in sys.argv[1:] or SPECS:
        make(name, SPECS[name])


if __name__ == "__main__":
    main()
