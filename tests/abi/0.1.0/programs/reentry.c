/* A callback that would wait for itself is refused, and what it frees in the middle of a call goes when the call ends. */
#include "model.h"

static ortshard_engine *engine;
static ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
static ortshard_shard *resident;
static int called;

static void refused(void)
{
    ortshard_shard *shard = resident;
    FAILS(INVALID_STATE, "callback", ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    CHECK(shard == NULL);
    FAILS(INVALID_STATE, "callback", ortshard_engine_load_checkpoint(engine, spec.model, NULL, NULL, &shard));
    FAILS(INVALID_STATE, "callback", ortshard_engine_clear(engine));
    called++;
}

/* While a shard loads: the engine that loads it refuses, the shard before answers, and another engine loads. */
static int32_t on_progress(const ortshard_progress *progress, void *user_data)
{
    (void)user_data;
    refused();
    OK(ortshard_engine_current_shard(engine, &resident));
    if (resident != NULL) {
        int64_t id = 1;
        ortshard_tensor input = ids_tensor(&id, 1), output;
        ortshard_request *request = request_on(resident);
        OK(ortshard_request_infer(request, &input, 0, &output));
        ortshard_request_free(request);
    }
    ortshard_shard_free(resident);
    if (progress->stage == ORTSHARD_STAGE_WEIGHTS && called < 10) ortshard_shard_free(load(0, 0));
    return 0;
}

static int32_t free_engine(const ortshard_progress *progress, void *user_data)
{
    (void)user_data;
    if (progress->stage == ORTSHARD_STAGE_SESSION) ortshard_engine_free(engine);
    return 0;
}

static ortshard_status fetch(const char *model, const char *revision, const char *file, char *path, size_t capacity,
                             void *user_data)
{
    (void)revision;
    CHECK(strcmp(model, "hosted") == 0);
    if (user_data == NULL) refused();
    ortshard_shard *other;
    /* Also on another engine: it may have called, too. */
    ortshard_engine *another = engine_on_device();
    FAILS(INVALID_STATE, "fetch callback", ortshard_engine_ensure_shard(another, &spec, NULL, NULL, &other));
    ortshard_engine_free(another);
    snprintf(path, capacity, "%s/%s", setting("TEST_MODEL"), file);
    FILE *there = fopen(path, "rb");
    if (there == NULL) return ORTSHARD_ERROR_NOT_FOUND;
    fclose(there);
    return ORTSHARD_OK;
}

static ortshard_request *own;

static void on_message(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)level, (void)target, (void)message;
    int64_t id = 1;
    uint64_t position;
    ortshard_tensor input = ids_tensor(&id, 1), output;
    refused();
    FAILS(INVALID_STATE, "callback", ortshard_request_infer(own, &input, 0, &output));
    OK(ortshard_request_position(own, &position));
    OK(ortshard_request_cancel(own));
    OK(ortshard_request_clear_cancel(own));
    ++*(int *)user_data;
}

int main(void)
{
    ortshard_shard *shard, *first;
    spec.model = setting("TEST_MODEL");
    engine = engine_on_device();
    OK(ortshard_engine_ensure_shard(engine, &spec, on_progress, NULL, &first));
    CHECK(called >= 5);
    called = 0;
    spec.last_layer = 0;
    OK(ortshard_engine_ensure_shard(engine, &spec, on_progress, NULL, &shard));
    CHECK(called >= 5);
    ortshard_shard_free(shard);

    /* Log messages, of a load that fails. */
    int messages = 0;
    ortshard_shard_spec missing = ORTSHARD_SHARD_SPEC_INIT;
    missing.model = "/nonexistent";
    own = request_on(first);
    OK(ortshard_log_set_callback(ORTSHARD_LOG_WARNING, on_message, &messages));
    FAILS(NOT_FOUND, "/nonexistent", ortshard_engine_ensure_shard(engine, &missing, NULL, NULL, &shard));
    OK(ortshard_log_set_callback(0, NULL, NULL));
    CHECK(messages > 0);
    ortshard_request_free(own);
    ortshard_engine_free(engine);

    /* Files that the host brings. */
    ortshard_engine_options options = on_device();
    options.fetch = fetch;
    OK(ortshard_engine_create(&options, &engine));
    called = 0;
    spec.model = "hosted";
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    CHECK(called >= 2);

    /* Freed while it loads: the load goes on, and the engine goes with its end. */
    ortshard_shard *last;
    spec.model = setting("TEST_MODEL");
    spec.last_layer = ORTSHARD_LAST_LAYER;
    ortshard_engine_free(engine);
    engine = engine_on_device();
    OK(ortshard_engine_ensure_shard(engine, &spec, free_engine, NULL, &last));
    FAILS(INVALID_ARGUMENT, "freed", ortshard_engine_clear(engine));

    int64_t prompt[MOST], golden[MOST], ids[4];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    ortshard_request *request = request_on(last);
    greedy(&request, 1, prompt, n, ids, 4);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);
    ortshard_request_free(request);
    ortshard_shard_free(first);
    ortshard_shard_free(shard);
    ortshard_shard_free(last);
    return 0;
}
