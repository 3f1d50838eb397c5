"""Tokenizers, chats and samplers give Python's transformers' answers through the package."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import TOP

import ortshard

TOKENIZERS = TOP / "tests/tokenizers"


@pytest.mark.parametrize("name", ["llama3", "llama2", "qwen", "gemma", "gpt2", "mistral", "unigram"])
def test_tokens_are_those_of_tokenizers(name):
    golden = json.loads((TOKENIZERS / name / "golden.json").read_text())
    tokenizer = ortshard.Tokenizer(TOKENIZERS / name)
    assert tokenizer.vocab_size == golden["vocab_size"]
    cases = [case for case in golden["encode"] if "\0" not in case["text"]]
    for case in cases:
        text = case["text"]
        assert tokenizer.encode(text) == case["ids"]
        assert tokenizer.encode(text, add_special=False) == case["plain"]
        ids, ranges = tokenizer.encode_with_ranges(text)
        assert ids == case["ids"] and [list(r) for r in ranges] == case["ranges"]
        with tokenizer.stream(skip_special=False) as stream:
            streamed = "".join([*map(stream.push, case["ids"]), stream.finish()])
        assert streamed == tokenizer.decode(case["ids"])
    assert tokenizer.encode_texts([case["text"] for case in cases]) == [case["ids"] for case in cases]
    assert tokenizer.encode_texts([]) == []
    with pytest.raises(ortshard.OutOfRange):
        tokenizer.decode([10**6])
    with pytest.raises(ortshard.InvalidArgument, match="NUL"):
        tokenizer.encode("a\0b")
    with pytest.raises(TypeError, match="encode\\(\\) takes one"):
        tokenizer.encode_texts("text")


def test_tokens_have_names_and_bytes(stories):
    tokenizer = stories.tokenizer
    id = tokenizer.encode(" time", add_special=False)[0]
    assert tokenizer.token_bytes(id) == b" time"
    assert tokenizer.token_to_id(tokenizer.id_to_token(id)) == id
    assert tokenizer.token_to_id("no such token") is None
    assert all(tokenizer.is_eos(id) for id in tokenizer.eos) and not tokenizer.is_eos(id)
    assert tokenizer.bos == 0 and tokenizer.is_special(0) and not tokenizer.is_special(id)
    with pytest.raises(ortshard.NotFound):
        ortshard.Tokenizer("/nowhere")


def opened(folder, name, templates):
    """The tokenizer `name` with these chat templates."""
    folder.mkdir()
    shutil.copy(TOKENIZERS / name / "tokenizer.json", folder)
    if isinstance(templates, dict):
        templates = [{"name": name, "template": text} for name, text in templates.items()]
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": templates}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return ortshard.Tokenizer(folder)


def test_chats_are_those_of_transformers(tmp_path):
    golden = json.loads((TOKENIZERS / "chats.json").read_text())
    tokenizers = {}
    for name, template, messages, options, text, *more in golden["cases"]:
        key = (name, template)
        if key not in tokenizers:
            place = tmp_path / f"{name}-{template}"
            tokenizers[key] = opened(place, golden["tokenizers"][name], golden["templates"][template])
        tokenizer, messages, options = tokenizers[key], golden["messages"][messages], dict(golden["options"][options])
        options = {"template_name" if key == "template" else key: value for key, value in options.items()}
        if text is None:
            with pytest.raises(ortshard.Error):
                tokenizer.chat_text(messages, **options)
            continue
        assert tokenizer.chat_text(messages, **options) == text
        ids, sanitised = more or (None, None)
        if ids is not None:
            assert tokenizer.chat_ids(messages, **options) == ids
        # Python's repr of parts escapes transformers' marks, and only there the two differ.
        if sanitised is not None and "[{'type': 'text'" not in text:
            assert tokenizer.chat_ids(messages, control_as_text=True, **options) == sanitised
    tokenizer = tokenizers[0, 0]
    assert tokenizer.chat_text([{"role": "user", "content": "Hi"}]) == tokenizer.chat_text('[{"role": "user", "content": "Hi"}]')
    with pytest.raises(ortshard.InvalidArgument, match="/messages/0"):
        tokenizer.chat_text([{"content": "Hi"}])


def test_answers_are_parsed_while_they_come(stories):
    for case in json.loads((TOKENIZERS / "answers.json").read_text()):
        options = {"format": case["format"], "prompt": case["prompt"], "tools": case["tools"]}
        with stories.tokenizer.chat_parser(**options) as parser:
            events = [event for character in case["text"] for event in parser.push(character)] + parser.finish()
            message = {key: value for key, value in parser.message.items() if value != ""}
            for call in message.get("tool_calls", []):
                # Which not every format has, and the golden leaves out.
                call.pop("id", None)
            assert message == case["message"]
        told = "".join(event.text for event in events if event.kind == ortshard.ChatEventKind.CONTENT)
        assert told.strip() == case["message"].get("content", "").strip()
        calls = [(event.name, json.loads(event.text)) for event in events if event.kind == ortshard.ChatEventKind.TOOL_CALL]
        wanted = [(call["function"]["name"], call["function"]["arguments"]) for call in case["message"].get("tool_calls", [])]
        assert calls == wanted
    with pytest.raises(ortshard.InvalidArgument, match="qwen3"):
        stories.tokenizer.chat_parser(format="mine")


def test_every_control_of_a_sampler_leaves_what_transformers_leaves():
    golden = json.loads((TOP / "tests/sampler.json").read_text())
    rows = [[float("-inf") if logit is None else logit for logit in row] for row in golden["rows"]]
    names = {field for struct, field in ortshard._abi.FIELDS if struct == "ortshard_sampler_options"}
    tried = 0
    for case in golden["cases"]:
        options = {name: value for name, value in case["options"].items() if name in names}
        ruled_out = {*options.get("banned", []), *options.get("eos", [])}
        if len(options) < len(case["options"]) or ruled_out & set(case["chosen"]):
            continue
        options["biases"] = [
            (bias["ids"], float("-inf") if bias["bias"] is None else bias["bias"]) for bias in options.get("biases", [])
        ]
        for seed in range(3):
            with ortshard.Sampler(seed=seed, forced=case["chosen"], **{"top_k": 0, "temperature": 1, **options}) as sampler:
                sampler.accept(case["prompt"])
                assert [sampler.sample(rows[case["row"]]) for _ in case["chosen"]] == case["chosen"]
                assert sampler.sample(rows[case["row"]]) in case["ids"]
        tried += 1
    assert tried > 200


def test_a_sampler_draws_again_and_is_used_by_one_thread():
    logits = [0.1 * i for i in range(50)]
    sampler = ortshard.Sampler(temperature=1, top_k=0, seed=7)
    first = [sampler.sample(logits) for _ in range(20)]
    sampler.reset()
    assert [sampler.sample(logits) for _ in range(20)] == first and len(set(first)) > 5
    assert ortshard.Sampler(temperature=0, biases={3: 100.0}).sample(logits) == 3
    assert ortshard.Sampler(temperature=0, biases=[([3, 4], 100.0)]).sample(logits) == 49
    assert ortshard.Sampler(temperature=0, banned=[49, 48]).sample(logits) == 47
    with pytest.raises(ortshard.InvalidArgument):
        sampler.sample([float("nan")])


def test_many_threads_share_a_tokenizer(stories):
    texts = [f"Story number {i} was about {i * i} foxes." for i in range(200)]
    alone = [stories.tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(stories.tokenizer.encode, texts)) == alone
