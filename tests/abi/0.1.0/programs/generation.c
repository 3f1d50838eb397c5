/* A generation gives the model's ids and their text on one request, on a chain and in a batch; it has its requests to itself,
 * and what cannot be is refused. */
#include "model.h"

enum { COUNT = 8, TOLD = 3 };

static int64_t prompt[MOST], golden[MOST];
static size_t n;

static ortshard_sampler_options greedily(void)
{
    ortshard_sampler_options sampling = ORTSHARD_SAMPLER_OPTIONS_INIT;
    sampling.temperature = 0;
    return sampling;
}

static ortshard_generation_options options_of(const ortshard_sampler_options *sampling)
{
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    options.sampling = sampling;
    options.max_new_tokens = COUNT;
    options.ignore_eos = 1;
    return options;
}

/* A generation on `requests` that has the prompt, and takes the largest logits. */
static ortshard_generation *on(ortshard_request *const *requests, size_t count, const ortshard_tokenizer *tokenizer)
{
    ortshard_sampler_options sampling = greedily();
    ortshard_generation_options options = options_of(&sampling);
    ortshard_generation *generation;
    OK(ortshard_generation_create(requests, count, tokenizer, &options, &generation));
    OK(ortshard_generation_append_ids(generation, prompt, n));
    return generation;
}

/* All steps; they give the model's ids. */
static void pull(ortshard_generation *generation, size_t from)
{
    ortshard_step step = ORTSHARD_STEP_INIT;
    for (size_t i = from; i < COUNT; i++) {
        CHECK(step.finish == ORTSHARD_FINISH_NONE);
        OK(ortshard_generation_step(generation, &step));
        CHECK(step.id == golden[i] && step.text[step.text_length] == '\0' && step.best == NULL);
    }
    CHECK(step.finish == ORTSHARD_FINISH_LENGTH && step.struct_size == sizeof step);
    OK(ortshard_generation_step(generation, &step));
    CHECK(step.id == ORTSHARD_NO_ID && step.text_length == 0 && step.finish == ORTSHARD_FINISH_LENGTH);
}

/* Its requests are its own until it is freed, and then go on from where it left them. */
static void one(const ortshard_shard *shard)
{
    ortshard_request *request = request_on(shard);
    ortshard_generation *generation = on(&request, 1, NULL), *second;
    uint64_t position;
    int64_t id = 1;
    size_t left;
    OK(ortshard_generation_prefill(generation, 2, &left));
    CHECK(left == n - 2);
    OK(ortshard_request_position(request, &position));
    CHECK(position == 2);
    /* A step with nowhere to go is not made. */
    ortshard_step nowhere = ORTSHARD_STEP_INIT;
    nowhere.struct_size = 5;
    FAILS(INVALID_ARGUMENT, "struct_size is 5", ortshard_generation_step(generation, &nowhere));
    FAILS(INVALID_STATE, "in use", ortshard_request_sample(request, prompt, 1, NULL, &id));
    FAILS(INVALID_STATE, "requests[0] is in use", ortshard_generation_create(&request, 1, NULL, NULL, &second));
    CHECK(second == NULL);
    pull(generation, 0);
    FAILS(INVALID_STATE, "keep_logits", ortshard_generation_logits(generation, NULL, 0, &left));
    ortshard_generation_free(generation);
    OK(ortshard_request_position(request, &position));
    CHECK(position == n + COUNT - 1);
    OK(ortshard_request_sample(request, &golden[COUNT - 1], 1, NULL, &id));
    CHECK(id == golden[COUNT]);
    ortshard_request_free(request);

    /* What is needed stays alive. */
    request = request_on(shard);
    generation = on(&request, 1, NULL);
    ortshard_request_free(request);
    pull(generation, 0);
    ortshard_generation_free(generation);
}

static void chain(void)
{
    ortshard_shard *shards[2] = {load(0, 0), load(1, ORTSHARD_LAST_LAYER)};
    ortshard_request *requests[2] = {request_on(shards[0]), request_on(shards[1])};
    ortshard_generation *generation = on(requests, 2, NULL);
    pull(generation, 0);
    ortshard_generation_free(generation);
    FAILS(INVALID_ARGUMENT, "starts at layer 1", ortshard_generation_create(&requests[1], 1, NULL, NULL, &generation));
    FAILS(INVALID_ARGUMENT, "gives no logits", ortshard_generation_create(&requests[0], 1, NULL, NULL, &generation));
    FAILS(INVALID_ARGUMENT, "no requests", ortshard_generation_create(requests, 0, NULL, NULL, &generation));
    for (int i = 0; i < 2; i++) {
        ortshard_request_free(requests[i]);
        ortshard_shard_free(shards[i]);
    }
}

/* Steps of many; one without a prompt fails alone. */
static void batch(const ortshard_shard *shard)
{
    ortshard_request *requests[TOLD];
    ortshard_generation *generations[TOLD];
    ortshard_step steps[TOLD];
    ortshard_status statuses[TOLD];
    for (int i = 0; i < TOLD; i++) {
        requests[i] = request_on(shard);
        OK(ortshard_step_init(&steps[i], sizeof steps[i]));
        if (i > 0) generations[i] = on(&requests[i], 1, NULL);
        else OK(ortshard_generation_create(&requests[i], 1, NULL, NULL, &generations[i]));
    }
    steps[2].struct_size = 8;
    FAILS(INVALID_ARGUMENT, "steps[2].struct_size", ortshard_generation_step_batch(generations, TOLD, steps, statuses));
    steps[2].struct_size = sizeof steps[2];
    for (int i = 0; i < COUNT; i++) {
        FAILS(INVALID_STATE, "generations[0]: the generation has no prompt",
              ortshard_generation_step_batch(generations, TOLD, steps, statuses));
        CHECK(statuses[0] == ORTSHARD_ERROR_INVALID_STATE && statuses[1] == ORTSHARD_OK && statuses[2] == ORTSHARD_OK);
        CHECK(steps[0].id == 0 && steps[1].id == golden[i] && steps[2].id == golden[i]);
    }
    CHECK(steps[1].finish == ORTSHARD_FINISH_LENGTH);
    ortshard_generation_free(generations[0]);
    generations[0] = generations[1];
    FAILS(INVALID_STATE, "generations[1] is in use", ortshard_generation_step_batch(generations, TOLD, steps, NULL));
    OK(ortshard_generation_step_batch(NULL, 0, NULL, NULL));
    ortshard_generation_free(generations[1]);
    ortshard_generation_free(generations[2]);
    for (int i = 0; i < TOLD; i++) ortshard_request_free(requests[i]);
}

struct heard {
    size_t count, most;
    char text[4096];
    size_t length;
};

static int32_t hear(const ortshard_step *step, void *user_data)
{
    struct heard *heard = user_data;
    memcpy(heard->text + heard->length, step->text, step->text_length);
    heard->length += step->text_length;
    return ++heard->count == heard->most;
}

/* The text is that of a text stream, whoever pulls. */
static void text(const ortshard_shard *shard)
{
    ortshard_tokenizer *tokenizer;
    ortshard_text_stream *stream;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    OK(ortshard_text_stream_create(tokenizer, 1, &stream));
    char wanted[4096];
    size_t length = 0, size;
    const char *piece;
    for (int i = 0; i < COUNT; i++) {
        if (ortshard_text_stream_push(stream, golden[i], &piece, &size) != ORTSHARD_OK) continue;
        memcpy(wanted + length, piece, size);
        length += size;
    }
    OK(ortshard_text_stream_finish(stream, &piece, &size));
    memcpy(wanted + length, piece, size);
    length += size;
    ortshard_text_stream_free(stream);

    ortshard_request *request = request_on(shard);
    ortshard_generation *generation = on(&request, 1, tokenizer);
    struct heard heard = {0};
    int32_t finish = -1;
    OK(ortshard_generation_run(generation, hear, &heard, &finish));
    CHECK(finish == ORTSHARD_FINISH_LENGTH && heard.count == COUNT);
    CHECK(heard.length == length && memcmp(heard.text, wanted, length) == 0);
    ortshard_generation_free(generation);
    ortshard_request_free(request);

    /* The callback ends it. */
    request = request_on(shard);
    generation = on(&request, 1, tokenizer);
    heard = (struct heard){.most = 2};
    OK(ortshard_generation_run(generation, hear, &heard, &finish));
    CHECK(finish == ORTSHARD_FINISH_CANCELLED && heard.count == 2);
    OK(ortshard_generation_append_ids(generation, NULL, 0));
    ortshard_step step = ORTSHARD_STEP_INIT;
    OK(ortshard_generation_step(generation, &step));
    CHECK(step.id == golden[2]);
    OK(ortshard_generation_cancel(generation));
    OK(ortshard_generation_step(generation, &step));
    CHECK(step.id == ORTSHARD_NO_ID && step.finish == ORTSHARD_FINISH_CANCELLED);
    ortshard_generation_free(generation);
    ortshard_request_free(request);
    ortshard_tokenizer_free(tokenizer);
}

/* The most probable tokens come with their texts. */
static void pieces(const ortshard_shard *shard)
{
    ortshard_tokenizer *tokenizer;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    ortshard_request *request = request_on(shard);
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    options.logprobs = TOLD;
    options.max_new_tokens = COUNT;
    ortshard_generation *generation;
    OK(ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
    OK(ortshard_generation_append_ids(generation, prompt, n));
    ortshard_step step = ORTSHARD_STEP_INIT;
    while (step.finish == ORTSHARD_FINISH_NONE) {
        OK(ortshard_generation_step(generation, &step));
        CHECK(step.best_count == TOLD && step.logprob <= step.best[0].logprob);
        for (size_t i = 0; i < TOLD; i++) {
            const ortshard_logprob *told = &step.best[i];
            char text[256] = "";
            size_t size = 1; /* A model may have more ids than its tokenizer: such an id has no text. */
            ortshard_status status = ortshard_tokenizer_decode(tokenizer, &told->id, 1, 0, text, sizeof text, &size);
            CHECK(status == ORTSHARD_OK || status == ORTSHARD_ERROR_OUT_OF_RANGE);
            CHECK(told->text_length == size - 1 && memcmp(told->text, text, size) == 0);
        }
    }
    ortshard_generation_free(generation);
    ortshard_request_free(request);
    ortshard_tokenizer_free(tokenizer);
}

/* All that opening takes: probabilities, logits, how the publisher wants tokens chosen, room. */
static void opened(void)
{
    ortshard_sampler_options sampling = greedily();
    ortshard_generation_options options = options_of(&sampling);
    ortshard_engine_options engine = on_device();
    ortshard_request_options small = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.logprobs = TOLD;
    options.keep_logits = 1;
    options.engine = &engine;
    options.request = &small;
    small.capacity = (uint32_t)n + 2;
    ortshard_generation *generation;
    OK(ortshard_generation_open(setting("TEST_MODEL"), &options, &generation));
    FAILS(INVALID_STATE, "no tokenizer", ortshard_generation_append_text(generation, "x", 1));
    OK(ortshard_generation_append_ids(generation, prompt, n));
    FAILS(CONTEXT_FULL, "room for 2", ortshard_generation_append_ids(generation, prompt, 3));
    size_t needed = 7;
    OK(ortshard_generation_logits(generation, NULL, 0, &needed));
    CHECK(needed == 0);
    ortshard_step step = ORTSHARD_STEP_INIT;
    OK(ortshard_generation_step(generation, &step));
    CHECK(step.id == golden[0] && step.best_count == TOLD && step.best[0].id == step.id);
    CHECK(step.logprob < 0 && step.logprob == step.best[0].logprob && step.best[1].logprob <= step.logprob);
    CHECK(step.best[0].text[0] == '\0' && step.best[0].text_length == 0);
    OK(ortshard_generation_logits(generation, NULL, 0, &needed));
    float *logits = malloc(needed * sizeof *logits), least;
    CHECK(logits != NULL && needed > (size_t)golden[0]);
    FAILS(BUFFER_TOO_SMALL, "room for 1", ortshard_generation_logits(generation, &least, 1, &needed));
    OK(ortshard_generation_logits(generation, logits, needed, &needed));
    for (size_t i = 0; i < needed; i++) CHECK(logits[i] <= logits[golden[0]]);
    free(logits);
    FAILS(INVALID_STATE, "has not ended", ortshard_generation_append_ids(generation, prompt, 1));
    for (int i = 1; i < 3; i++) OK(ortshard_generation_step(generation, &step));
    CHECK(step.id == golden[2] && step.finish == ORTSHARD_FINISH_CONTEXT_FULL);
    ortshard_generation_free(generation);

    /* The publisher does not sample. */
    options = (ortshard_generation_options)ORTSHARD_GENERATION_OPTIONS_INIT;
    options.engine = &engine;
    options.max_new_tokens = COUNT;
    options.ignore_eos = 1;
    options.published_sampling = 1;
    OK(ortshard_generation_open(setting("TEST_MODEL"), &options, &generation));
    OK(ortshard_generation_append_ids(generation, prompt, n));
    pull(generation, 0);
    ortshard_generation_free(generation);

    /* What the folder is, and what contradicts itself. */
    options.sampling = &sampling;
    FAILS(INVALID_ARGUMENT, "published_sampling is set, but so is options->sampling",
          ortshard_generation_open(setting("TEST_MODEL"), &options, &generation));
    options.published_sampling = 0;
    FAILS(NOT_FOUND, "no/such", ortshard_generation_open("no/such/folder/", NULL, &generation));
    sampling.eos = golden;
    sampling.eos_count = 1;
    FAILS(INVALID_ARGUMENT, "ignore_eos is set, but eos", ortshard_generation_open(setting("TEST_MODEL"), &options, &generation));
    sampling.eos_count = 0;
    sampling.min_new_tokens = COUNT + 1;
    FAILS(INVALID_ARGUMENT, "min_new_tokens is 9, above max_new_tokens",
          ortshard_generation_open(setting("TEST_MODEL"), &options, &generation));
    sampling.min_new_tokens = 0;
    const char *stops[2] = {"x", ""};
    options.stop = stops;
    options.stop_count = 1;
    FAILS(INVALID_ARGUMENT, "stop is given, but there is no tokenizer",
          ortshard_generation_open(setting("TEST_MODEL"), &options, &generation));
    CHECK(generation == NULL);
}

/* A stop string ends the text where it begins. */
static void stop(const ortshard_shard *shard)
{
    ortshard_tokenizer *tokenizer;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    /* The text without a stop string, to find one in. */
    ortshard_request *request = request_on(shard);
    ortshard_generation *generation = on(&request, 1, tokenizer);
    struct heard whole = {0}, cut = {0};
    OK(ortshard_generation_run(generation, hear, &whole, NULL));
    ortshard_generation_free(generation);
    ortshard_request_free(request);
    CHECK(whole.length > 1 && strlen(whole.text) == whole.length);
    const char *last = whole.text + whole.length - 1;
    while (((unsigned char)*last & 0xC0) == 0x80) last--;

    const char *stops[2] = {"no such text", last};
    ortshard_sampler_options sampling = greedily();
    ortshard_generation_options options = options_of(&sampling);
    options.stop = stops;
    options.stop_count = 2;
    request = request_on(shard);
    OK(ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
    OK(ortshard_generation_append_ids(generation, prompt, n));
    ortshard_step step = ORTSHARD_STEP_INIT;
    while (step.finish == ORTSHARD_FINISH_NONE) {
        OK(ortshard_generation_step(generation, &step));
        hear(&step, &cut);
    }
    const char *first = strstr(whole.text, last);
    CHECK(step.finish == ORTSHARD_FINISH_STOP && step.stop == 1);
    CHECK(first != NULL && cut.length == (size_t)(first - whole.text) && memcmp(cut.text, whole.text, cut.length) == 0);
    ortshard_generation_free(generation);
    stops[1] = "";
    FAILS(INVALID_ARGUMENT, "stop[1] is empty", ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
    ortshard_engine_options engine = ORTSHARD_ENGINE_OPTIONS_INIT;
    options.engine = &engine;
    stops[1] = "x";
    FAILS(INVALID_ARGUMENT, "options->engine", ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
    options.engine = NULL;
    options.published_sampling = 1;
    FAILS(INVALID_ARGUMENT, "options->published_sampling",
          ortshard_generation_create(&request, 1, tokenizer, &options, &generation));
    ortshard_request_free(request);
    ortshard_tokenizer_free(tokenizer);
}

/* A fork, and one that was made elsewhere, go on from the third token. */
static void moved(const ortshard_shard *shard)
{
    ortshard_request *request = request_on(shard), *other = request_on(shard);
    ortshard_generation *generation = on(&request, 1, NULL), *fork, *fresh = on(&other, 1, NULL);
    ortshard_step step = ORTSHARD_STEP_INIT;
    size_t needed, left;
    uint64_t position;
    for (int i = 0; i < 3; i++) OK(ortshard_generation_step(generation, &step));
    OK(ortshard_generation_fork(generation, &fork));
    OK(ortshard_generation_export_state(generation, NULL, 0, &needed));
    char *state = malloc(needed);
    CHECK(state != NULL);
    FAILS(BUFFER_TOO_SMALL, "are needed", ortshard_generation_export_state(generation, state, needed - 1, &left));
    OK(ortshard_generation_export_state(generation, state, needed, &needed));
    pull(generation, 3);
    ortshard_generation_free(generation);
    ortshard_request_free(request);
    pull(fork, 3);
    ortshard_generation_free(fork);

    state[needed / 2] ^= 1;
    FAILS(MALFORMED, "hash", ortshard_generation_import_state(fresh, state, needed));
    state[needed / 2] ^= 1;
    FAILS(MALFORMED, "too few", ortshard_generation_import_state(fresh, state, 0));
    OK(ortshard_request_position(other, &position));
    CHECK(position == 0);
    OK(ortshard_generation_import_state(fresh, state, needed));
    OK(ortshard_request_position(other, &position));
    CHECK(position == n + 2);
    pull(fresh, 3);
    ortshard_generation_free(fresh);
    ortshard_request_free(other);

    /* Of other options. */
    request = request_on(shard);
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    OK(ortshard_generation_create(&request, 1, NULL, &options, &generation));
    FAILS(INVALID_ARGUMENT, "another temperature", ortshard_generation_import_state(generation, state, needed));
    free(state);
    ortshard_generation_free(generation);
    ortshard_request_free(request);
}

int main(void)
{
    n = ids_of("TEST_PROMPT", prompt);
    CHECK(ids_of("TEST_GREEDY", golden) > COUNT);
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    one(shard);
    chain();
    batch(shard);
    moved(shard);
    text(shard);
    stop(shard);
    pieces(shard);
    opened();
    ortshard_shard_free(shard);
    return 0;
}
