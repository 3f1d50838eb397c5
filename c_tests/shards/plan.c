/* A plan's stages have all layers, fit as the estimate says, and load and run on engines that may take no more. */
#include "model.h"

enum { CONTEXT = 64 };

static ortshard_engine *engine;
static ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;

static uint64_t needed_of(uint32_t first, uint32_t last)
{
    ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
    ortshard_shard_spec range = spec;
    range.first_layer = first;
    range.last_layer = last;
    OK(ortshard_engine_get_estimate(engine, &range, CONTEXT, 1, &estimate));
    return estimate.total_bytes > estimate.load_peak_bytes ? estimate.total_bytes : estimate.load_peak_bytes;
}

/* A request on the layers of a stage, in no more memory than that has. */
static ortshard_request *request_of(const ortshard_plan_stage *stage)
{
    ortshard_engine_options options = on_device();
    options.memory_limit = stage->needed_bytes;
    ortshard_engine *own;
    OK(ortshard_engine_create(&options, &own));
    ortshard_shard_spec range = spec;
    range.first_layer = stage->first_layer;
    range.last_layer = stage->last_layer;
    ortshard_shard *shard;
    OK(ortshard_engine_ensure_shard(own, &range, NULL, NULL, &shard));
    ortshard_request_options with = ORTSHARD_REQUEST_OPTIONS_INIT;
    with.capacity = CONTEXT;
    ortshard_request *request;
    OK(ortshard_request_create(shard, &with, &request));
    ortshard_shard_free(shard);
    ortshard_engine_free(own);
    return request;
}

int main(void)
{
    engine = engine_on_device();
    spec.model = setting("TEST_MODEL");
    uint32_t last = layers() - 1;
    CHECK(last >= 1);

    /* The larger of the two parts on the second device. The first has room for the other alone. */
    uint64_t front = needed_of(0, 0), back = needed_of(1, last);
    ortshard_plan_device devices[3] = {{front, 1e9, 0.5, 1}, {back, 2e9, 0.25, 1}, {1000, 1e12, 0, 0}};
    ortshard_plan_options options = ORTSHARD_PLAN_OPTIONS_INIT;
    ortshard_plan_stage stages[3];
    size_t needed = 0;
    options.context = CONTEXT;
    options.margin = 0;
    options.keep_order = 1;
    options.devices = devices;
    options.device_count = 3;
    OK(ortshard_engine_plan(engine, &spec, &options, NULL, 0, &needed));
    CHECK(needed == 2);
    FAILS(BUFFER_TOO_SMALL, "2 are needed", ortshard_engine_plan(engine, &spec, &options, stages, 1, &needed));
    OK(ortshard_engine_plan(engine, &spec, &options, stages, 3, &needed));
    CHECK(needed == 2 && stages[0].device == 0 && stages[1].device == 1);
    CHECK(stages[0].first_layer == 0 && stages[1].first_layer == stages[0].last_layer + 1 && stages[1].last_layer == last);
    for (size_t i = 0; i < needed; i++) {
        const ortshard_plan_stage *stage = &stages[i];
        CHECK(stage->needed_bytes == needed_of(stage->first_layer, stage->last_layer));
        CHECK(stage->needed_bytes <= stage->room_bytes && stage->room_bytes == devices[i].free_memory);
        CHECK(stage->needed_bytes >= stage->weight_bytes + stage->kv_bytes + stage->run_bytes);
        CHECK(stage->token_bytes > 0 && stage->token_bytes <= stage->weight_bytes);
        double read = stage->seconds * devices[i].bandwidth;
        CHECK(read > (double)stage->token_bytes && read < (double)(stage->token_bytes + stage->kv_bytes));
    }
    CHECK(stages[0].hop_seconds == 0.5 && stages[1].hop_seconds == 0);

    /* What is planned runs. */
    int64_t prompt[MOST], wanted[MOST], ids[8];
    size_t n = ids_of("TEST_PROMPT", prompt);
    CHECK(n + 8 <= CONTEXT && ids_of("TEST_GREEDY", wanted) >= 8);
    ortshard_request *requests[2] = {request_of(&stages[0]), request_of(&stages[1])};
    greedy(requests, 2, prompt, n, ids, 8);
    CHECK(memcmp(ids, wanted, sizeof ids) == 0);
    ortshard_request_free(requests[0]);
    ortshard_request_free(requests[1]);

    /* What does not fit, and what is no number. */
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    options.device_count = 1;
    FAILS(OUT_OF_MEMORY, "one more device with room for", ortshard_engine_plan(engine, &spec, &options, stages, 3, &needed));
    CHECK(needed == 0);
    OK(ortshard_error_get_oom(engine, &oom));
    devices[1].free_memory = oom.requested_bytes;
    options.device_count = 2;
    OK(ortshard_engine_plan(engine, &spec, &options, stages, 3, &needed));
    devices[1].bandwidth = -1;
    FAILS(INVALID_ARGUMENT, "devices[1].bandwidth is -1", ortshard_engine_plan(engine, &spec, &options, stages, 3, &needed));
    options.device_count = SIZE_MAX;
    FAILS(INVALID_ARGUMENT, "device_count is", ortshard_engine_plan(engine, &spec, &options, stages, 3, &needed));
    options.device_count = 0;
    FAILS(INVALID_ARGUMENT, "device_count is 0", ortshard_engine_plan(engine, &spec, &options, stages, 3, &needed));
    ortshard_engine_free(engine);
    return 0;
}
