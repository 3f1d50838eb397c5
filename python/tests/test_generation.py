"""Generations: their text, where it ends, how it is stopped, and many at once."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import MODELS, STORIES

import ortshard

TOLD = json.loads((MODELS / "stories_golden.json").read_text())[0]


def test_text_is_streamed_and_ends(stories):
    with stories.generate(TOLD["prompt"], temperature=0, max_new_tokens=len(TOLD["greedy_ids"]), ignore_eos=True) as generation:
        pieces = list(generation)
        assert "".join(pieces) == TOLD["text"] and len(pieces) > 10
        assert generation.finish == ortshard.Finish.LENGTH
        assert list(generation) == [] and generation.read() == ""
        # The next turn goes on behind it.
        generation.append(" the")
        assert generation.finish is None and generation.read()
    # Prompts are texts or ids; sampling is the options'.
    ids = stories.generate(TOLD["prompt_ids"], temperature=0, max_new_tokens=9)
    assert ids.read() == stories.generate(TOLD["prompt"], top_k=1, max_new_tokens=9).read()
    assert stories.generate("The", seed=1, temperature=1.5).read() != stories.generate("The", seed=2, temperature=1.5).read()


def test_stop_strings_end_it_across_tokens(stories):
    def told(**options):
        generation = stories.generate(TOLD["prompt"], temperature=0, **options)
        steps = list(generation.steps())
        return "".join(step.text for step in steps), steps[-1].finish, steps[-1].stop

    at = TOLD["text"].index("oak tree")
    assert told(stop=["nowhere", "oak tree"]) == (TOLD["text"][:at], ortshard.Finish.STOP, 1)
    assert told(stop="oak tree", include_stop=True)[0] == TOLD["text"][: at + len("oak tree")]
    # One that ends in the middle of a token.
    assert told(stop=["low o"])[0] == TOLD["text"][: TOLD["text"].index("low o")]


def test_logits_and_probabilities(stories):
    with stories.generate(TOLD["prompt"], temperature=0, max_new_tokens=3, logprobs=2, keep_logits=True) as generation:
        assert generation.logits() is None
        step = generation.step()
        assert step.best[0].id == step.id == int(generation.logits().argmax()) and step.best[0].logprob == step.logprob < 0
        assert step.best[0].text == step.text and step.best[1].logprob <= step.logprob
    with pytest.raises(ortshard.InvalidState, match="keep_logits"):
        stories.generate("A").logits()


def test_it_runs_on_requests_of_ones_own(stories):
    engines = [ortshard.Engine(device="cpu") for _ in range(2)]
    shards = [engines[0].ensure_shard(STORIES, last_layer=2), engines[1].ensure_shard(STORIES, first_layer=3)]
    requests = [shard.request() for shard in shards]
    with ortshard.Generation(requests, stories.tokenizer, sampling={"temperature": 0}, max_new_tokens=20) as generation:
        generation.append(TOLD["prompt"])
        assert generation.prefill(2) == len(TOLD["prompt_ids"]) - 2
        assert TOLD["text"].startswith(generation.read())
        with pytest.raises(ortshard.InvalidState):
            requests[0].infer([1])
    assert requests[0].position == requests[1].position > 20
    with pytest.raises(ortshard.InvalidArgument):
        ortshard.Generation([requests[0]])
    # Without a tokenizer: ids, and no text.
    bare = ortshard.Generation(stories.request(), sampling={"temperature": 0}, max_new_tokens=4)
    with pytest.raises(ortshard.InvalidState):
        bare.append("text")
    bare.append(TOLD["prompt_ids"])
    assert [step.id for step in bare.steps()] == TOLD["greedy_ids"][:4]


def test_open_needs_nothing_else():
    options = {"engine": {"device": "cpu"}, "request": {"capacity": 64}, "sampling": {"temperature": 0}}
    with ortshard.Generation.open(STORIES, max_new_tokens=20, **options) as generation:
        generation.append(TOLD["prompt"])
        assert TOLD["text"].startswith(generation.read())
    with ortshard.Generation.open(STORIES, published_sampling=True, max_new_tokens=3) as generation:
        generation.append("A")
        assert generation.read()
    here = {"fetch": lambda model, revision, file: Path(STORIES, file).resolve(strict=True)}
    with ortshard.Generation.open("my/stories", engine=here, max_new_tokens=3) as generation:
        generation.append("A")
        assert generation.read()

    def broken(model, revision, file):
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        ortshard.Generation.open("my/stories", engine={"fetch": broken})
    with pytest.raises(TypeError, match="no option 'capacty'; did you mean 'capacity'"):
        ortshard.Generation.open(STORIES, request={"capacty": 1})


def test_many_step_at_once_and_one_failure_is_its_own(stories):
    generations = [stories.generate(TOLD["prompt"], temperature=0, max_new_tokens=6) for _ in range(4)]
    texts = [""] * 4
    for _ in range(6):
        for i, step in enumerate(ortshard.step_batch(generations)):
            texts[i] += step.text
    assert len(set(texts)) == 1 and TOLD["text"].startswith(texts[0])
    assert all(generation.finish == ortshard.Finish.LENGTH for generation in generations)
    waiting = ortshard.Generation(stories.request())
    with pytest.raises(ortshard.BatchError, match="1 of 2 failed") as failed:
        ortshard.step_batch([stories.generate("A"), waiting])
    assert isinstance(failed.value.results[0], ortshard.Step) and isinstance(failed.value.results[1], ortshard.InvalidState)


def test_it_is_cancelled_from_another_thread(stories):
    generation, seen = stories.generate(TOLD["prompt"], ignore_eos=True), []
    for text in generation:
        seen.append(text)
        if len(seen) == 3:
            thread = threading.Thread(target=generation.cancel)
            thread.start()
            thread.join()
    assert generation.finish == ortshard.Finish.CANCELLED and len(seen) == 3
    # Before its long prompt has been run.
    generation = stories.generate([5] * 400)
    generation.cancel()
    assert list(generation) == [] and generation.finish == ortshard.Finish.CANCELLED


def test_a_callback_stops_it_and_what_it_raises_is_not_lost(stories):
    generation, seen = stories.generate(TOLD["prompt"], temperature=0), []

    def stops(step):
        seen.append(step)
        return len(seen) == 4

    assert generation.run(stops) == ortshard.Finish.CANCELLED
    assert [step.id for step in seen if step.id is not None] == TOLD["greedy_ids"][:4]

    def raises(step):
        raise KeyError(step.id)

    with pytest.raises(KeyError):
        stories.generate(TOLD["prompt"]).run(raises)


def test_many_threads_generate_at_once(stories):
    prompts = [case["prompt"] for case in json.loads((MODELS / "stories_golden.json").read_text())] * 3

    def tell(prompt):
        with stories.generate(prompt, temperature=0, max_new_tokens=12) as generation:
            return generation.read()

    alone = [tell(prompt) for prompt in prompts[:2]]
    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(tell, prompts[:2] * 4))
    assert told == alone * 4


def test_a_chat_is_answered(tmp_path):
    """The story model with a chat template: what it writes is the template's prompt, continued."""
    import shutil

    folder = shutil.copytree(STORIES, tmp_path / "chat")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    with ortshard.load(folder, device="cpu") as model:
        messages = [{"role": "user", "content": TOLD["prompt"]}]
        reply = model.chat(messages, temperature=0, max_new_tokens=20)
        text = "".join(reply)
        assert TOLD["text"].startswith(text.strip(" ")) or TOLD["text"].startswith(text)
        assert reply.message["role"] == "assistant" and reply.message["content"].strip() == text.strip()
        assert reply.finish == ortshard.Finish.LENGTH
        assert model.chat(messages, temperature=0, max_new_tokens=20).read() == reply.message
        with pytest.raises(TypeError, match="did you mean 'temperature'"):
            model.chat(messages, temprature=0)


def test_prompts_that_do_not_fit_or_are_none(stories):
    with pytest.raises(ortshard.ContextFull):
        stories.generate("word " * 600)
    with pytest.raises(ortshard.OutOfRange):
        stories.generate([10**6])
    with pytest.raises(ortshard.InvalidState):
        ortshard.Generation(stories.request(), stories.tokenizer).step()
    with pytest.raises(ortshard.InvalidArgument, match="published_sampling contradicts temperature"):
        stories.generate("A", published_sampling=True, temperature=0)
    full = stories.generate("One", capacity=8, ignore_eos=True)
    full.read()
    assert full.finish == ortshard.Finish.CONTEXT_FULL


def test_a_model_is_cut_for_the_memory_that_there_is(engine):
    def of(first, last):
        return engine.estimate(STORIES, context=256, first_layer=first, last_layer=last)

    def needs(first, last):
        return max(of(first, last).total_bytes, of(first, last).load_peak_bytes)

    def reads(first, last):
        # Half of a context is kept in the mean.
        return of(first, last).token_bytes + of(first, last).kv_bytes / 2

    def cuts(devices, **options):
        stages = ortshard.plan(engine, STORIES, devices, context=256, margin=0, **options)
        assert all(stage.needed_bytes == needs(stage.first_layer, stage.last_layer) <= stage.room_bytes for stage in stages)
        return [(stage.first_layer, stage.last_layer) for stage in stages]

    assert cuts([2**40]) == [(0, 5)]
    # Of all cuts in three the one whose slowest stage is fastest, by trying all of them.
    for speeds in ([1e9, 1e9, 1e9], [1e9, 4e8, 2e8], [2e8, 1e9, 5e8]):
        devices = [{"free_memory": 2**40, "bandwidth": speed, "is_required": True} for speed in speeds]
        tried = [((0, a), (a + 1, b), (b + 1, 5)) for a in range(4) for b in range(a + 1, 5)]
        slowest = {cut: max(reads(*part) / speed for part, speed in zip(cut, speeds)) for cut in tried}
        assert slowest[tuple(cuts(devices, keep_order=True))] == pytest.approx(min(slowest.values()))
    tight = [needs(0, 1), needs(2, 5)]
    assert cuts(tight, keep_order=True) == [(0, 1), (2, 5)]
    with pytest.raises(ortshard.OutOfMemory, match="one more device with room for"):
        cuts(tight[:1])
    with pytest.raises(ortshard.InvalidArgument, match="can be cut into no more than 6"):
        cuts([{"free_memory": 10**9, "is_required": True}] * 7)
    with pytest.raises(ortshard.InvalidArgument, match=r"devices\[1\].bandwidth is NaN"):
        cuts([1, {"free_memory": 1, "bandwidth": float("nan")}])
    with pytest.raises(TypeError, match="did you mean 'bandwidth'"):
        cuts([{"bandwith": 1}])
    # A model is not cut where hops cost more than it gains.
    slow = [{"free_memory": 2**40, "bandwidth": 1e9, "hop_seconds": 1.0}] * 3
    assert cuts(slow) == [(0, 5)]


@pytest.mark.skipif("ortshard_generation_fork" not in ortshard._abi.FUNCTIONS, reason="this library has no copies of generations")
def test_it_forks_and_travels(stories):
    options = {"temperature": 1.0, "seed": 5, "max_new_tokens": 30}
    generation = stories.generate(TOLD["prompt"], **options)
    for _ in range(10):
        generation.step()
    fork, state = generation.fork(), generation.export_state()
    rest = generation.read()
    assert rest and fork.read() == rest
    other = stories.generate("Another", **options)
    other.import_state(state)
    assert other.read() == rest
    with pytest.raises(ortshard.Malformed):
        other.import_state(state[:-1])


@pytest.mark.skipif("ortshard_constraint_create" not in ortshard._abi.FUNCTIONS, reason="this library has no grammars")
def test_it_keeps_to_a_grammar(stories):
    import re

    text = stories.generate(TOLD["prompt"], grammar="[a-z ]{5,9}[0-9]", grammar_kind="regex").read()
    assert re.fullmatch("[a-z ]{5,9}[0-9]", text)
    # A schema is a mapping, or its text.
    schema = {"enum": ["red", "green"]}
    for given in (schema, json.dumps(schema)):
        told = stories.generate(TOLD["prompt"], grammar=given, grammar_kind="json_schema").read()
        assert json.loads(told) in schema["enum"]
    # By a loop of one's own, and as a copy of one that was compiled before.
    compiled = ortshard.Constraint(stories.tokenizer, "[a-z ]{5,9}[0-9]", "regex")
    request, sampler, ids = stories.request(), ortshard.Sampler(temperature=0), stories.tokenizer.encode(TOLD["prompt"])
    with compiled.clone() as constraint:
        said = []
        while not said or not stories.tokenizer.is_eos(said[-1]):
            logits = request.logits(said[-1:] or ids)
            constraint.mask(logits)
            said.append(sampler.sample(logits))
            constraint.advance(said[-1])
    own = stories.tokenizer.decode(said, skip_special=True)
    assert own == stories.generate(TOLD["prompt"], constraint=compiled, temperature=0).read()
    with pytest.raises(ortshard.InvalidArgument):
        ortshard.Constraint(stories.tokenizer, "(", "regex")


@pytest.mark.parametrize("options", [{"temperature": 0}, {"seed": 3, "frequency_penalty": 0.5, "logprobs": 2, "stop": ["."]}])
def test_its_tokens_may_be_run_elsewhere(stories, options):
    sampling = {name: value for name, value in options.items() if name in ortshard.SamplerOptions.__annotations__}
    given = {"sampling": sampling, "max_new_tokens": 40, **{name: options[name] for name in options if name not in sampling}}
    request, steps = stories.request(), []
    remote = ortshard.Generation.remote(stories.shard.info.vocab_size, request.capacity, 0, stories.tokenizer, **given)
    assert (remote.candidates == 1) == (options == {"temperature": 0})
    remote.append(TOLD["prompt"])
    while remote.finish is None:
        logits = request.logits(remote.pending())
        best = np.argmax(logits)
        steps.append(remote.step_with([logits[best]], [best]) if remote.candidates == 1 else remote.step_with(logits))
    assert steps == list(stories.generate(TOLD["prompt"], **options, max_new_tokens=40).steps())
    with pytest.raises(ortshard.InvalidState, match="run elsewhere"):
        remote.append("x")
        remote.step()
    with pytest.raises(ortshard.InvalidArgument, match="2 ids and 1 logits"):
        remote.step_with([1.0], [1, 2])
