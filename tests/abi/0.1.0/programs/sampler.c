/* The sampler is greedy or seeded as asked, and refuses what is no logits. */
#include <math.h>

#include "check.h"

enum { N = 1000 };

static float logits[N];

static int64_t draw(ortshard_sampler *sampler)
{
    int64_t id = -1;
    OK(ortshard_sampler_sample(sampler, logits, N, &id));
    CHECK(id >= 0 && id < N);
    return id;
}

/* Each control reaches the sampler, and what contradicts itself is refused by both names. */
static void controls(void)
{
    ortshard_sampler *sampler;
    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;

    /* 30 is the largest; without it, the next of the same size; with 5 raised, 5. */
    int64_t banned[2] = {30, 131}, forced[2] = {7, 8}, raised = 5, eos = 30;
    options.banned = banned;
    options.banned_count = 2;
    options.forced = forced;
    options.forced_count = 2;
    OK(ortshard_sampler_create(&options, &sampler));
    CHECK(draw(sampler) == 7 && draw(sampler) == 8 && draw(sampler) == 232);
    ortshard_sampler_free(sampler);
    ortshard_bias biases[2] = {{&raised, 1, 100}, {forced, 2, -INFINITY}};
    options.biases = biases;
    options.bias_count = 2;
    options.forced_count = 0;
    OK(ortshard_sampler_create(&options, &sampler));
    CHECK(draw(sampler) == 5);
    ortshard_sampler_free(sampler);

    /* The text so far is the prompt and what was chosen. */
    options = (ortshard_sampler_options)ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;
    options.no_repeat_ngram = 1;
    OK(ortshard_sampler_create(&options, &sampler));
    OK(ortshard_sampler_accept(sampler, banned, 1));
    CHECK(draw(sampler) == 131 && draw(sampler) == 232);
    OK(ortshard_sampler_reset(sampler));
    CHECK(draw(sampler) == 30);
    int64_t negative = -1;
    FAILS(OUT_OF_RANGE, "ids: id -1", ortshard_sampler_accept(sampler, &negative, 1));
    ortshard_sampler_free(sampler);
    options.no_repeat_ngram = 0;
    options.presence_penalty = 2;
    OK(ortshard_sampler_create(&options, &sampler));
    OK(ortshard_sampler_accept(sampler, banned, 1));
    CHECK(draw(sampler) == 30 && draw(sampler) == 131);
    ortshard_sampler_free(sampler);
    options.presence_penalty = 0;
    options.min_new_tokens = 2;
    options.eos = &eos;
    options.eos_count = 1;
    OK(ortshard_sampler_create(&options, &sampler));
    CHECK(draw(sampler) == 131 && draw(sampler) == 131 && draw(sampler) == 30);
    ortshard_sampler_free(sampler);

    options.forced = &eos;
    options.forced_count = 1;
    FAILS(INVALID_ARGUMENT, "forced[0] is token 30, which ends the text, but min_new_tokens is 2",
          ortshard_sampler_create(&options, &sampler));
    options = (ortshard_sampler_options)ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.top_p = 1.5f;
    FAILS(INVALID_ARGUMENT, "top_p is 1.5", ortshard_sampler_create(&options, &sampler));
    options.top_p = 0.9f;
    options.min_p = 0.1f;
    options.typical_p = 0.9f;
    options.top_n_sigma = 1;
    options.repetition_penalty = 1.1f;
    options.frequency_penalty = 0.1f;
    options.penalty_window = 64;
    OK(ortshard_sampler_create(&options, &sampler));
    CHECK(draw(sampler) >= 0);
    ortshard_sampler_free(sampler);
    int64_t beyond = N;
    options.banned = &beyond;
    options.banned_count = 1;
    OK(ortshard_sampler_create(&options, &sampler));
    int64_t id = -7;
    FAILS(OUT_OF_RANGE, "banned names token 1000", ortshard_sampler_sample(sampler, logits, N, &id));
    CHECK(id == -7);
    ortshard_sampler_free(sampler);
}

int main(void)
{
    for (int i = 0; i < N; i++) logits[i] = (float)((i * 37) % 101) / 25.0f;
    ortshard_sampler *sampler, *twin;

    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;
    OK(ortshard_sampler_create(&options, &sampler));
    CHECK(draw(sampler) == 30); /* 30 * 37 = 1110 = 100 (mod 101), for the first time */
    ortshard_sampler_free(sampler);

    /* NULL means the documented defaults, and the same seed gives the same draws, also after a reset. */
    ortshard_sampler_options defaults = ORTSHARD_SAMPLER_OPTIONS_INIT;
    CHECK(defaults.temperature == 0.6f && defaults.top_k == 35 && defaults.seed == 1234);
    OK(ortshard_sampler_create(NULL, &sampler));
    OK(ortshard_sampler_create(&defaults, &twin));
    int64_t first[16], different = 0;
    for (int i = 0; i < 16; i++) {
        first[i] = draw(sampler);
        CHECK(draw(twin) == first[i]);
        different += first[i] != first[0];
    }
    CHECK(different > 0);
    OK(ortshard_sampler_reset(sampler));
    for (int i = 0; i < 16; i++) CHECK(draw(sampler) == first[i]);

    /* A failed call does not move the random stream. */
    OK(ortshard_sampler_reset(sampler));
    int64_t id = -7;
    float bad[3] = {0, NAN, 0}, masked[2] = {-INFINITY, -INFINITY};
    FAILS(INVALID_ARGUMENT, "logits[1]", ortshard_sampler_sample(sampler, bad, 3, &id));
    FAILS(INVALID_ARGUMENT, "minus infinity", ortshard_sampler_sample(sampler, masked, 2, &id));
    FAILS(INVALID_ARGUMENT, "empty", ortshard_sampler_sample(sampler, bad, 0, &id));
    CHECK(id == -7 && draw(sampler) == first[0]);

    /* Logits may lie anywhere in memory. */
    static char bytes[sizeof logits + 1];
    memcpy(bytes + 1, logits, sizeof logits);
    OK(ortshard_sampler_reset(sampler));
    OK(ortshard_sampler_sample(sampler, (const float *)(const void *)(bytes + 1), N, &id));
    CHECK(id == first[0]);
    ortshard_sampler_free(sampler);
    ortshard_sampler_free(twin);

    controls();

    options.temperature = -1;
    FAILS(INVALID_ARGUMENT, "temperature", ortshard_sampler_create(&options, &sampler));
    CHECK(sampler == NULL);
    options.temperature = NAN;
    FAILS(INVALID_ARGUMENT, "temperature", ortshard_sampler_create(&options, &sampler));
    return 0;
}
