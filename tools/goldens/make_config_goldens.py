"""Write what transformers makes of config.json, key by key and value by value, into tests/models/configs/.

cases.json has the variants of config.json that every family gets. Each family has a folder:

* answers.json: the config.json that variants change, the family's own variants,
  and for each version of transformers the keys of config.json that its code
  reads, and what it makes of every variant: the name of the logits, or an error.
  The keys are the fields of the config class, and what the modules that build
  and run the model read from a config. They are read off the sources, so a new
  version shows its new keys.
* model.safetensors: the weights that all variants share, with more tensors than
  any one of them needs; logits.safetensors: the answers.
* rope.json: variants of everything that says how positions are rotated, with the
  frequencies and the factor that transformers takes from it.

The first run is with the newest transformers, the oracle. Runs with older ones
add where they differ, and change nothing else.

    pip install -r tools/goldens/requirements.txt transformers==5.24.0
    python tools/goldens/make_config_goldens.py [family ...]
    pip install transformers==4.57.1
    python tools/goldens/make_config_goldens.py [family ...]
"""

import ast
import inspect
import json
import logging
import re
import sys
import tempfile
from bisect import bisect_left
from pathlib import Path
from typing import Any

import torch
import transformers
from families import FAMILIES
from rope_variants import COMMON_ROPE
from safetensors.torch import load_file, save_file
from spec import class_of, decoder_of
from tensors import Random, decoder
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging
from variants import BASE, COMMON
from wrapper import TEXT

OUT = Path(__file__).resolve().parents[2] / "tests" / "models" / "configs"
VERSION, ORACLE = transformers.__version__, "5.24.0"
PACKAGE = Path(transformers.__file__).parent
# Long enough for a window of 5 to matter on every layer.
PROMPT = [1, 5, 9, 33, 12, 7, 8, 39, 14, 22, 3, 17]
# Tokens that the second pass reads at once before it goes on one by one.
PREFILL = 7
# Modules beside a family's own that read its config when a model is loaded and run.
SHARED = ["configuration_utils.py", "modeling_rope_utils.py", "masking_utils.py", "cache_utils.py", "modeling_utils.py"]


# ---- the keys that code reads


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
    config_class = CONFIG_MAPPING[family]
    module = Path(inspect.getfile(config_class)).parent
    found = reads(module / f"configuration_{module.name}.py") | reads(module / f"modeling_{module.name}.py")
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
    # `get` is a method of what is no config yet.
    return sorted(found - members - private - generation_parameters() - {"get"})


def is_fixed(member: Any) -> bool:
    if isinstance(member, property):
        return member.fset is None
    return callable(member) or isinstance(member, classmethod | staticmethod)


# ---- what becomes of a config.json


def weights(family: str) -> dict[str, torch.Tensor]:
    """Every tensor that a variant of the family may ask for."""
    random = torch.Generator().manual_seed(7)
    made: dict[str, Random] = getattr(FAMILIES[family], "tensors", decoder)(base(family))
    return {
        name: tensor.around + tensor.spread * torch.randn(tensor.shape, generator=random)
        for name, tensor in made.items()
    }


def base(family: str) -> dict[str, Any]:
    own = FAMILIES[family].CONFIG
    return own if TEXT in own else {**BASE, **own}


def config_of(family: str, case: dict[str, Any]) -> dict[str, Any]:
    config = {**base(family), **case["set"]}
    return {key: value for key, value in config.items() if key not in case["drop"]}


@torch.no_grad()
def logits_of(config: dict[str, Any], tensors: Path) -> torch.Tensor:
    """The logits of the folder, or an error: also where weights are missing, or a cache changes the answer."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        (Path(folder) / "model.safetensors").symlink_to(tensors)
        model, report = class_of(AutoConfig.from_pretrained(folder)).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
    # What a model has for images and sounds does not matter to a text.
    missing = {name for name in report["missing_keys"] if not re.match(r"model\.(embed_)?(vision|visual|multi_modal|connector|image|audio)", name)}
    if missing or report["mismatched_keys"]:
        raise ValueError(f"weights do not fit: {sorted(missing)}")
    model.eval()
    ids = torch.tensor([PROMPT])
    logits = model(ids, use_cache=False).logits[0].clone()
    if logits.isnan().any():
        raise ValueError("the logits are not numbers")
    own = getattr(FAMILIES.get(model.config.model_type), "cache", None)
    cache = own(model) if own else DynamicCache(config=model.config)
    steps, done = [], 0
    for span in (PROMPT[:PREFILL], *([token] for token in PROMPT[PREFILL:])):
        # Version 4 does not ask a cache of a family's own how many tokens it has.
        where = {"cache_position": torch.arange(done, done + len(span))} if own and VERSION != ORACLE else {}
        steps.append(model(torch.tensor([span]), past_key_values=cache, use_cache=True, **where).logits[0])
        done += len(span)
    if not torch.allclose(torch.cat(steps), logits, atol=1e-4):
        raise ValueError("with a cache the logits are others than without")
    return logits


def outcome(config: dict[str, Any], tensors: Path, answers: dict[str, torch.Tensor], keep: bool) -> Any:
    """The name of the logits in `answers`, which takes up new ones where it is to `keep` them; or the error."""
    try:
        logits = logits_of(config, tensors)
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


def write_answers(family: str, folder: Path) -> None:
    path, tensors, logits = (folder / name for name in ("answers.json", "model.safetensors", "logits.safetensors"))
    own = getattr(FAMILIES[family], "CASES", [])
    if VERSION == ORACLE:
        save_file(weights(family), tensors)
        known: dict[str, Any] = {"oracle": ORACLE, "prompt": PROMPT, "base": base(family), "keys": {}, "cases": own}
        answers: dict[str, torch.Tensor] = {}
    else:
        known, answers = json.loads(path.read_text()), load_file(logits)
    known["keys"][VERSION] = keys(family)
    outcomes = {}
    # A wrapper has cases of its own for its text.
    common = [case for case in COMMON if not (TEXT in base(family) and case["key"] == TEXT)]
    for case in (*common, *own):
        now = outcome(config_of(family, case), tensors, answers, keep=VERSION == ORACLE)
        if VERSION == ORACLE or kind(now) != kind(known[ORACLE][case["name"]]):
            outcomes[case["name"]] = now
        print(family, case["name"], now, flush=True)
    known[VERSION] = outcomes
    if VERSION == ORACLE:
        save_file(answers, logits)
    write_json(path, known)


def kind(outcome: Any) -> Any:
    """What counts when versions are compared: the answer, or that there is none."""
    return "error" if isinstance(outcome, dict) and "error" in outcome else outcome


# ---- how positions are rotated


@torch.no_grad()
def rope_of(config: dict[str, Any]) -> dict[str, tuple[list[list[float]], dict[str, Any]]]:
    """Frequencies and factor of the real model class, which a head must be able to use; and where it takes others for texts of more
    tokens than some border, these and the border. One for each kind of layer, or one for all."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        loaded = AutoConfig.from_pretrained(folder)
    loaded._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(loaded).eval()
    longest = config["max_position_embeddings"]
    model(torch.tensor([[1, 2, 3]]))
    model(torch.zeros((1, longest), dtype=torch.int64))
    return {kind: sets_of(module, prefix, longest) for kind, (module, prefix) in rotations(model).items()}


def sets_of(module: torch.nn.Module, prefix: str, longest: int) -> tuple[list[list[float]], dict[str, Any]]:
    """The one or two sets of frequencies for texts of up to `longest` tokens."""

    def of(tokens: int) -> list[float]:
        module(torch.zeros(1), torch.tensor([[tokens - 1]]), *filter(None, [prefix[:-1]]))
        frequencies = getattr(module, f"{prefix}inv_freq")
        if not frequencies.isfinite().all():
            raise ValueError("the frequencies are not finite")
        return [float(frequency) for frequency in frequencies]

    sets, about = [of(1)], {"factor": float(getattr(module, f"{prefix}attention_scaling"))}
    if of(longest) != sets[0]:
        about["border"] = bisect_left(range(1, longest), True, key=lambda tokens: of(tokens) != sets[0])
        sets.append(of(about["border"] + 1))
        if of(longest) != sets[1]:
            raise ValueError("the frequencies depend on the length of the text")
    return sets, about


def rotations(model: PreTrainedModel) -> dict[str, tuple[torch.nn.Module, str]]:
    """For each kind of layer, or for "" where one is for all, the module and the beginning of the names there."""
    decoder = decoder_of(model)
    rotary = getattr(decoder, "rotary_emb", None) or decoder.pos_emb
    if hasattr(decoder, "rotary_emb_local"):
        return {"full_attention": (rotary, ""), "sliding_attention": (decoder.rotary_emb_local, "")}
    if hasattr(rotary, "inv_freq"):
        return {"": (rotary, "")}
    return {kind: (rotary, f"{kind}_") for kind in rotary.rope_type}


def write_rope(family: str, folder: Path) -> None:
    path = folder / "rope.json"
    # What heads as wide as those of the variants need beside them.
    wide: dict[str, Any] = getattr(FAMILIES[family], "WIDE", {})
    known: dict[str, Any] = {"oracle": ORACLE, "base": {**base(family), **wide}, "frequencies": [], "cases": []}
    if VERSION != ORACLE:
        known = json.loads(path.read_text())
    old = {case["name"]: case for case in known["cases"]}
    cases = []
    for spec in (*COMMON_ROPE, *getattr(FAMILIES[family], "ROPE", [])):
        case = old.get(spec["name"], dict(spec))
        try:
            each: dict[str, Any] = {}
            for layers, (sets, about) in rope_of(config_of(family, {**spec, "set": {**wide, **spec["set"]}})).items():
                known["frequencies"] += [found for found in sets if found not in known["frequencies"]]
                names = zip(("frequencies", "long"), sets, strict=False)
                each[layers] = {**{name: known["frequencies"].index(found) for name, found in names}, **about}
            now = each.get("", {"kinds": each})
        except Exception as error:
            now = {"error": said(error)}
        if VERSION == ORACLE or kind(now) != kind(case[ORACLE]):
            case[VERSION] = now
        cases.append(case)
        print(family, spec["name"], now, flush=True)
    write_json(path, {**known, "cases": cases})


def said(error: Exception) -> str:
    """What the error says, without the place of a temporary folder."""
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/\w+", "the folder", str(error).strip())
    return f"{type(error).__name__}: {next(iter(text.splitlines()), '')}"[:90]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """One case, or one answer, a line: a change in one shows as one."""

    def lines(value: Any) -> str:
        match value:
            case list() if value and isinstance(value[0], dict):
                return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
            case dict() if any(isinstance(item, dict | str) for item in value.values()):
                return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()) + "\n}"
        return json.dumps(value)

    parts = (f"{json.dumps(key)}: {lines(value)}" for key, value in content.items())
    path.write_text("{" + ",\n".join(parts) + "}\n")


# ---- what the class of a text config says where the file does not


def write_defaults() -> None:
    """The shapes of every family's class, which published configs of larger models leave out of `text_config`."""
    shape = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")

    def number(value: Any) -> Any:
        # Some have one for each layer, all alike.
        return value[0] if isinstance(value, list) else value

    texts = [family for family in FAMILIES if TEXT not in base(family)]
    write_json(
        OUT / "text_defaults.json",
        {family: [number(getattr(CONFIG_MAPPING[family](), key, None)) for key in shape] for family in texts},
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    OUT.mkdir(exist_ok=True)
    write_json(OUT / "cases.json", {"cases": COMMON})
    if VERSION == ORACLE:
        write_defaults()
    for family in sys.argv[1:] or FAMILIES:
        if family in CONFIG_MAPPING:
            folder = OUT / family
            folder.mkdir(exist_ok=True)
            write_answers(family, folder)
            # A wrapper's language model rotates as it does alone, and some families do not rotate.
            if TEXT not in base(family) and getattr(FAMILIES[family], "ROPE", ()) is not None:
                write_rope(family, folder)


if __name__ == "__main__":
    main()
