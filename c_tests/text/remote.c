/* A generation whose tokens the program runs gives what one on a request gives, told only logits; where one token decides, only that. */
#include <math.h>

#include "model.h"

enum { COUNT = 24, BEST = 3 };

static int64_t prompt[MOST], golden[MOST];
static size_t n;
static ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;

static ortshard_generation *remote(const ortshard_tokenizer *tokenizer, const ortshard_generation_options *options)
{
    ortshard_generation *generation;
    OK(ortshard_generation_create_remote(info.vocab_size, MOST, info.short_context, tokenizer, options, &generation));
    OK(ortshard_generation_append_ids(generation, prompt, n));
    return generation;
}

/* Runs what is pending on `request`, and gives the logits, or NULL if nothing is. */
static const float *run(ortshard_generation *generation, ortshard_request *request)
{
    static float logits[1 << 18];
    int64_t ids[MOST];
    size_t count, needed;
    OK(ortshard_generation_pending(generation, NULL, 0, &needed));
    OK(ortshard_generation_pending(generation, ids, MOST, &count));
    CHECK(count == needed);
    if (count == 0) return NULL;
    OK(ortshard_request_logits(request, ids, count, logits, sizeof logits / sizeof *logits, &needed));
    CHECK(needed == info.vocab_size);
    return logits;
}

/* Both give the same steps until the text ends. Returns how many of them needed a run. */
static size_t compare(const ortshard_shard *shard, const ortshard_tokenizer *tokenizer, const ortshard_generation_options *options)
{
    ortshard_request *here = request_on(shard), *there = request_on(shard);
    ortshard_generation *local, *generation = remote(tokenizer, options);
    OK(ortshard_generation_create(&here, 1, tokenizer, options, &local));
    OK(ortshard_generation_append_ids(local, prompt, n));
    ortshard_step wanted = ORTSHARD_STEP_INIT, step = ORTSHARD_STEP_INIT;
    size_t runs = 0, count;
    while (step.finish == ORTSHARD_FINISH_NONE) {
        const float *logits = run(generation, there);
        runs += logits != NULL;
        OK(ortshard_generation_step(local, &wanted));
        OK(ortshard_generation_step_with(generation, NULL, logits, logits ? info.vocab_size : 0, &step));
        CHECK(step.id == wanted.id && step.finish == wanted.finish && step.text_length == wanted.text_length);
        CHECK(memcmp(step.text, wanted.text, step.text_length) == 0);
        CHECK(step.logprob == wanted.logprob && step.best_count == wanted.best_count);
        for (size_t i = 0; i < step.best_count; i++) {
            CHECK(step.best[i].id == wanted.best[i].id && step.best[i].logprob == wanted.best[i].logprob);
        }
    }
    /* What has ended needs nothing. */
    OK(ortshard_generation_pending(generation, NULL, 0, &count));
    CHECK(count == 0);
    OK(ortshard_generation_step_with(generation, NULL, NULL, 0, &step));
    CHECK(step.id == ORTSHARD_NO_ID && step.finish == wanted.finish);
    ortshard_generation_free(generation);
    ortshard_generation_free(local);
    ortshard_request_free(here);
    ortshard_request_free(there);
    return runs;
}

/* Told the most probable token alone, and taken up by another half way. */
static void largest(const ortshard_shard *shard)
{
    ortshard_sampler_options sampling = ORTSHARD_SAMPLER_OPTIONS_INIT;
    sampling.temperature = 0;
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    options.sampling = &sampling;
    options.ignore_eos = 1;
    options.max_new_tokens = COUNT;
    ortshard_request *request = request_on(shard);
    ortshard_generation *generation = remote(NULL, &options), *other = remote(NULL, &options);
    ortshard_step step = ORTSHARD_STEP_INIT;
    size_t count;
    OK(ortshard_generation_candidates(generation, &count));
    CHECK(count == 1);
    int64_t no_id = info.vocab_size;
    float logit = 1, endless = INFINITY;
    FAILS(OUT_OF_RANGE, "outside the vocabulary", ortshard_generation_step_with(generation, &no_id, &logit, 1, &step));
    FAILS(OUT_OF_RANGE, "no token id", ortshard_generation_step_with(generation, &(int64_t){-1}, &logit, 1, &step));
    FAILS(INVALID_ARGUMENT, "not finite", ortshard_generation_step_with(generation, golden, &endless, 1, &step));
    FAILS(INVALID_ARGUMENT, "falling order",
          ortshard_generation_step_with(generation, golden, (const float[]){1, 2}, 2, &step));
    FAILS(INVALID_ARGUMENT, "1 decide here", ortshard_generation_step_with(generation, golden, &logit, 0, &step));
    FAILS(INVALID_ARGUMENT, "logits: there are 1", ortshard_generation_step_with(generation, NULL, &logit, 1, &step));
    for (int i = 0; i < COUNT; i++) {
        const float *logits = run(generation, request);
        CHECK(logits != NULL && logits[golden[i]] >= logits[golden[0]]);
        OK(ortshard_generation_step_with(generation, &golden[i], &logits[golden[i]], 1, &step));
        CHECK(step.id == golden[i]);
        if (i == COUNT / 2) {
            char state[4096];
            OK(ortshard_generation_export_state(generation, state, sizeof state, &count));
            OK(ortshard_generation_import_state(other, state, count));
            ortshard_generation_free(generation);
            OK(ortshard_generation_fork(other, &generation));
        }
    }
    CHECK(step.finish == ORTSHARD_FINISH_LENGTH);
    ortshard_generation_free(generation);

    /* It runs nothing itself, and one that does takes no logits from elsewhere. */
    FAILS(INVALID_STATE, "run elsewhere", ortshard_generation_step(other, &step));
    FAILS(INVALID_STATE, "run elsewhere", ortshard_generation_step_batch(&other, 1, &step, NULL));
    OK(ortshard_generation_cancel(other));
    OK(ortshard_generation_pending(other, NULL, 0, &count));
    CHECK(count == 0);
    OK(ortshard_generation_step_with(other, NULL, NULL, 0, &step));
    CHECK(step.finish == ORTSHARD_FINISH_CANCELLED);
    OK(ortshard_generation_append_ids(other, prompt, n));
    FAILS(INVALID_STATE, "run elsewhere", ortshard_generation_prefill(other, 1, &count));
    ortshard_generation_free(other);
    OK(ortshard_generation_create(&request, 1, NULL, &options, &generation));
    FAILS(INVALID_STATE, "runs its tokens itself", ortshard_generation_pending(generation, NULL, 0, &count));
    FAILS(INVALID_STATE, "runs its tokens itself", ortshard_generation_step_with(generation, golden, &logit, 1, &step));
    ortshard_generation_free(generation);
    OK(ortshard_generation_create_remote(info.vocab_size, MOST, 0, NULL, &options, &generation));
    FAILS(INVALID_STATE, "no prompt", ortshard_generation_pending(generation, NULL, 0, &count));
    ortshard_generation_free(generation);
    FAILS(INVALID_ARGUMENT, "capacity is 0", ortshard_generation_create_remote(9, 0, 0, NULL, NULL, &generation));
    FAILS(INVALID_ARGUMENT, "vocab_size is 0", ortshard_generation_create_remote(0, 9, 0, NULL, NULL, &generation));
    ortshard_request_free(request);
}

int main(void)
{
    n = ids_of("TEST_PROMPT", prompt);
    CHECK(ids_of("TEST_GREEDY", golden) >= COUNT);
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    OK(ortshard_shard_get_info(shard, &info));
    ortshard_tokenizer *tokenizer;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    largest(shard);

    ortshard_sampler_options sampling = ORTSHARD_SAMPLER_OPTIONS_INIT;
    sampling.seed = 5;
    sampling.repetition_penalty = 1.2F;
    sampling.frequency_penalty = 0.3F;
    sampling.no_repeat_ngram = 3;
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    options.sampling = &sampling;
    options.max_new_tokens = COUNT;
    options.stop = (const char *const[]){"qu"};
    options.stop_count = 1;
    compare(shard, tokenizer, &options);
    /* Where the grammar has one way on, nothing is run: but if probabilities are asked for. */
    options.grammar = "(9173|8264)[a-z]{3}[0-9]+";
    options.grammar_kind = ORTSHARD_GRAMMAR_REGEX;
    size_t runs = compare(shard, tokenizer, &options);
    options.logprobs = BEST;
    CHECK(runs < compare(shard, tokenizer, &options));
    ortshard_tokenizer_free(tokenizer);
    ortshard_shard_free(shard);
    return 0;
}
