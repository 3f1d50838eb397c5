"""The service as it is started, over a pipeline of three stages on Ray: the texts of one process, whatever is asked at once or lost."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest
from conftest import STORIES

import ortshard

pytest.importorskip("ray")
openai = pytest.importorskip("openai")
pytest.importorskip("fastapi")

from serving import asked, no_blanks

# Seconds for what takes some on a machine that others use.
PATIENCE = 240.0
PLACES, QUEUE, CLIENTS = 8, 64, int(os.environ.get("ORTSHARD_CLIENTS", "200"))
WORDS = ["fox", "girl", "kite", "lantern", "river", "garden", "boat", "bird", "stone", "tree"]
PROMPTS = [
    f"One day a {first} and a {second} went to the {place}" for first in WORDS[:5] for second in WORDS[3:8] for place in WORDS[2:]
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The command, as a person starts it: its address, and what ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("service") / "log"
    command = [
        sys.executable,
        "-m",
        "ortshard",
        "serve",
        STORIES,
        "--device",
        "cpu",
        "--stages",
        "3",
        "--spare",
        "1",
        "--cpus",
        "0.25",
    ]
    command += [
        "--port",
        str(port),
        "--queue",
        str(QUEUE),
        "--requests",
        str(PLACES),
        "--api-key-file",
        str(log.with_name("key")),
    ]
    log.with_name("key").write_text("secret\n")
    process = begun(command, log)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while f"{address} answers" not in log.read_text():
            if process.poll() is not None and "timed out during startup" in log.read_text():
                # On a machine that others keep busy Ray may give itself up.
                process = begun(command, log)
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
        stages = [stage["pid"] for stage in state(address)["stages"]]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0, log.read_text()
        until(lambda: not any(map(alive, stages)), "stages outlive the service")
    finally:
        with suppress(ProcessLookupError):
            process.kill()


def begun(command, log):
    with log.open("w") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


def alive(pid):
    try:
        # One that has ended, and that nobody has asked for, is no process any more.
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def state(address):
    return asked(address, None, "/state", authorization="Bearer secret")[1]


def until(holds, otherwise):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(base_url=f"{service}/v1", api_key="secret", max_retries=0, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def texts():
    """What the prompts' texts are in one process."""
    with ortshard.load(STORIES, device="cpu") as model:
        yield lambda prompt, **options: model.generate(prompt, capacity=512, **options).read()


def test_texts_are_those_of_one_process(client, texts):
    for prompt, given, options in [
        (PROMPTS[0], {"temperature": 0, "max_tokens": 40}, {"temperature": 0, "max_new_tokens": 40}),
        (PROMPTS[1], {"temperature": 0.9, "seed": 7, "top_p": 0.9, "max_tokens": 30}, {"temperature": 0.9, "seed": 7, "top_p": 0.9, "top_k": 50, "max_new_tokens": 30}),
        (PROMPTS[2], {"temperature": 0, "stop": ["."], "max_tokens": 200}, {"temperature": 0, "stop": ["."], "max_new_tokens": 200}),
    ]:  # fmt: skip
        wanted = texts(prompt, **options)
        told = client.completions.create(model="stories", prompt=prompt, **given)
        assert told.choices[0].text == wanted
        pieces = list(client.completions.create(model="stories", prompt=prompt, stream=True, **given))
        assert "".join(piece.choices[0].text for piece in pieces) == wanted and len(pieces) > 3
        # The template of this model is its text.
        chat = client.chat.completions.create(model="stories", messages=[{"role": "user", "content": prompt}], **given)
        assert chat.choices[0].message.content == wanted.strip() or chat.choices[0].message.content == wanted
        assert chat.usage == told.usage


def test_probabilities_and_forms_come_through_the_stages(client):
    with ortshard.load(STORIES, device="cpu") as model:
        steps = list(model.generate(PROMPTS[0], capacity=512, temperature=0, max_new_tokens=10, logprobs=2).steps())
        biases = no_blanks(model)
    told = (
        client.completions.create(model="stories", prompt=PROMPTS[0], temperature=0, max_tokens=10, logprobs=2)
        .choices[0]
        .logprobs
    )
    assert told.token_logprobs == [step.logprob for step in steps]
    tool = {"type": "function", "function": {"name": "find", "parameters": {"enum": [{"what": "fox"}, {"what": "dog"}]}}}
    asks = {
        "model": "stories",
        "messages": [{"role": "user", "content": PROMPTS[0]}],
        "temperature": 0,
        "max_tokens": 60,
        "logit_bias": biases,
    }
    called = client.chat.completions.create(**asks, tools=[tool], tool_choice="required").choices[0]
    assert json.loads(called.message.tool_calls[0].function.arguments)["what"] in ("fox", "dog")
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": {"enum": ["fox", "dog"]}}}
    assert json.loads(client.chat.completions.create(**asks, response_format=form).choices[0].message.content) in ("fox", "dog")


def test_many_clients_get_their_own_answers(service, texts):
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(CLIENTS)]
    wanted = {prompt: texts(prompt, temperature=0, max_new_tokens=12) for prompt in set(prompts)}
    heard = Counter()

    async def one(client, prompt, streams):
        while True:
            try:
                told = await client.completions.create(
                    model="stories", prompt=prompt, temperature=0, max_tokens=12, stream=streams
                )
                heard["answers"] += 1
                if streams:
                    return "".join([piece.choices[0].text async for piece in told])
                return told.choices[0].text
            except openai.RateLimitError as error:
                heard["429"] += 1
                assert error.code == "queue_full"
                await asyncio.sleep(int(error.response.headers["retry-after"]))

    async def everybody():
        async with openai.AsyncOpenAI(base_url=f"{service}/v1", api_key="secret", max_retries=0, timeout=PATIENCE) as client:
            return await asyncio.gather(*(one(client, prompt, i % 2 == 0) for i, prompt in enumerate(prompts)))

    started = time.monotonic()
    got = asyncio.run(everybody())
    assert got == [wanted[prompt] for prompt in prompts]
    # How many are refused depends on how soon others end.
    assert heard["answers"] == CLIENTS and heard["429"] > 0
    requests = state(service)["requests"]
    assert (requests["running"], requests["waiting"], requests["refused"]) == (0, 0, heard["429"])
    print(f"\n{CLIENTS} clients in {time.monotonic() - started:.1f} s, {heard['429']} times 429")


def test_who_goes_makes_room(service, client):
    before = state(service)["requests"]["left"]
    body = json.dumps({"model": "stories", "prompt": "Once", "max_tokens": 500, "ignore_eos": True, "temperature": 0})
    for streams in ('{"stream": true, ', "{"):
        raw = streams + body[1:]
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        sockets = [socket.create_connection(("127.0.0.1", int(service.rpartition(":")[2]))) for _ in range(PLACES)]
        for one in sockets:
            one.sendall((head + raw).encode())
        until(lambda: state(service)["requests"]["running"] == PLACES, "requests do not begin")
        for one in sockets:
            one.close()
        until(lambda: state(service)["requests"]["running"] == 0, "requests of clients that have gone run on")
    assert state(service)["requests"]["left"] > before
    # The pipeline has room as well, not only the door.
    assert client.completions.create(model="stories", prompt="Once", max_tokens=2).usage.completion_tokens == 2


def test_a_stage_is_killed_and_no_text_changes(service, texts):
    prompts = PROMPTS[:PLACES]
    wanted = [texts(prompt, temperature=0, max_new_tokens=120, ignore_eos=True) for prompt in prompts]
    seen = Counter()

    async def one(client, prompt):
        told = await client.completions.create(
            model="stories", prompt=prompt, temperature=0, max_tokens=120, stream=True, extra_body={"ignore_eos": True}
        )
        text = ""
        async for piece in told:
            text += piece.choices[0].text
            seen[prompt] += 1
        return text

    async def everybody(pid):
        async with openai.AsyncOpenAI(base_url=f"{service}/v1", api_key="secret", max_retries=0, timeout=PATIENCE) as client:
            tasks = [asyncio.ensure_future(one(client, prompt)) for prompt in prompts]
            while sum(seen.values()) < 80:
                await asyncio.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
            return await asyncio.gather(*tasks)

    before = state(service)
    assert asyncio.run(everybody(before["stages"][1]["pid"])) == wanted
    after = state(service)
    assert after["restarts"] >= before["restarts"] + 1 and any(1 in one["stages"] for one in after["recoveries"])
    assert after["stages"][1]["pid"] != before["stages"][1]["pid"]


def test_the_page_shows_the_pipeline(service, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as made:
        try:
            browser = made.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        page, troubles = browser.new_page(viewport={"width": 1100, "height": 800}), []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(service)
        # It asks for the key, and shows nothing before.
        page.get_by_text("an API key is needed").wait_for()
        assert page.locator("#stages tr").count() == 0
        page.get_by_label("API key").fill("secret")
        page.get_by_role("button", name="Show").click()
        page.locator("#stages tr").nth(2).wait_for()
        told = state(service)
        assert page.locator("h1").inner_text() == "stories" and not page.locator("#ask").is_visible()
        rows = [row.inner_text() for row in page.locator("#stages tr").all()]
        for row, stage in zip(rows, told["stages"], strict=True):
            assert f"{stage['first_layer']}–{stage['last_layer']}" in row and str(stage["pid"]) in row and re.search(r"\d %", row)
        assert page.locator("dl").inner_text().splitlines()[-1] == str(told["restarts"])
        assert page.locator("#recoveries tr").count() == max(len(told["recoveries"]), 1) and not troubles
        page.screenshot(path=os.environ.get("ORTSHARD_SCREENSHOT", str(tmp_path / "page.png")), full_page=True)
        browser.close()
