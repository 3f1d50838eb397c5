/* An engine keeps its limit at load and at the KV cache, and its estimate tells what fits. */
#include "model.h"

static ortshard_engine *engine_of(uint64_t limit)
{
    ortshard_engine_options options = on_device();
    options.memory_limit = limit;
    ortshard_engine *engine;
    OK(ortshard_engine_create(&options, &engine));
    return engine;
}

int main(void)
{
    ortshard_shard *shard;
    ortshard_request *request;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    ortshard_engine *engine = engine_of(0);
    ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
    OK(ortshard_engine_get_estimate(engine, &spec, 64, 1, &estimate));
    CHECK(estimate.weight_bytes > 0 && estimate.kv_bytes > 0 && estimate.run_bytes > 0);
    CHECK(estimate.total_bytes == estimate.weight_bytes + estimate.kv_bytes + estimate.run_bytes);
    CHECK(estimate.largest_last_layer == (int64_t)layers() - 1);
    ortshard_engine_free(engine);

    engine = engine_of(estimate.weight_bytes - 1);
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    FAILS(OUT_OF_MEMORY, "memory_limit", ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    OK(ortshard_error_get_oom(NULL, &oom));
    CHECK(oom.site == ORTSHARD_OOM_LOAD && oom.requested_bytes <= estimate.weight_bytes);
    CHECK(!native_operators() || oom.requested_bytes == estimate.weight_bytes); /* Others take them piece by piece. */
    ortshard_engine_estimate tight = ORTSHARD_ENGINE_ESTIMATE_INIT;
    OK(ortshard_engine_get_estimate(engine, &spec, 64, 1, &tight));
    CHECK(tight.largest_last_layer < estimate.largest_last_layer);
    ortshard_engine_free(engine);

    /* A run of ONNX Runtime's operators is given a quarter of what is left. */
    engine = engine_of(estimate.load_peak_bytes + estimate.weight_bytes + estimate.run_bytes * 4 + estimate.kv_bytes * 3 / 2);
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.capacity = 64;
    ortshard_request *requests[64];
    size_t n = 0;
    ortshard_status status = ORTSHARD_OK;
    while (n < 64 && (status = ortshard_request_create(shard, &options, &requests[n])) == ORTSHARD_OK) n++;
    CHECK(n > 0 && n < 64 && status == ORTSHARD_ERROR_OUT_OF_MEMORY);
    OK(ortshard_error_get_oom(NULL, &oom));
    CHECK(oom.site == ORTSHARD_OOM_KV && oom.requested_bytes == estimate.kv_bytes);

    /* Given back, it can be taken again, and the request gives the golden ids. */
    while (n > 0) ortshard_request_free(requests[--n]);
    OK(ortshard_request_create(shard, &options, &request));
    int64_t prompt[MOST], golden[MOST], ids[4];
    size_t n_prompt = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    greedy(&request, 1, prompt, n_prompt, ids, 4);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return 0;
}
