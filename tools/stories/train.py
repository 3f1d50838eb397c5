"""Train the demo model in models/stories/ on stories from grammar.py.

A byte-level BPE tokenizer and a small Llama, both written as the ordinary
Hugging Face folder that ortshard reads. Needs no more than a CPU and
tools/goldens/requirements.txt; the best weights so far are saved on the way,
so the folder is usable soon after the start.

    python tools/stories/train.py [--minutes 24] [--threads 1]
"""

import argparse
import json
import math
import time
from itertools import count, islice
from pathlib import Path
from typing import Iterator

import torch
import transformers
from grammar import stories
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "models" / "stories"
GOLDEN = ROOT / "tests" / "models" / "stories_golden.json"
BOS, EOS = "<s>", "</s>"
VOCAB = 1536
CHUNK = 2048  # stories sorted by length at a time, so that batches need little padding
BATCH = 8
PEAK_RATE = 2e-3
COPYING_SHARE = 0.12  # of the time
GOLDEN_PROMPTS = ("Once upon a time", "One rainy morning, a small fox", "Zoë and André had a naïve plan – 海 🦊. One day,")
# A conversation is just the story so far.
CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}"


def train_tokenizer() -> Tokenizer:
    """Bytes first, so any text has ids; a BOS goes before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(stories(seed=1), 20000), trainer)
    bos_id = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, bos_id)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(OUT / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (OUT / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def new_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=192,
        intermediate_size=384,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        initializer_range=0.06,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
    ))


def batches(tokenizer: Tokenizer, seed: int) -> Iterator[torch.Tensor]:
    """Batches of whole stories, each closed by EOS and padded with it to one of a few lengths."""
    eos = tokenizer.token_to_id(EOS)
    order = torch.Generator().manual_seed(seed)
    source = stories(seed)
    while chunk := list(islice(source, CHUNK)):
        ids = sorted(([*encoding.ids, eos] for encoding in tokenizer.encode_batch(chunk)), key=len)
        for start in torch.randperm(CHUNK // BATCH, generator=order).tolist():
            rows = ids[start * BATCH : (start + 1) * BATCH]
            length = len(rows[-1]) + -len(rows[-1]) % 32
            yield torch.tensor([row + [eos] * (length - len(row)) for row in rows])


def copying(seed: int) -> Iterator[torch.Tensor]:
    """Rows that draw over and over on a few random tokens.

    A story repeats its few names, but too seldom for a small model to find out
    that it can look back for them. Here there is nothing else to learn.
    """
    random = torch.Generator().manual_seed(seed)
    while True:
        tokens = torch.randint(2, VOCAB, (BATCH * 2, 6), generator=random)
        few = torch.randint(2, 7, (BATCH * 2, 1), generator=random)
        picks = (torch.rand(BATCH * 2, 64, generator=random) * few).long()
        yield tokens.gather(1, picks)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy up to each story's first EOS: the padding teaches nothing."""
    target = ids[:, 1:].clone()
    ended = (target == model.config.eos_token_id).cumsum(1)
    target[(ended > 0) & ~((ended == 1) & (target == model.config.eos_token_id))] = -100
    return torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), target.flatten())


@torch.no_grad()
def validate(model: LlamaForCausalLM, held_out: list[torch.Tensor]) -> float:
    return sum(loss_of(model, ids).item() for ids in held_out) / len(held_out)


def save_model(model: LlamaForCausalLM) -> None:
    """Save as bfloat16, which is how such models are published."""
    saved = LlamaForCausalLM(model.config)
    saved.load_state_dict(model.state_dict())
    for weight in saved.parameters():
        weight.data = weight.data.bfloat16()
    saved.save_pretrained(OUT)


def train(model: LlamaForCausalLM, tokenizer: Tokenizer, minutes: float) -> None:
    """AdamW under a cosine schedule over wall time, so that it ends on time."""
    held_out = list(islice(batches(tokenizer, seed=2), 8))
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    told, copied = batches(tokenizer, seed=3), copying(seed=4)
    start, best = time.monotonic(), math.inf
    for step in count():
        done = (time.monotonic() - start) / (60 * minutes)
        warm_up = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * warm_up * (0.02 + 0.98 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)
        loss = loss_of(model, next(copied if done < COPYING_SHARE else told))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 199 or done >= 1:
            held = validate(model, held_out)
            print(f"step {step + 1}: {60 * minutes * done:.0f} s, loss {loss.item():.3f}, held out {held:.3f}", flush=True)
            if held < best:
                best = held
                save_model(model)
        if done >= 1:
            return


def write_golden(tokenizer: Tokenizer) -> None:
    """What transformers answers, in float32, from the weights that were saved."""
    model = AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32, attn_implementation="eager").eval()
    golden = []
    for prompt in GOLDEN_PROMPTS:
        ids = tokenizer.encode(prompt).ids
        told = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=300)[0].tolist()
        print(f"\n{tokenizer.decode(told)}")
        greedy = told[len(ids) :][:60]
        golden.append({"prompt": prompt, "prompt_ids": ids, "greedy_ids": greedy, "text": tokenizer.decode(greedy)})
    GOLDEN.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=24, help="how long to train")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer)
    model = new_model(tokenizer)
    print(f"{model.num_parameters():,} weights")
    train(model, tokenizer, options.minutes)
    write_golden(tokenizer)


if __name__ == "__main__":
    main()
