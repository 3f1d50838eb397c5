"""The OpenAI API as its own client sees it, and what is refused: over a model of this process, without machines."""

import asyncio
import json
import os
import threading
import time
from types import SimpleNamespace

import pytest
from conftest import STORIES, TOP, python

import ortshard

pytest.importorskip("ray")
openai = pytest.importorskip("openai")
pytest.importorskip("fastapi")

from serving import NAME, LocalPipeline, asked, no_blanks, served

from ortshard.ray import NoCapacity
from ortshard.ray.serve import Slots, build, deployment, limits
from ortshard.ray.serve.guard import digest_of
from ortshard.serving import stages_of

PROMPT = "One rainy day a small fox"
HELLO = {"model": NAME, "messages": [{"role": "user", "content": PROMPT}]}
TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"what": {"enum": ["fox", "dog"]}},
            "required": ["what"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def pipeline(stories):
    return LocalPipeline(stories)


@pytest.fixture(scope="module")
def address(pipeline):
    with served(pipeline) as address:
        yield address


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).owned_by == "ortshard"
    with pytest.raises(openai.NotFoundError, match="there is no 'other'"):
        client.models.retrieve("other")
    with pytest.raises(openai.NotFoundError, match="there is no 'other'"):
        client.completions.create(model="other", prompt="a")


SAID = [
    ({"temperature": 0, "max_tokens": 60}, {"temperature": 0, "max_new_tokens": 60}),
    ({"temperature": 0.9, "seed": 7, "top_p": 0.9, "max_tokens": 50}, {"temperature": 0.9, "seed": 7, "top_p": 0.9, "top_k": 50, "max_new_tokens": 50}),
    ({"temperature": 0, "stop": ["girl", "kite", "."], "max_tokens": 90}, {"temperature": 0, "stop": ["girl", "kite", "."], "max_new_tokens": 90}),
    ({"temperature": 0, "presence_penalty": 1.5, "frequency_penalty": 0.5, "max_tokens": 40}, {"temperature": 0, "presence_penalty": 1.5, "frequency_penalty": 0.5, "max_new_tokens": 40}),
    ({"temperature": 0, "logit_bias": {"260": -100}, "max_tokens": 30}, {"temperature": 0, "biases": {260: -100.0}, "max_new_tokens": 30}),
    ({"temperature": 0.8, "seed": -3, "extra_body": {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "ignore_eos": True}, "max_tokens": 30},
     {"temperature": 0.8, "seed": 2**64 - 3, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "ignore_eos": True, "max_new_tokens": 30}),
    ({"temperature": 0}, {"temperature": 0, "max_new_tokens": 16}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "options"), SAID)
def test_a_completion_is_what_the_model_generates(client, stories, given, options):
    generation = stories.generate(PROMPT, capacity=512, **options)
    text = generation.read()
    whole = client.completions.create(model=NAME, prompt=PROMPT, **given)
    assert whole.choices[0].text == text
    reason = {ortshard.Finish.LENGTH: "length"}.get(generation.finish, "stop")
    assert whole.choices[0].finish_reason == reason
    ids = stories.tokenizer.encode(PROMPT)
    assert (whole.usage.prompt_tokens, whole.usage.total_tokens) == (len(ids), len(ids) + whole.usage.completion_tokens)
    assert whole.system_fingerprint == f"ortshard-{ortshard.__version__}"
    pieces = list(
        client.completions.create(model=NAME, prompt=[ids], stream=True, stream_options={"include_usage": True}, **given)
    )
    assert "".join(piece.choices[0].text for piece in pieces[:-1]) == text
    assert [piece.choices[0].finish_reason for piece in pieces[-2:-1]] == [reason]
    assert pieces[-1].usage == whole.usage and not pieces[-1].choices and all(piece.usage is None for piece in pieces[:-1])
    assert len(pieces) > 10 or "stop" in given


def test_without_a_seed_answers_differ(client):
    texts = {
        client.completions.create(model=NAME, prompt="The", temperature=1.5, max_tokens=20).choices[0].text for _ in range(4)
    }
    assert len(texts) > 1


def test_probabilities_are_those_of_the_model(client, stories):
    steps = list(stories.generate(PROMPT, capacity=512, temperature=0, max_new_tokens=12, logprobs=3).steps())
    texts = [stories.tokenizer.token_bytes(step.id).decode() for step in steps]
    told = client.completions.create(model=NAME, prompt=PROMPT, temperature=0, max_tokens=12, logprobs=3).choices[0].logprobs
    assert told.tokens == texts and told.token_logprobs == [step.logprob for step in steps]
    assert told.text_offset == [sum(map(len, texts[:i])) for i in range(12)]
    best = [sorted((one.logprob for one in step.best), reverse=True) for step in steps]
    assert [sorted(one.values(), reverse=True) for one in told.top_logprobs] == best
    options = {"model": NAME, "messages": HELLO["messages"], "temperature": 0, "max_completion_tokens": 12, "logprobs": True}
    chat = client.chat.completions.create(**options, top_logprobs=2).choices[0].logprobs.content
    same = list(stories.chat(HELLO["messages"], capacity=512, temperature=0, max_new_tokens=12, logprobs=2).generation.steps())
    assert [(one.token, bytes(one.bytes), one.logprob) for one in chat] == [
        (stories.tokenizer.token_bytes(step.id).decode(), stories.tokenizer.token_bytes(step.id), step.logprob) for step in same
    ]
    assert [[one.logprob for one in token.top_logprobs] for token in chat] == [
        [one.logprob for one in step.best] for step in same
    ]
    pieces = client.chat.completions.create(**options, stream=True)
    streamed = [token for piece in pieces if piece.choices[0].logprobs for token in piece.choices[0].logprobs.content]
    assert [token.logprob for token in streamed] == [step.logprob for step in same]
    assert all(token.top_logprobs == [] for token in streamed)


def test_a_chat_is_what_the_model_answers(client, stories):
    messages = [
        {"role": "developer", "content": "Once upon a time"},
        {"role": "user", "content": [{"type": "text", "text": " there was"}, {"type": "text", "text": "a fox"}]},
        {"role": "assistant", "content": None, "refusal": "."},
        {"role": "user", "content": " It", "name": "me"},
    ]
    plain = [{"role": "user", "content": "Once upon a time there was\na fox. It"}]
    wanted = stories.chat(plain, capacity=512, temperature=0, max_new_tokens=40).read()["content"]
    given = {"model": NAME, "messages": messages, "temperature": 0, "max_completion_tokens": 40}
    whole = client.chat.completions.create(**given)
    assert whole.choices[0].message.content == wanted and whole.choices[0].finish_reason == "length"
    pieces = list(client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True}))
    assert pieces[0].choices[0].delta.role == "assistant"
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces[:-1]) == wanted
    assert pieces[-2].choices[0].finish_reason == "length" and pieces[-1].usage == whole.usage
    # What a client takes from an answer it can give back.
    again = [*messages, whole.choices[0].message, {"role": "user", "content": "And"}]
    assert client.chat.completions.create(model=NAME, messages=again, max_tokens=3).usage.completion_tokens == 3


def test_control_tokens_that_a_client_writes_are_text(client, stories):
    told = client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "</s>"}], max_tokens=1)
    assert told.usage.prompt_tokens == 1 + len(stories.tokenizer.encode("</s>", add_special=False, special_as_text=True))


def test_an_answer_has_the_form_that_is_asked_for(client, stories):
    schema = {"type": "object", "properties": {"who": {"$ref": "#/$defs/animal"}, "age": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["who", "age"], "additionalProperties": False, "$defs": {"animal": {"enum": ["fox", "dog"]}}}  # fmt: skip
    asks = {"model": NAME, "messages": HELLO["messages"], "temperature": 0, "logit_bias": no_blanks(stories), "max_tokens": 60}
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}}
    told = client.chat.completions.create(**asks, response_format=form)
    answer = json.loads(told.choices[0].message.content)
    assert answer["who"] in ("fox", "dog") and answer["age"] in range(10) and told.choices[0].finish_reason == "stop"
    streamed = client.chat.completions.create(**asks, response_format=form, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in streamed) == told.choices[0].message.content
    free = client.chat.completions.create(**asks, response_format={"type": "json_object"})
    assert free.choices[0].message.content.startswith("{")


def test_a_tool_that_must_be_called_is(client, stories):
    other = {"type": "function", "function": {"name": "stop"}}
    asks = {"model": NAME, "messages": HELLO["messages"], "temperature": 0, "logit_bias": no_blanks(stories), "max_tokens": 60}
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    for tools, choice in [([strict], "required"), ([other, TOOL], {"type": "function", "function": {"name": "find"}})]:
        told = client.chat.completions.create(**asks, tools=tools, tool_choice=choice).choices[0]
        (call,) = told.message.tool_calls
        assert call.function.name == "find" and json.loads(call.function.arguments)["what"] in ("fox", "dog")
        assert told.finish_reason == "tool_calls" and told.message.content is None and call.id.startswith("call_")
        pieces = list(client.chat.completions.create(**asks, tools=tools, tool_choice=choice, stream=True))
        (streamed,) = [call for piece in pieces for call in piece.choices[0].delta.tool_calls or []]
        assert (streamed.index, streamed.function) == (
            0,
            streamed.function,
        ) and streamed.function.arguments == call.function.arguments
        assert pieces[-1].choices[0].finish_reason == "tool_calls"
    cut = client.chat.completions.create(**{**asks, "max_tokens": 4}, tools=[TOOL], tool_choice="required").choices[0]
    assert cut.finish_reason == "length" and cut.message.tool_calls is None and cut.message.content.startswith("{")
    # With the answer of the tool it goes on.
    call = {"id": "a1", "type": "function", "function": {"name": "find", "arguments": '{"what": "fox"}'}}
    history = [
        *HELLO["messages"],
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a1", "content": "found"},
    ]
    wanted = stories.chat([{"role": "user", "content": PROMPT + "found"}], capacity=512, temperature=0, max_new_tokens=9).read()
    told = client.chat.completions.create(
        model=NAME, messages=history, tools=[TOOL], tool_choice="none", temperature=0, max_tokens=9
    )
    assert told.choices[0].message.content == wanted["content"]


class Scripted(LocalPipeline):
    """Answers with a text that is given, whatever the model would say, and in the format that is given."""

    def __init__(self, model, case, finish=ortshard.Finish.EOS):
        super().__init__(model)
        self.case, self._end = case, finish
        self.tokenizer = SimpleNamespace(
            chat_text=model.tokenizer.chat_text,
            chat_ids=model.tokenizer.chat_ids,
            vocab_size=model.tokenizer.vocab_size,
            chat_parser=lambda **_: model.tokenizer.chat_parser(**{name: case[name] for name in ("format", "prompt", "tools")}),
        )

    def generate(self, prompt, **options):
        assert options["keep_special"]
        return self

    ids, prompt_length, cancelled, finish = [], 1, False, None

    def cancel(self):
        self.cancelled = True

    async def async_steps(self):
        for character in self.case["text"]:
            yield SimpleNamespace(id=5, text=character, finish=ortshard.Finish.NONE, best=(), logprob=0.0)
        self.finish = self._end


def test_answers_are_told_as_transformers_parses_them(stories):
    """In each model's own format: the goldens of the parser, through the whole service."""
    for case in json.loads((TOP / "tests/tokenizers/answers.json").read_text()):
        pipeline = Scripted(stories, case)
        with served(pipeline) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
            told = client.chat.completions.create(**HELLO).choices[0]
            pieces = [piece.choices[0] for piece in client.chat.completions.create(**HELLO, stream=True)]
        wanted = case["message"]
        message = told.message
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in wanted.get("tool_calls", [])]
        assert [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []] == calls
        assert (message.content or "").strip() == wanted.get("content", "").strip()
        assert getattr(message, "reasoning_content", None) == wanted.get("reasoning_content") or not wanted.get(
            "reasoning_content"
        )
        assert told.finish_reason == pieces[-1].finish_reason == ("tool_calls" if calls else "stop")
        streamed = [call for piece in pieces for call in piece.delta.tool_calls or []]
        assert [(call.index, call.function.name, json.loads(call.function.arguments)) for call in streamed] == [
            (i, *call) for i, call in enumerate(calls)
        ]
        assert "".join(piece.delta.content or "" for piece in pieces).strip() == (message.content or "").strip()


def test_one_call_is_one_where_there_may_not_be_more(stories):
    text = '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>\n<tool_call>\n{"name": "b", "arguments": {}}\n</tool_call>'
    pipeline = Scripted(stories, {"format": "qwen3", "prompt": "", "tools": None, "text": text})
    with served(pipeline) as address:
        _, told, _ = asked(address, HELLO)
        assert [call["function"]["name"] for call in told["choices"][0]["message"]["tool_calls"]] == ["a", "b"]
        pipeline.finish = None
        _, told, _ = asked(address, {**HELLO, "parallel_tool_calls": False})
        assert [call["function"]["name"] for call in told["choices"][0]["message"]["tool_calls"]] == ["a"]
        assert told["choices"][0]["finish_reason"] == "tool_calls" and pipeline.cancelled


def test_an_error_on_the_way_is_told_by_the_stream(stories):
    class Breaks(Scripted):
        async def async_steps(self):
            yield SimpleNamespace(id=5, text="so far", finish=ortshard.Finish.NONE, best=(), logprob=0.0)
            raise NoCapacity("no machine has room for a stage")

    case = {"format": "plain", "prompt": "", "tools": None, "text": ""}
    with served(Breaks(stories, case)) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="-", max_retries=0) as client:
        seen = ""
        with pytest.raises(openai.APIError, match="no machine has room"):
            for piece in client.chat.completions.create(**HELLO, stream=True):
                seen += piece.choices[0].delta.content or ""
        assert seen == "so far"
        with pytest.raises(openai.InternalServerError, match="no machine has room") as caught:
            client.chat.completions.create(**HELLO)
        assert caught.value.status_code == 503 and caught.value.code == "no_capacity"


def deep(levels):
    return "[" * levels + "]" * levels


CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
REFUSED = [
    (TEXT, {"n": 2}, "/n"),
    (TEXT, {"best_of": 2}, "/best_of"),
    (TEXT, {"echo": True}, "/echo"),
    (TEXT, {"suffix": "x"}, "/suffix"),
    (TEXT, {"prompt": ["a", "b"]}, "/prompt"),
    (TEXT, {"prompt": ""}, None),
    (TEXT, {"prompt": []}, "/prompt"),
    (TEXT, {"prompt": [5, 1536]}, "/prompt"),
    (TEXT, {"prompt": [-1]}, "/prompt/0"),
    (TEXT, {"prompt": "a\0b"}, "/prompt"),
    (TEXT, {"prompt": "a " * 3000}, "/prompt"),
    (TEXT, {"logprobs": 21}, "/logprobs"),
    (TEXT, {"max_tokens": 0}, "/max_tokens"),
    (TEXT, {"max_tokens": "9"}, "/max_tokens"),
    (TEXT, {"temperature": 2.1}, "/temperature"),
    (TEXT, {"temperature": True}, "/temperature"),
    (TEXT, {"top_p": 0}, "/top_p"),
    (TEXT, {"stop": ""}, "/stop"),
    (TEXT, {"stop": ["a"] * 17}, "/stop"),
    (TEXT, {"stop": ["a", "b" * 257]}, "/stop/1"),
    (TEXT, {"logit_bias": {"x": 1}}, "/logit_bias/x"),
    (TEXT, {"logit_bias": {"5": 101}}, "/logit_bias/5"),
    (TEXT, {"logit_bias": {"1536": 1}}, "/logit_bias/1536"),
    (TEXT, {"logit_bias": {"5": 1, "05": 1}}, "/logit_bias/05"),
    (TEXT, {"logit_bias": {str(i): 1 for i in range(1025)}}, "/logit_bias"),
    (TEXT, {"seed": 2**63}, "/seed"),
    (TEXT, {"stream_options": {"include_usage": True}}, "/stream_options"),
    (TEXT, {"stream": True, "stream_options": {"usage": True}}, "/stream_options/usage"),
    (TEXT, {"tempersture": 0}, "/tempersture"),
    (TEXT, {"a/b~c": 0}, "/a~1b~0c"),
    (CHAT, {"n": 2}, "/n"),
    (CHAT, {"messages": []}, "/messages"),
    (CHAT, {"messages": [{"role": "user"}]}, "/messages/0/content"),
    (CHAT, {"messages": [{"role": "user", "content": None}]}, "/messages/0/content"),
    (CHAT, {"messages": [{"role": "wizard", "content": "a"}]}, "/messages/0"),
    (CHAT, {"messages": [{"role": "user", "content": "a", "mood": "b"}]}, "/messages/0/mood"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "/messages/0/content/0/type"),
    (CHAT, {"messages": [{"role": "user", "content": "a"}] * 4097}, "/messages"),
    (CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}, "/messages/0/content"),
    (CHAT, {"messages": [{"role": "user", "content": "a " * 3000}]}, "/messages"),
    (CHAT, {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "[]"}}]}]}, "/messages/0/tool_calls/0/function/arguments"),
    (CHAT, {"messages": [{"role": "assistant", "content": "a", "audio": {"id": "x"}}]}, "/messages/0/audio"),
    (CHAT, {"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "/tools/0/type"),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "/tools/0/function/name"),
    (CHAT, {"tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]}, "/tools/0/function/strict"),
    (CHAT, {"tools": [TOOL] * 129}, "/tools"),
    (CHAT, {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"title": "x" * 70000}}}]}, "/tools"),
    (CHAT, {"tools": [TOOL, {"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {"x": {"foo": 1}}}}}], "tool_choice": "required"}, "/tools/1/function/parameters/properties/x/foo"),
    (CHAT, {"tool_choice": "required"}, "/tool_choice"),
    (CHAT, {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "lose"}}}, "/tool_choice/function/name"),
    (CHAT, {"tools": [TOOL], "response_format": {"type": "json_object"}}, "/response_format"),
    (CHAT, {"response_format": {"type": "xml"}}, "/response_format"),
    (CHAT, {"response_format": {"type": "json_schema"}}, "/response_format/json_schema"),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"foo": 1}}}}, "/response_format/json_schema/schema/foo"),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"title": "x" * 70000}}}}, "/response_format/json_schema/schema"),
    (CHAT, {"response_format": {"type": "json_object"}, "ignore_eos": True}, "/ignore_eos"),
    (CHAT, {"top_logprobs": 2}, "/top_logprobs"),
    (CHAT, {"logprobs": True, "top_logprobs": 21}, "/top_logprobs"),
    (CHAT, {"max_tokens": 3, "max_completion_tokens": 3}, "/max_tokens"),
    (CHAT, {"reasoning_effort": "high"}, "/reasoning_effort"),
    (CHAT, {"chat_template_kwargs": {"x": "y" * 70000}}, "/chat_template_kwargs"),
    (CHAT, {"modalities": ["text", "audio"]}, "/modalities"),
    (CHAT, {"store": True}, "/store"),
    *((CHAT, {name: {}}, f"/{name}") for name in ("audio", "functions", "function_call", "verbosity", "web_search_options")),
]  # fmt: skip


def test_what_is_refused_is_named(address):
    for path, fields, place in REFUSED:
        body = {"model": NAME, **({"prompt": "a"} if path == TEXT else HELLO), **fields}
        status, told, _ = asked(address, body, path)
        if place is None:
            assert status == 200, (fields, told)
            continue
        error = told["error"]
        assert (status, error["param"], error["type"]) == (400, place, "invalid_request_error"), (str(fields)[:200], told)
        assert place in error["message"] or place == "/prompt" or place == "/messages", told


def test_what_cannot_matter_is_taken(client):
    ignored = {"metadata": {"a": "b"}, "prediction": {"type": "content", "content": "x"}, "prompt_cache_key": "k", "safety_identifier": "u", "service_tier": "auto", "user": "me", "store": False, "n": 1, "modalities": ["text"]}  # fmt: skip
    plain = client.chat.completions.create(**HELLO, temperature=0, max_tokens=9)
    told = client.chat.completions.create(**HELLO, temperature=0, max_tokens=9, **ignored)
    assert told.choices[0].message == plain.choices[0].message
    assert client.completions.create(model=NAME, prompt="a", best_of=1, echo=False, max_tokens=1).usage.completion_tokens == 1


def test_bodies_that_are_none(address):
    for body, status in [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"model": "stories", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}', 400),
        (b'{"model": "stories", "prompt": ' + deep(100_000).encode() + b"}", 400),
        (
            b'{"model": "stories", "messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"a": '
            + deep(500).encode()
            + b"}}",
            400,
        ),
        (b'{"model": "' + b"x" * limits.BODY + b'"}', 413),
    ]:
        got, told, _ = asked(address, body)
        assert got == status and told["error"]["message"], (body[:80], got, told)
    assert asked(address, b"{}", content_type="text/plain")[0] == 415
    assert asked(address, b"{}", transfer_encoding="chunked")[0] in (400, 415)
    assert asked(address, b"{}", "/v1/nothing")[0] == 404 and asked(address, None, "/v1/completions")[0] == 405


def test_who_has_no_place_comes_again(stories):
    release = threading.Event()

    class Waits(LocalPipeline):
        def generate(self, prompt, **options):
            release.wait(60)
            return super().generate(prompt, **options)

    slots = Slots(1, 2)
    with served(Waits(stories), slots=slots) as address:
        results = []
        threads = [threading.Thread(target=lambda: results.append(asked(address, {**HELLO, "max_tokens": 2}))) for _ in range(3)]
        for thread in threads:
            thread.start()
        while slots.taken < 3:
            time.sleep(0.01)
        status, told, headers = asked(address, HELLO)
        assert status == 429 and told["error"]["code"] == "queue_full" and 1 <= int(headers["Retry-After"]) <= 60
        state = asked(address, None, "/state")[1]["requests"]
        assert (state["running"], state["waiting"], state["refused"]) == (1, 2, 1)
        release.set()
        for thread in threads:
            thread.join()
        assert [status for status, _, _ in results] == [200] * 3 and slots.taken == 0
        assert asked(address, {**HELLO, "max_tokens": 2})[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_there_is_room_again_before_the_last_part_goes(stories, stream):
    pipeline, slots, parts = LocalPipeline(stories), Slots(1, 0), []
    app = build(pipeline, NAME, context=512, slots=slots)
    body = json.dumps({**HELLO, "max_tokens": 2, "stream": stream}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        if message["type"] == "http.response.body":
            parts.append((message.get("more_body", False), slots.taken))

    asyncio.run(app(scope, receive, send))
    assert parts[-1] == (False, 0) and all(part == (True, 1) for part in parts[:-1]) and (len(parts) > 1) == stream
    assert (slots.taken, slots.answered) == (0, 1)


def test_a_key_is_asked_for(stories):
    with served(LocalPipeline(stories), key=digest_of("secret")) as address:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic secret"},
            {"authorization": "Bearer s\u00e9cret"},
        ):
            for path in ("/v1/models", "/state", "/openapi.json", "/v1/nothing"):
                status, told, answer = asked(address, None, path, **headers)
                assert (status, told["error"]["type"], answer["WWW-Authenticate"]) == (401, "authentication_error", "Bearer")
            assert asked(address, HELLO, **headers)[0] == 401
        assert asked(address, None, "/v1/models", authorization="Bearer secret")[0] == 200
        with openai.OpenAI(base_url=f"{address}/v1", api_key="secret") as client:
            assert client.models.list().data
        with openai.OpenAI(base_url=f"{address}/v1", api_key="other") as client, pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_names_from_elsewhere_are_refused(pipeline):
    with served(pipeline, hosts={"localhost", "127.0.0.1", "[::1]"}) as address:
        for host, status in [
            ("evil.example", 403),
            ("evil.example:80", 403),
            ("localhost", 200),
            ("[::1]:99", 200),
            ("127.0.0.1", 200),
        ]:
            assert asked(address, None, "/v1/models", host=host)[0] == status


def test_who_goes_ends_the_answer(stories):
    pipeline = LocalPipeline(stories)
    with served(pipeline) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="-", max_retries=0) as client:
        stream = client.chat.completions.create(**HELLO, stream=True, extra_body={"ignore_eos": True})
        next(stream)
        stream.close()
        deadline = time.monotonic() + 30
        while not pipeline.answers[-1].cancelled and time.monotonic() < deadline:
            time.sleep(0.02)
        assert pipeline.answers[-1].cancelled


def test_the_command_says_what_it_needs():
    code = "import sys; sys.modules['fastapi'] = None; from ortshard.cli import main; sys.exit(main(sys.argv[1:]))"
    done = python(code, "serve", STORIES)
    assert done.returncode == 1 and "pip install 'ortshard[serve]'" in done.stderr and "Traceback" not in done.stderr
    done = python("-m", "ortshard", "serve", STORIES, "--stages", "0-x")
    assert done.returncode == 2 and "0-11,12-23" in done.stderr
    assert stages_of("3") == 3 and stages_of("0-11,12-23") == [(0, 11), (12, 23)]


def test_a_start_that_fails_says_why(monkeypatch):
    told, ended = SimpleNamespace(proxies={"node": "HEALTHY"}, applications={}), []

    def fails(*_, **__):
        told.applications["ortshard"] = SimpleNamespace(message="Traceback ... NoCapacity: no machine has room\n")
        raise RuntimeError("Deploying application ortshard failed.")

    fake = SimpleNamespace(start=lambda **_: None, run=fails, status=lambda: told, shutdown=lambda: ended.append(True))
    monkeypatch.setattr(deployment, "serve", fake)
    without = SimpleNamespace(is_initialized=lambda: False)
    monkeypatch.setattr(deployment, "ray", without)
    monkeypatch.setattr(deployment, "connect", lambda _: os.stat("/nowhere"))
    with pytest.raises(ortshard.InvalidState, match="Ray does not start: .*nowhere"):
        deployment.start(STORIES)
    without.is_initialized = lambda: True
    monkeypatch.setattr(deployment, "application", lambda service: service)
    # Who has started it has said where it listens.
    with pytest.raises(ortshard.InvalidState, match="runs on this cluster already"):
        deployment.start(STORIES)
    told.proxies = {}
    with pytest.raises(ortshard.InvalidState, match="NoCapacity: no machine has room"):
        deployment.start(STORIES)
    assert ended == [True]
