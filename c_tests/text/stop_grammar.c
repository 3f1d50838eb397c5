/* What is cancelled while its grammar is compiled, or while its text is kept to it, says so soon: a cancellation never waits,
 * compiling takes what the header says, and a step ends with the token in work. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "model.h"

/* Members of the schema, each of which can be missing: it takes a tenth of a second to compile. */
enum { MEMBERS = 1000, TOKENS = 64 };

static char schema[MEMBERS * 64];
static ortshard_tokenizer *tokenizer;
static ortshard_request *request;
static ortshard_generation *generation;
static atomic_int compiling;

static double now(void)
{
    struct timespec at;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &at) == 0);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static ortshard_generation_options greedily(const ortshard_sampler_options *sampling)
{
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    options.sampling = sampling;
    options.max_new_tokens = TOKENS;
    return options;
}

/* Where the model's vocabulary is less than the tokenizer's, what ends a text must be in it. */
static ortshard_sampler_options sampler(void)
{
    static const int64_t end = 0;
    ortshard_sampler_options sampling = ORTSHARD_SAMPLER_OPTIONS_INIT;
    sampling.temperature = 0;
    sampling.eos = &end;
    sampling.eos_count = 1;
    return sampling;
}

static void *compile(void *unused)
{
    ortshard_sampler_options sampling = sampler();
    ortshard_generation_options options = greedily(&sampling);
    options.grammar = schema;
    options.grammar_kind = ORTSHARD_GRAMMAR_JSON_SCHEMA;
    compiling = 1;
    OK(ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
    return unused;
}

/* When it was cancelled. */
static double cancelled;

static void *stop(void *nanoseconds)
{
    nanosleep(&(struct timespec){0, *(long *)nanoseconds}, NULL);
    cancelled = now();
    OK(ortshard_generation_cancel(generation));
    return NULL;
}

int main(void)
{
    int64_t prompt[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_step step = ORTSHARD_STEP_INIT;
    pthread_t thread;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    char *end = schema + sprintf(schema, "{\"type\": \"object\", \"properties\": {\"a\": {}");
    for (int i = 0; i < MEMBERS; i++) end += sprintf(end, ", \"name_%d\": {\"type\": \"string\"}", i);
    sprintf(end, "}}");

    /* While it compiles. The request, which the generation has to itself, takes the cancellation at once, and keeps it for its
     * first run: only what is known without one comes before. */
    request = request_on(shard);
    CHECK(pthread_create(&thread, NULL, compile, NULL) == 0);
    while (!compiling) continue;
    nanosleep(&(struct timespec){0, 1000000}, NULL);
    double begin = now();
    OK(ortshard_request_cancel(request));
    double taken = now() - begin;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(taken < 0.5);
    OK(ortshard_generation_append_ids(generation, prompt, n));
    uint64_t position = 7;
    do OK(ortshard_generation_step(generation, &step));
    while (step.finish == ORTSHARD_FINISH_NONE);
    CHECK(step.finish == ORTSHARD_FINISH_CANCELLED && step.id == ORTSHARD_NO_ID);
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0);
    /* What was asked for next is given. */
    OK(ortshard_generation_append_ids(generation, NULL, 0));
    OK(ortshard_generation_step(generation, &step));
    CHECK(step.finish == ORTSHARD_FINISH_NONE && step.id != ORTSHARD_NO_ID);
    ortshard_generation_free(generation);
    ortshard_request_free(request);

    /* While it steps, sooner or later. */
    ortshard_sampler_options sampling = sampler();
    ortshard_generation_options options = greedily(&sampling);
    options.grammar = "(.|\n)*";
    options.grammar_kind = ORTSHARD_GRAMMAR_REGEX;
    sampling.min_new_tokens = TOKENS;
    double longest = 0;
    int times = 0;
    for (long wait = 0; wait < 8000000; wait += 400000) {
        request = request_on(shard);
        OK(ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
        OK(ortshard_generation_append_ids(generation, prompt, n));
        CHECK(pthread_create(&thread, NULL, stop, &wait) == 0);
        do OK(ortshard_generation_step(generation, &step));
        while (step.finish == ORTSHARD_FINISH_NONE);
        double answered = now();
        CHECK(pthread_join(thread, NULL) == 0);
        if (step.finish == ORTSHARD_FINISH_CANCELLED) {
            if (answered - cancelled > longest) longest = answered - cancelled;
            times++;
        } else CHECK(step.finish == ORTSHARD_FINISH_LENGTH);
        ortshard_generation_free(generation);
        ortshard_request_free(request);
    }
    CHECK(times > 0 && longest < 1);
    ortshard_tokenizer_free(tokenizer);
    ortshard_shard_free(shard);
    return 0;
}
