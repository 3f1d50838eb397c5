/* Replacing a shard is a transaction, beside the old one or in its place; clear gives memory back while handles
 * live. */
#include "model.h"

static int stop_at;

static int stop(const ortshard_progress *progress, void *user_data)
{
    CHECK(progress->struct_size == sizeof *progress);
    *(int *)user_data += 1;
    return progress->stage == stop_at;
}

static int told;

static void on_error(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)target, (void)user_data;
    told += level == ORTSHARD_LOG_ERROR && strstr(message, "/nonexistent") != NULL;
}

/* The last logits of the test prompt, copied. */
static float *answer(const ortshard_shard *shard, size_t *bytes)
{
    int64_t prompt[MOST];
    ortshard_tensor tensor = ids_tensor(prompt, ids_of("TEST_PROMPT", prompt));
    ortshard_request *request = request_on(shard);
    OK(ortshard_request_infer(request, &tensor, ORTSHARD_LOGITS_LAST, &tensor));
    float *copy = malloc(tensor.byte_length);
    CHECK(copy != NULL);
    *bytes = tensor.byte_length;
    memcpy(copy, tensor.data, tensor.byte_length);
    ortshard_request_free(request);
    return copy;
}

static void check_swaps(int release_first)
{
    ortshard_engine_options options = on_device();
    options.release_first = release_first;
    ortshard_engine *engine;
    ortshard_shard *shard, *other;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    OK(ortshard_engine_create(&options, &engine));
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    size_t bytes;
    float *before = answer(shard, &bytes);

    /* A missing model, which the log tells of, a cancelled load: the old shard answers the same bits. */
    ortshard_shard_spec next = spec;
    next.model = "/nonexistent";
    told = 0;
    FAILS(NOT_FOUND, "/nonexistent", ortshard_engine_ensure_shard(engine, &next, NULL, NULL, &other));
    CHECK(told == 1);
    next = spec;
    next.last_layer = 0;
    for (stop_at = ORTSHARD_STAGE_INSPECT; stop_at <= ORTSHARD_STAGE_READY; stop_at++) {
        if (stop_at == ORTSHARD_STAGE_PACK) continue; /* Exact weights are not quantised. */
        int calls = 0;
        FAILS(CANCELLED, "cancelled", ortshard_engine_ensure_shard(engine, &next, stop, &calls, &other));
        CHECK(calls > 0 && other == NULL);
        OK(ortshard_engine_current_shard(engine, &other));
        CHECK(other == shard);
        size_t now_bytes;
        float *now = answer(other, &now_bytes);
        CHECK(now_bytes == bytes && memcmp(now, before, bytes) == 0);
        free(now);
        ortshard_shard_free(other);
    }

    /* A request on the old shard finishes beside it, and is stale in its place. */
    ortshard_request *request = request_on(shard);
    int64_t id = 1;
    ortshard_tensor input = ids_tensor(&id, 1), output;
    OK(ortshard_engine_ensure_shard(engine, &next, NULL, NULL, &other));
    if (release_first)
        FAILS(STALE_SHARD, "no longer loaded", ortshard_request_infer(request, &input, 0, &output));
    else
        OK(ortshard_request_infer(request, &input, 0, &output));
    ortshard_request_free(request);
    ortshard_shard_free(shard);

    request = request_on(other);
    OK(ortshard_engine_clear(engine));
    FAILS(STALE_SHARD, "no longer loaded", ortshard_request_infer(request, &input, 0, &output));
    ortshard_request_free(request);
    FAILS(STALE_SHARD, "no longer loaded", ortshard_request_create(other, NULL, &request));
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_shard_get_info(other, &info));
    CHECK(info.last_layer == 0);
    ortshard_shard_free(other);
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    size_t now_bytes;
    float *now = answer(shard, &now_bytes);
    CHECK(now_bytes == bytes && memcmp(now, before, bytes) == 0);
    free(now);
    free(before);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
}

int main(void)
{
    OK(ortshard_log_set_callback(ORTSHARD_LOG_ERROR, on_error, NULL));
    check_swaps(0);
    check_swaps(1);
    OK(ortshard_log_set_callback(ORTSHARD_LOG_ERROR, NULL, NULL));
    return 0;
}
