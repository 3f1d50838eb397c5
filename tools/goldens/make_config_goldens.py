"""Write what transformers makes of config.json, key by key and value by value, into tests/models/configs/.

* keys.json: for each family and each version of transformers, the keys of
  config.json that its code reads: the fields of the config class, and what the
  modules that build and run the model read from a config. Read off the sources,
  so a new version shows its new keys.
* cases.json: variants of one tiny model's config.json, each with what
  transformers makes of it in each family: the name of its logits, or its error.
* model.safetensors: the weights that all variants share, with more tensors than
  any one of them needs; logits.safetensors: the answers.
* rope.json: variants of everything that says how positions are rotated, with the
  frequencies and the factor that transformers takes from it.

The first run is with the newest transformers, the oracle. Runs with older ones
add where they differ, and change nothing else.

    pip install -r tools/goldens/requirements.txt transformers==5.24.0
    python tools/goldens/make_config_goldens.py
    pip install transformers==4.57.1
    python tools/goldens/make_config_goldens.py
"""

import ast
import inspect
import json
import logging
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from config_variants import BASE, CASES, FAMILIES, ROPE
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, GenerationConfig
from transformers.utils import logging as transformers_logging

OUT = Path(__file__).resolve().parents[2] / "tests" / "models" / "configs"
VERSION = transformers.__version__
PACKAGE = Path(transformers.__file__).parent
# Long enough for a window of 5 to matter on every layer.
PROMPT = [1, 5, 9, 33, 12, 7, 8, 39, 14, 22, 3, 17]
# Tokens that the second pass reads at once before it goes on one by one.
PREFILL = 7
# Modules beside a family's own that read its config when a model is loaded and run.
SHARED = ["configuration_utils.py", "modeling_rope_utils.py", "masking_utils.py", "cache_utils.py", "modeling_utils.py"]


# ---- keys.json


class Reads(ast.NodeVisitor):
    """Names that code reads from a config, whatever it calls the config."""

    CONFIGS = {"config", "layer_config", "decoder_config", "text_config", "effective_config"}
    # What these read is no key of config.json: their arguments, and what they write.
    OTHER = {"from_pretrained", "get_config_dict", "_get_config_dict", "save_pretrained", "from_dict"}

    def __init__(self) -> None:
        self.names: set[str] = set()
        # In a config class `self` is the config, and its `kwargs` are what else config.json says.
        self.own = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.own = self.own, node.name.endswith(("Config", "ConfigMixin"))
        self.generic_visit(node)
        self.own = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if not (self.own and node.name in self.OTHER):
            self.generic_visit(node)

    def is_config(self, node: ast.AST) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self.CONFIGS or (self.own and name == "self")
            case ast.Attribute(value=ast.Name(id="self"), attr="config"):
                return True
        return False

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.is_config(node.value):
            self.names.add(node.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=ast.Name(id="getattr" | "hasattr"), args=[owner, ast.Constant(value=str(name)), *_]):
                if self.is_config(owner):
                    self.names.add(name)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="kwargs"), attr="pop" | "get"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                if self.own:
                    self.names.add(name)
        self.generic_visit(node)


def reads(path: Path) -> set[str]:
    visitor = Reads()
    if path.exists():
        visitor.visit(ast.parse(path.read_text()))
    return visitor.names


def generation_parameters() -> set[str]:
    """Keys that a config.json may hold for generation_config.json's sake."""
    names = getattr(GenerationConfig, "_get_default_generation_params", None)
    base = transformers.configuration_utils.PretrainedConfig
    return set(names() if names else base._get_global_generation_defaults())


def keys(family: str) -> list[str]:
    module = PACKAGE / "models" / family
    config_class = transformers.models.auto.configuration_auto.CONFIG_MAPPING[family]
    found = reads(module / f"configuration_{family}.py") | reads(module / f"modeling_{family}.py")
    for name in SHARED:
        found |= reads(PACKAGE / name)
    for base in config_class.__mro__[:-1]:
        found |= {name for name in getattr(base, "__annotations__", {}) if not name.isupper()}
        found |= {
            name for name in inspect.signature(base.__init__).parameters if name not in ("self", "args", "kwargs")
        }
    # Methods and what cannot be set are no keys of config.json.
    members = {name for name in found if is_fixed(inspect.getattr_static(config_class, name, None))}
    private = {name for name in found if name.startswith("_") or name.startswith("base_model_")}
    return sorted(found - members - private - generation_parameters())


def is_fixed(member: Any) -> bool:
    if isinstance(member, property):
        return member.fset is None
    return callable(member) or isinstance(member, classmethod | staticmethod)


def write_keys() -> None:
    path = OUT / "keys.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for family in FAMILIES:
        if (PACKAGE / "models" / family).exists():
            known.setdefault(family, {})[VERSION] = keys(family)
    path.write_text(json.dumps(known, indent=1) + "\n")


# ---- cases.json


def weights() -> dict[str, torch.Tensor]:
    """Every tensor that a variant may ask for; its values large enough that dropping one shows."""
    random = torch.Generator().manual_seed(7)

    def tensor(*shape: int, around: float = 0.0, spread: float = 1.0) -> torch.Tensor:
        return around + spread * torch.randn(shape, generator=random)

    hidden, inner, vocabulary = BASE["hidden_size"], BASE["intermediate_size"], BASE["vocab_size"]
    head = BASE["head_dim"]
    query, pair = BASE["num_attention_heads"] * head, BASE["num_key_value_heads"] * head
    made = {
        "model.embed_tokens.weight": tensor(vocabulary, hidden, spread=0.5),
        "lm_head.weight": tensor(vocabulary, hidden, spread=0.5),
        "model.norm.weight": tensor(hidden, around=1.0, spread=0.2),
    }
    for layer in range(BASE["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            made[f"model.layers.{layer}.{norm}.weight"] = tensor(hidden, around=1.0, spread=0.2)
        for norm in ("q_norm", "k_norm"):
            made[f"model.layers.{layer}.self_attn.{norm}.weight"] = tensor(head, around=1.0, spread=0.2)
        for name, rows, columns in (
            ("self_attn.q_proj", query, hidden),
            ("self_attn.k_proj", pair, hidden),
            ("self_attn.v_proj", pair, hidden),
            ("self_attn.o_proj", hidden, query),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ):
            made[f"model.layers.{layer}.{name}.weight"] = tensor(rows, columns, spread=1.6 / columns**0.5)
            made[f"model.layers.{layer}.{name}.bias"] = tensor(rows, spread=0.3)
    # What one family alone has: behind the others, whose values stay as they were.
    experts, inner = FAMILIES["qwen3_moe"]["num_experts"], FAMILIES["qwen3_moe"]["moe_intermediate_size"]
    for layer in range(BASE["num_hidden_layers"]):
        for norm in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            made[f"model.layers.{layer}.{norm}.weight"] = tensor(hidden, spread=0.2)
        made[f"model.layers.{layer}.mlp.gate.weight"] = tensor(experts, hidden, spread=1.6 / hidden**0.5)
        for expert in range(experts):
            for name, rows, columns in (
                ("gate_proj", inner, hidden),
                ("up_proj", inner, hidden),
                ("down_proj", hidden, inner),
            ):
                made[f"model.layers.{layer}.mlp.experts.{expert}.{name}.weight"] = tensor(
                    rows, columns, spread=1.6 / columns**0.5
                )
    return made


def config_of(family: str, case: dict[str, Any]) -> dict[str, Any]:
    config = {**BASE, **FAMILIES[family], **case["set"]}
    return {key: value for key, value in config.items() if key not in case["drop"]}


@torch.no_grad()
def logits_of(config: dict[str, Any]) -> torch.Tensor:
    """The logits of the folder, or an error: also where weights are missing, or a cache changes the answer."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "model.safetensors").symlink_to(OUT / "model.safetensors")
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    if report["missing_keys"] or report["mismatched_keys"]:
        raise ValueError(f"weights do not fit: {sorted(report['missing_keys'])}")
    model.eval()
    ids = torch.tensor([PROMPT])
    logits = model(ids, use_cache=False).logits[0].clone()
    if logits.isnan().any():
        raise ValueError("the logits are not numbers")
    cache = DynamicCache(config=model.config)
    spans = [PROMPT[:PREFILL], *([token] for token in PROMPT[PREFILL:])]
    steps = [model(torch.tensor([span]), past_key_values=cache, use_cache=True).logits[0] for span in spans]
    if not torch.allclose(torch.cat(steps), logits, atol=1e-4):
        raise ValueError("with a cache the logits are others than without")
    return logits


def outcome(family: str, case: dict[str, Any], answers: dict[str, torch.Tensor], keep: bool) -> Any:
    """The name of the logits in `answers`, which takes up new ones where it is to `keep` them; or the error."""
    try:
        logits = logits_of(config_of(family, case))
    except Exception as error:
        return {"error": said(error)}
    for name, known in answers.items():
        if torch.allclose(known, logits, atol=1e-5):
            return name
    if not keep:
        return "another"
    name = str(len(answers))
    answers[name] = logits
    return name


def write_cases(oracle: str) -> None:
    path, answers_file = OUT / "cases.json", OUT / "logits.safetensors"
    first = oracle == VERSION
    if first:
        save_file(weights(), OUT / "model.safetensors")
        cases = [{key: case[key] for key in ("name", "key", "set", "drop")} for case in CASES]
        answers: dict[str, torch.Tensor] = {}
    else:
        cases = json.loads(path.read_text())["cases"]
        answers = load_file(answers_file)
    for case, spec in zip(cases, CASES, strict=True):
        families = [family for family in spec["families"] if (PACKAGE / "models" / family).exists()]
        outcomes = {family: outcome(family, spec, answers, keep=first) for family in families}
        if not first:
            outcomes = {family: now for family, now in outcomes.items() if kind(now) != kind(case[oracle][family])}
        if outcomes:
            case[VERSION] = outcomes
        print(case["name"], outcomes, flush=True)
    if first:
        save_file(answers, answers_file)
    bases = {family: {**BASE, **own} for family, own in FAMILIES.items()}
    write_json(path, {"oracle": oracle, "prompt": PROMPT, "bases": bases}, cases)


def kind(outcome: Any) -> Any:
    """What counts when versions are compared: the answer, or that there is none."""
    return "error" if isinstance(outcome, dict) and "error" in outcome else outcome


# ---- rope.json


def rope_of(config: dict[str, Any]) -> tuple[list[float], float]:
    """Frequencies and factor of the real model class, which a head must be able to use."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        loaded = AutoConfig.from_pretrained(folder)
    loaded._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(loaded).eval()
    rotary = model.model.rotary_emb
    frequencies, factor = rotary.inv_freq.clone(), float(rotary.attention_scaling)
    if not frequencies.isfinite().all():
        raise ValueError("the frequencies are not finite")
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))
        # Frequencies that depend on how long the text is.
        model(torch.zeros((1, config["max_position_embeddings"] + 1), dtype=torch.int64))
    if not torch.equal(rotary.inv_freq, frequencies):
        raise ValueError("the frequencies depend on the length of the text")
    return [float(frequency) for frequency in frequencies], factor


def write_rope(oracle: str) -> None:
    path = OUT / "rope.json"
    known = {} if oracle == VERSION else json.loads(path.read_text())
    frequencies: list[list[float]] = known.get("frequencies", [])
    old = {case["name"]: case for case in known.get("cases", [])}
    cases = []
    for spec in ROPE:
        config = config_of(spec["family"], spec)
        case = old.get(spec["name"], {"name": spec["name"], "config": config})
        try:
            found, factor = rope_of(config)
            if found not in frequencies:
                frequencies.append(found)
            now: dict[str, Any] = {"frequencies": frequencies.index(found), "factor": factor}
        except Exception as error:
            now = {"error": said(error)}
        if oracle == VERSION or kind(now) != kind(case[oracle]):
            case[VERSION] = now
        cases.append(case)
        print(spec["name"], now, flush=True)
    write_json(path, {"oracle": oracle, "frequencies": frequencies}, cases)


def said(error: Exception) -> str:
    """What the error says, without the place of a temporary folder."""
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/\w+", "the folder", str(error).strip())
    return f"{type(error).__name__}: {next(iter(text.splitlines()), '')}"[:90]


def newest() -> str:
    """The newest transformers that the files know, this one included."""
    known = json.loads((OUT / "keys.json").read_text()).values()
    versions = {version for family in known for version in family}
    return max(versions, key=lambda version: [int(part) for part in version.split(".")[:3]])


def write_json(path: Path, head: dict[str, Any], cases: list[Any]) -> None:
    """One case a line: a change in one shows as one."""
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n")


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    OUT.mkdir(exist_ok=True)
    write_keys()
    oracle = newest()
    write_rope(oracle)
    write_cases(oracle)


if __name__ == "__main__":
    main()
