/* Memory that runs out is an ordinary answer: site, device and bytes are told, and what was there goes on.
 * tests/suite/host/c_tests.rs makes a model that claims a very long context: longer than any memory, or on a device, which keeps a table
 * of all positions, long enough for a few requests to fill it. */
#include <sys/resource.h>

#include "model.h"

/* Counts the ERROR lines that tell of memory, and keeps the last one. */
static struct {
    int count;
    char text[512];
} seen;

static void on_message(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)target, (void)user_data;
    if (level != ORTSHARD_LOG_ERROR || strstr(message, "out of memory") == NULL) return;
    seen.count++;
    snprintf(seen.text, sizeof seen.text, "%s", message);
}

enum { REQUESTS = 1024 };

int main(void)
{
    OK(ortshard_log_set_callback(ORTSHARD_LOG_ERROR, on_message, NULL));
#ifndef __SANITIZE_ADDRESS__ /* which has such a limit of its own, and uses much address space itself */
    rlim_t most = (rlim_t)1 << (native_operators() ? 40 : 32);
    struct rlimit address_space = {most, most};
    if (in_this_process()) CHECK(setrlimit(RLIMIT_AS, &address_space) == 0); /* a GPU's driver takes what it likes */
#endif
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = join(setting("TEST_BROKEN_MODELS"), "long_context");
    engine = engine_on_device();
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_shard_get_info(shard, &info));

    ortshard_request *request;
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.capacity = info.max_positions;
    static ortshard_request *filling[REQUESTS];
    size_t filled = 0;
    while (filled < REQUESTS && ortshard_request_create(shard, &options, &filling[filled]) == ORTSHARD_OK) filled++;
    CHECK(filled < REQUESTS && filling[filled] == NULL && (filled == 0 || !native_operators()));
    CHECK(strstr(ortshard_last_error(), "out of memory") != NULL);

    ortshard_oom oom = ORTSHARD_OOM_INIT;
    OK(ortshard_error_get_oom(NULL, &oom));
    ortshard_engine_options asked = on_device();
    char device[32] = "cpu";
    if (!in_this_process()) snprintf(device, sizeof device, "cuda:%" PRIu32, asked.device_index);
    CHECK(oom.site == ORTSHARD_OOM_KV && strcmp(oom.device, device) == 0);
    CHECK(oom.requested_bytes == info.kv_bytes_per_token * info.max_positions);
    char bytes[96];
    snprintf(bytes, sizeof bytes, "device %s, site kv, %" PRIu64 " bytes", device, oom.requested_bytes);
    CHECK(seen.count == 1 && strstr(seen.text, bytes) != NULL);
    ortshard_engine_stats counters = ORTSHARD_ENGINE_STATS_INIT;
    OK(ortshard_engine_get_stats(engine, &counters));
    CHECK(counters.out_of_memory_kv == 1 && counters.out_of_memory_load == 0 && counters.out_of_memory_run == 0);

    while (filled > 0) ortshard_request_free(filling[--filled]);

    int64_t prompt[MOST], golden[MOST], ids[4];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    options.capacity = MOST;
    OK(ortshard_request_create(shard, &options, &request));
    greedy(&request, 1, prompt, n, ids, 4);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);

    /* What fails for another reason is not counted, nor logged as this. */
    int64_t outside = -1;
    ortshard_tensor input = ids_tensor(&outside, 1), output;
    FAILS(OUT_OF_RANGE, "-1", ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_engine_get_stats(engine, &counters));
    CHECK(counters.out_of_memory_kv == 1 && counters.out_of_memory_load == 0 && counters.out_of_memory_run == 0);
    CHECK(seen.count == 1);
    OK(ortshard_log_set_callback(ORTSHARD_LOG_ERROR, NULL, NULL));

    ortshard_request_free(request);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return 0;
}
