"""Every model family gives transformers' logits and greedy ids through Python."""

import numpy as np
import pytest
from conftest import all_models, golden

import ortshard


@pytest.mark.parametrize("name", all_models())
def test_logits_and_greedy_ids(engine, name):
    model = golden(name)
    with engine.ensure_shard(model.path) as shard, shard.request() as request:
        ours, theirs = request.infer(model.prompt, "all"), model.tensor("logits")
        assert ours.shape == (1, *theirs.shape)
        assert np.abs(ours[0] - theirs).max() <= 1e-4 * np.abs(theirs).max()
        request.truncate(0)
        ids = [request.sample(model.prompt)]
        while len(ids) < len(model.greedy):
            ids.append(request.sample(ids[-1]))
        assert ids == model.greedy


@pytest.mark.parametrize("name", ["llama_gqa", "gemma2_plain", "qwen3_moe"])
def test_hidden_states_after_every_layer(engine, name):
    model = golden(name)
    for last in range(engine.model_info(model.path).layer_count - 1):
        with engine.ensure_shard(model.path, last_layer=last) as shard, shard.request() as request:
            ours, theirs = request.infer(np.array(model.prompt, np.int32)), model.tensor(f"hidden.{last}")
            assert np.abs(ours[0] - theirs).max() <= 1e-4 * np.abs(theirs).max(), last


def test_a_story_is_the_one_that_transformers_tells(stories):
    import json

    from conftest import MODELS

    for told in json.loads((MODELS / "stories_golden.json").read_text()):
        count = len(told["greedy_ids"])
        with stories.generate(told["prompt"], temperature=0, max_new_tokens=count, ignore_eos=True) as generation:
            steps = list(generation.steps())
        assert [step.id for step in steps] == told["greedy_ids"]
        assert stories.tokenizer.encode(told["prompt"]) == told["prompt_ids"]
        assert steps[-1].finish == ortshard.Finish.LENGTH == generation.finish
