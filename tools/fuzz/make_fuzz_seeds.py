"""Writes the fuzz corpus's seeds: files as models have them, and one of each kind of wrong.

    python3 tools/fuzz/make_fuzz_seeds.py [fuzz/corpus]

Inputs that once broke something lie beside them as regression_*, and are kept by hand.
"""

import json
import pathlib
import random
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "fuzz" / "corpus"
TESTS = ROOT / "tests"


def seed(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, (bytes, str)):
        content = json.dumps(content)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def config(name):
    return json.loads((TESTS / "models" / name / "config.json").read_text())


def configs():
    for folder in sorted((TESTS / "models").iterdir()):
        if (folder / "config.json").exists():
            seed("config", folder.name, config(folder.name))
    base = config("mistral_window")
    for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "head_dim",
                "intermediate_size", "max_position_embeddings", "sliding_window", "rms_norm_eps", "rope_theta"]:
        for name, value in [("zero", 0), ("negative", -1), ("huge", 2**63), ("float", 1e308), ("text", "9"), ("list", [1])]:
            seed("config", f"{key}_{name}", base | {key: value})
    for name, keys in [
        ("glm4_moe_groups", ["n_routed_experts", "num_experts_per_tok", "n_shared_experts", "moe_intermediate_size", "n_group",
                             "topk_group", "first_k_dense_replace", "routed_scaling_factor"]),
        ("ernie_moe_16", ["moe_num_experts", "moe_k", "moe_num_shared_experts", "moe_layer_start_index",
                          "moe_layer_end_index", "moe_layer_interval", "moe_norm_min"]),
        ("minimax_16", ["num_local_experts", "rotary_dim"]),
        ("qwen2_moe_window", ["shared_expert_intermediate_size", "decoder_sparse_step", "max_window_layers"]),
        ("llama4_kinds", ["attention_chunk_size", "floor_scale", "attn_scale", "intermediate_size_mlp",
                          "interleave_moe_layer_step", "no_rope_layer_interval", "moe_layers", "no_rope_layers"]),
        ("gpt_oss_mxfp4", ["num_experts", "swiglu_alpha", "swiglu_limit", "quantization_config"]),
        ("gemma2_plain", ["query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"]),
        ("gemma3_images", ["text_config", "tie_word_embeddings"]),
        ("gemma4_shared", ["num_kv_shared_layers", "hidden_size_per_layer_input", "vocab_size_per_layer_input", "per_layer_config"]),
        ("gemma4_heads", ["global_head_dim", "num_global_key_value_heads"]),
        ("gemma4_experts", ["top_k_experts"]),
        ("gemma3n_shared", ["altup_num_inputs", "altup_active_idx", "laurel_rank", "activation_sparsity_pattern"]),
        ("exaone4_hybrid", ["sliding_window_pattern"]),
        ("granite_16", ["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"]),
        ("phimoe_16", ["router_jitter_noise", "lm_head_bias"]),
        ("cohere_16", ["logit_scale"]),
        ("granite_hybrid_stacked", ["mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv",
                                    "mamba_expand", "time_step_limit", "shared_intermediate_size"]),
        ("falcon_h1_bias", ["mamba_d_ssm", "ssm_multipliers", "mlp_multipliers", "key_multiplier", "lm_head_multiplier"]),
        ("nemotron_h_stacked", ["layers_block_type", "ssm_state_size", "mamba_num_heads", "mamba_head_dim", "n_groups",
                                "conv_kernel", "time_step_min", "moe_latent_size",
                                "moe_shared_expert_intermediate_size"]),
        ("nemotron_h_16", ["hybrid_override_pattern"]),
    ]:
        for key in keys:
            for kind, value in [("zero", 0), ("negative", -1), ("large", 2**20), ("float", 1e308), ("null", None)]:
                seed("config", f"{key}_{kind}", config(name) | {key: value})
    for kind in ["linear", "llama3", "yarn", "longrope"]:
        seed("config", f"rope_{kind}", base | {"rope_scaling": {"rope_type": kind, "factor": 1e-30}})
    seed("config", "rope_parameters", base | {"rope_parameters": {"rope_theta": 1.0000001, "rope_type": "yarn", "factor": 8.0}})
    seed("config", "rope_yarn_whole", base | {"rope_scaling": {
        "type": "yarn", "factor": 4, "original_max_position_embeddings": 64.0, "mscale": 1, "mscale_all_dim": 0,
        "attention_factor": None, "beta_fast": 32, "beta_slow": 0, "truncate": False, "partial_rotary_factor": 1.0}})
    seed("config", "rope_theta_tiny", base | {"rope_theta": 1e-300})
    seed("config", "rope_nested", base | {"rope_parameters": {"full_attention": {"rope_type": "default"}}})
    seed("config", "layer_types", base | {"layer_types": ["full_attention", "sliding_attention", "attention"]})
    seed("config", "not_finite", base | {"rms_norm_eps": float("nan"), "x": [float("inf"), "NaN \\", -float("inf")]})
    seed("config", "number_of_400_digits", base | {"head_dim": 10**400})
    seed("config", "byte_order_mark", "\ufeff" + json.dumps(base))
    seed("config", "lfs_pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    seed("config", "deep", '{"architectures":' + "[" * 5000)
    seed("config", "bad_utf8", b'{"architectures":["\xff\xfe"]}')


def safetensors():
    data = (TESTS / "models" / "mistral_window" / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    seed("safetensors", "whole_header", header)
    small = {name: header[name] for name in ["model.norm.weight", "model.embed_tokens.weight"]}
    size = sum(end - begin for begin, end in (t["data_offsets"] for t in small.values()))
    begin = 0
    for tensor in small.values():
        end = begin + tensor["data_offsets"][1] - tensor["data_offsets"][0]
        tensor["data_offsets"] = [begin, end]
        begin = end
    norm = small["model.norm.weight"]
    bend = lambda **changes: small | {"model.norm.weight": norm | changes}
    seed("safetensors", "small_header", small)
    seed("safetensors", "dtype", bend(dtype="I8"))
    seed("safetensors", "overlap", bend(data_offsets=[0, size]))
    seed("safetensors", "backwards", bend(data_offsets=[8, 0]))
    seed("safetensors", "beyond", bend(data_offsets=[2**62, 2**62 + 80]))
    seed("safetensors", "overflow", bend(shape=[2**33, 2**33]))
    seed("safetensors", "negative", bend(shape=[-40]))
    seed("safetensors", "empty_shape", bend(shape=[]))
    seed("safetensors", "zero", bend(shape=[0]))
    seed("safetensors", "odd_length", json.dumps(header) + " " * 3)
    for name, length in [("no_length", b""), ("huge_length", struct.pack("<Q", 2**63)), ("long_length", struct.pack("<Q", 10**8))]:
        seed("safetensors", name, length + b"{}")


def index():
    base = json.loads((TESTS / "models" / "llama_bias_sharded" / "model.safetensors.index.json").read_text())
    seed("index", "whole", base)
    for name, file in [("up", "../x"), ("absolute", "/etc/passwd"), ("missing", "nope.safetensors"), ("config", "config.json"),
                       ("number", 3), ("itself", "model.safetensors.index.json"), ("long", "a" * 5000), ("control", "a\u001b[2J")]:
        seed("index", name, base | {"weight_map": base["weight_map"] | {"model.norm.weight": file}})
    seed("index", "no_map", {"metadata": {}})
    seed("index", "list", {"weight_map": []})
    seed("index", "twice", '{"weight_map": {"a": "b"}, "weight_map": {"a": "b", "a": "c"}}')


def states():
    # Where it begins and ends, whether the text is long, where the window begins; then rows.
    rows = 2 * 2 * 16 * 4
    seed("state", "empty", b"\1" + struct.pack("<QQQ", 0, 0, 0))
    for position, name in [(1, "one"), (8, "full"), (9, "over"), (2**62, "huge")]:
        seed("state", name, b"\1" + struct.pack("<QQQQ", 0, position, 0, 0) + b"\0\0\x80\x3f" * (rows // 4 * min(position, 8)))
    # Requests are at position 2.
    for since, name in [(2, "since"), (1, "since_elsewhere")]:
        seed("state", name, b"\1" + struct.pack("<QQQQ", since, 4, 0, since) + b"\0\0\x80\x3f" * (rows // 4 * (4 - since)))
    seed("state", "not_a_number", b"\1" + struct.pack("<QQQQ", 0, 1, 0, 0) + b"\0\0\xc0\x7f" * (rows // 4))
    seed("state", "magic", b"\0ORTSHKV\0" + struct.pack("<I", 2) + bytes(80))
    seed("state", "nothing", b"\0")


def frames():
    change = lambda *changes: b"\2" + b"".join(struct.pack("<HB", at, value) for at, value in changes)
    seed("frame", "sound", change())
    for name, at in [("numbers", 32), ("layer_weights", 48), ("next_weights", 64), ("precision", 80), ("layer", 84), ("position", 88),
                     ("far_position", 95), ("tokens", 96), ("many_tokens", 100), ("long", 104), ("parts", 108), ("role", 112),
                     ("type", 116), ("width", 120), ("value", 131)]:
        seed("frame", name, change((at, 2)))
    seed("frame", "half", change((116, 4), (120, 2 * 40)))
    seed("frame", "not_a_number", change(*((at, 255) for at in range(128, 132))))
    seed("frame", "short", b"\1\x80" + bytes(40))
    seed("frame", "magic", b"\0ORTSFRM\0" + struct.pack("<IIQ", 1, 0, 2**62) + bytes(100))
    seed("frame", "nothing", b"\0")


def tokenizers():
    for folder in sorted((TESTS / "tokenizers").iterdir()):
        if (folder / "tokenizer.json").exists():
            seed("tokenizer", folder.name, (folder / "tokenizer.json").read_bytes())
    vocab = {chr(c): c - 32 for c in range(32, 127)}
    bpe = {"version": "1.0", "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "a"]] if "aa" in vocab else []}}
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    split = lambda regex: {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    seed("tokenizer", "plain", bpe)
    for name, part in [
        ("doubling", {"normalizer": {"type": "Sequence", "normalizers": [replace] * 4}}),
        ("backtracking", {"pre_tokenizer": split("(a|a|aa)+$(?=b)")}),
        ("repetition", {"pre_tokenizer": split("(?:a{100}){10}(?!b)")}),
        ("empty_pattern", {"pre_tokenizer": split("")}),
        ("fallback", {"decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"},
                                                                   {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}}),
        ("ctc", {"decoder": {"type": "CTC", "pad_token": "a", "word_delimiter_token": "|", "cleanup": True}}),
        ("added", {"added_tokens": [{"id": 200, "content": "<s>", "single_word": False, "lstrip": True, "rstrip": True,
                                     "normalized": True, "special": True}]}),
        ("bytes", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}),
        ("template", {"post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
                                         "pair": [], "special_tokens": {}}}),
    ]:
        seed("tokenizer", name, bpe | part)
    seed("tokenizer", "wordpiece", {"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1, "##a": 2}, "unk_token": "[UNK]",
                                              "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}})
    seed("tokenizer", "wordlevel", {"model": {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1}, "unk_token": "<unk>"}})
    seed("tokenizer_config", "tokens", {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True,
                                        "add_eos_token": False, "pad_token": None, "unk_token": "<unk>"})
    seed("tokenizer_config", "template", {"chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"})
    seed("tokenizer_config", "templates", {"chat_template": [{"name": "default", "template": "{{ bos_token }}"}]})
    seed("tokenizer_config", "wrong", {"chat_template": 3, "bos_token": []})


def templates():
    for path in sorted((TESTS / "tokenizers" / "chat").glob("*.jinja")):
        seed("chat_template", path.stem, path.read_text())
    loop = "{% for i in range(12) %}%s{% endfor %}"
    for name, text in [
        ("doubling", "{% set ns = namespace(x='ab') %}" + loop.replace("%s", "{% set ns.x = ns.x ~ ns.x %}", 1)),
        ("adding", "{% set ns = namespace(x=[1]) %}" + loop.replace("%s", "{% set ns.x = ns.x + ns.x %}", 1)),
        ("nesting", "{% set ns = namespace(x=[]) %}" + loop.replace("%s", "{% set ns.x = [ns.x] %}", 1) + "{{ ns.x }}"),
        ("cycle", "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}"),
        ("capture", "{% set x %}" + loop.replace("%s", "long text", 1) + "{% endset %}{{ x | length }}"),
        ("filters", "{{ 'a b' | replace('', 'ccc') | indent(4) | upper | list | batch(2) | list | tojson }}{{ '%5d' | format(3) }}"),
        ("methods", "{{ 'a,b'.split(',') | join('--') }}{{ ' x '.strip().title() }}{{ messages[0].items() | list }}"),
        ("macro", "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{% endif %}x{% endmacro %}{{ f(9) }}{{ messages[::-1] | length }}"),
        ("block", "{% block a %}{% filter upper %}b{% endfilter %}{% endblock %}{{ self.a() }}"),
        ("call", "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}"),
        ("generation", "{% generation %}a{% endgeneration %}{{ strftime_now('%Y') }}{{ raise_exception('no') }}"),
    ]:
        seed("chat_template", name, text)


def generations():
    # Magic, version, tokenizer, 22 options; then numbers of 8 bytes.
    begin = 8 + 4 + 32 + 8 + 22 * 32
    change = lambda *changes: b"\1" + b"".join(struct.pack("<HB", begin + at, value) for at, value in changes)
    seed("generation", "sound", change())
    for name, at in [("turn", 0), ("stop", 8), ("generated", 16), ("waiting", 24), ("waiting_token", 32), ("far_token", 34)]:
        seed("generation", name, change((at, 1)))
        seed("generation", "more_" + name, change((at, 6)))
    # What follows: whether tokens are kept and those, what has been drawn, what has been chosen, the text so far.
    for at in range(36, 400, 8):
        seed("generation", f"number_{at}", change((at, 3), (at + 4, 9)))
    seed("generation", "magic", b"\0ORTSGEN\0" + struct.pack("<I", 1) + bytes(900))
    seed("generation", "nothing", b"\0")


def grammars():
    seeds = {
        "object": 'j{"type":"object","properties":{"a":{"type":"integer"},"b":{"enum":[1,"x",null]}},"required":["a"]}',
        "reference": 'j{"$defs":{"n":{"anyOf":[{"type":"null"},{"items":{"$ref":"#/$defs/n"}}]}},"$ref":"#/$defs/n"}',
        "pattern": 'j{"type":"string","pattern":"^a{2,3}b?$","maxLength":9}',
        "array": 'j{"prefixItems":[{"const":1}],"items":{"type":"number","multipleOf":0.5},"maxItems":3}',
        "refused": 'j{"properties":{"a/~b":{"not":{}}}}',
        "date": "r[0-9]{4}-(0[1-9]|1[0-2])",
        "words": "r^(\\w+ ){2,5}[\u00e9\u4eca]$",
        "open group": "ra(b",
        "lines": 'lstart: (line "\\n")+\nline: NAME ("," NAME)*\nNAME: /[a-z]+/',
        "nested": 'lstart: "(" start ")" | %json {"type": "boolean"} | <|begin|>',
        "empty": 'lstart: ""',
        "fault": "lstart: )",
    }
    for name, text in seeds.items():
        seed("grammar", name.replace(" ", "_"), text + "\0\x05\x90\x33\x01\xfe\x40")


def stop_strings():
    for name, text in [
        ("none", "-1\n\nplain text"),
        ("across", "-1\nthe end\n\nand so on until the end of it"),
        ("included", "+3\nthe end\n\nand so on until the end of it"),
        ("nested", "-12\nabc\nab\nbcd\naab\n\nxaaaabcd"),
        ("itself", "-2\naabaabaac\naabaac\n\naabaabaabaacaabaabaac"),
        ("nearly", "-5\nab\u00e9\n\u00e9\u00e9a\n\n\u00e9a\u00e9\u00e9\u00e8ab\u00e8\u00e9\u00e9a"),
        ("emoji", "-1\n\U0001f30d!\n\n\U0001f30d\U0001f30d?\U0001f30d!"),
        ("twice", "+7\nx\nx\n\nyx"),
        ("at the end", "-4\nlong\n\nthis is not lon"),
    ]:
        seed("stop_strings", name.replace(" ", "_"), text)


def chats():
    call = {"type": "function", "id": "a", "function": {"name": "f", "arguments": {"x": [1, 1e-7, None, "<|eot|>"]}}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "a <|eot|>"}]},
                {"role": "assistant", "content": None, "thinking": "t", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "a", "name": "f", "content": {"r": 1}}, {"role": "user", "content": "b "}]
    for name, kind, value in [
        ("tools", 0, [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]),
        ("documents", 1, [{"title": "t", "text": "x"}]),
        ("variables", 2, {"more": {"a": [True, -1.5, "<|eot|>"]}}),
        ("name", 3, "default"),
        ("continued", 4, messages),
        ("whole", 5, messages),
        ("image", 6, [{"role": "user", "content": [{"type": "image"}]}]),
        ("key", 7, [{"role": "user", "<|eot|>": 1}]),
    ]:
        seed("chat_json", name, bytes([kind]) + json.dumps(value).encode())
    for name, text in [
        ("not_finite", '[{"role": "a", "content": "x", "n": [NaN, -Infinity, 1e999, 123456789012345678901234567890]}]'),
        ("surrogates", r'[{"role": "\ud83d\ude00", "content": "\ud800"}]'),
        ("twice", '[{"role": "a", "role": "b", "content": "c"}]'),
        ("deep", "[" * 70),
        ("marks", '[{"role": "a", "content": "<|e\U000f0000ot|>\U000f0001"}]'),
    ]:
        seed("chat_json", name, b"\5" + text.encode())


def answers():
    golden = json.loads((TESTS / "tokenizers" / "answers.json").read_text(encoding="utf-8"))
    formats = ["plain", "qwen3", "qwen3-coder", "llama3", "mistral", "gpt-oss", "deepseek", "gemma"]
    for number, case in enumerate(golden):
        start = bytes([formats.index(case["format"]), number % 7])
        seed("answer", f"{case['format']}_{number:02}", start + case["text"].encode())


def words():
    """Adds the keys that families read, and their names, to the words that the fuzzer writes."""
    path = CORPUS.parent / "json.dict"
    known = path.read_text().splitlines()
    found = set()

    def take(value):
        for key in value if isinstance(value, dict) else []:
            found.add(key)
            take(value[key])

    for folder in sorted(path for path in (TESTS / "models" / "configs").iterdir() if path.is_dir()):
        found.add(folder.name)
        for content in (json.loads(path.read_text()) for path in folder.glob("*.json")):
            for value in [content["base"], *(case["set"] for case in content["cases"])]:
                take(value)
            found.update(key for case in content["cases"] for key in case["drop"])
    quoted = {'"\\"%s\\""' % word for word in found}
    path.write_text("".join(f"{line}\n" for line in [*known, *sorted(quoted - set(known))]))


def calls():
    chance = random.Random(7)
    for i in range(24):
        seed("calls", f"random_{i:02}", bytes(chance.choice([chance.randrange(256), chance.randrange(8)]) for _ in range(40 + 30 * i)))
    for i in range(8):
        chats = [bytes([21, 0]) + chance.randbytes(10) for _ in range(40)]
        seed("calls", f"chat_{i:02}", b"".join(chats))


for make in [configs, words, safetensors, index, states, frames, generations, grammars, stop_strings, tokenizers, templates, chats, answers, calls]:
    make()
