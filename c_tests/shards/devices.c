/* What devices there are is listed, the option decides before the environment, and a missing device is an error or is
 * told. */
#define _POSIX_C_SOURCE 200809L
#include "model.h"

static int warnings;

static void on_message(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)target, (void)user_data;
    warnings += level == ORTSHARD_LOG_WARNING && strstr(message, "using cpu") != NULL;
}

static ortshard_shard *shard_of(const ortshard_engine_options *options, const char *model)
{
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = model;
    OK(ortshard_engine_create(options, &engine));
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_engine_free(engine);
    return shard;
}

/* What a shard on such an engine says about itself. */
static ortshard_shard_info described(const ortshard_engine_options *options)
{
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    ortshard_shard *shard = shard_of(options, setting("TEST_MODEL"));
    OK(ortshard_shard_get_info(shard, &info));
    ortshard_shard_free(shard);
    return info;
}

static void generates(ortshard_shard *shard, int64_t ids[8])
{
    int64_t prompt[4] = {1, 15, 27, 3};
    ortshard_request *request = request_on(shard);
    greedy(&request, 1, prompt, 4, ids, 8);
    ortshard_request_free(request);
}

int main(void)
{
    ortshard_engine *engine = NULL;
    uint32_t count;
    int coreml = 0;
    CHECK(unsetenv("ORTSHARD_DEVICE") == 0);
    OK(ortshard_device_count(&count));
    CHECK(count >= 1);
    for (uint32_t i = 0; i < count; i++) {
        ortshard_device_info device = ORTSHARD_DEVICE_INFO_INIT;
        OK(ortshard_device_get_info(i, &device));
        CHECK((device.kind == ORTSHARD_DEVICE_CPU) == (i == 0) && device.kind != ORTSHARD_DEVICE_AUTO);
        CHECK(device.name[0] != '\0' && device.available_memory <= device.total_memory);
        CHECK(device.total_memory > 0 || device.kind == ORTSHARD_DEVICE_COREML);
        coreml |= device.kind == ORTSHARD_DEVICE_COREML;
    }
    ortshard_device_info none = ORTSHARD_DEVICE_INFO_INIT;
    FAILS(OUT_OF_RANGE, "there are", ortshard_device_get_info(count, &none));

    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    ortshard_shard *shard = shard_of(NULL, setting("TEST_MODEL"));
    int64_t before[8], after[8];
    generates(shard, before);
    OK(ortshard_log_set_callback(ORTSHARD_LOG_WARNING, on_message, NULL));

    /* The option, then the variable. */
    CHECK(setenv("ORTSHARD_DEVICE", "abacus", 1) == 0);
    FAILS(INVALID_ARGUMENT, "ORTSHARD_DEVICE: device `abacus`", ortshard_engine_create(NULL, &engine));
    CHECK(engine == NULL);
    options.device = ORTSHARD_DEVICE_CPU;
    ortshard_shard_info info = described(&options);
    CHECK(info.device == ORTSHARD_DEVICE_CPU && info.requested_device == ORTSHARD_DEVICE_CPU && warnings == 0);

    if (!coreml) {
        /* A device that is missing: told in the log and by the shard, or an error that names what there is. */
        CHECK(setenv("ORTSHARD_DEVICE", "coreml", 1) == 0);
        options.device = ORTSHARD_DEVICE_AUTO;
        info = described(&options);
        CHECK(info.device == ORTSHARD_DEVICE_CPU && info.requested_device == ORTSHARD_DEVICE_COREML && warnings == 1);
        CHECK(info.cpu_nodes == info.nodes);
        options.require_device = 1;
        FAILS(DEVICE_UNAVAILABLE, "CPUExecutionProvider", ortshard_engine_create(&options, &engine));
        FAILS(DEVICE_UNAVAILABLE, "coreml", ortshard_engine_create(&options, &engine));
        CHECK(engine == NULL && warnings == 1);
    }
    CHECK(setenv("ORTSHARD_DEVICE", "cpu", 1) == 0);
    options.device = ORTSHARD_DEVICE_CUDA;
    options.device_index = 31;
    options.require_device = 1;
    FAILS(DEVICE_UNAVAILABLE, "cuda:31", ortshard_engine_create(&options, &engine));
    CHECK(engine == NULL);

    /* What was there goes on. */
    generates(shard, after);
    CHECK(memcmp(before, after, sizeof before) == 0);
    ortshard_shard_free(shard);

    /* Stock operators, which other devices run, agree with native ones. */
    ortshard_runtime_info runtime = ORTSHARD_RUNTIME_INFO_INIT;
    OK(ortshard_runtime_get_info(&runtime));
    if (strtol(runtime.version + 2, NULL, 10) >= 24) {
        ortshard_engine_options stock = ORTSHARD_ENGINE_OPTIONS_INIT;
        stock.stock_operators = 1;
        const char *model = join(setting("TEST_ROOT"), "tests/models/llama_256");
        ortshard_shard *reference = shard_of(&stock, model);
        shard = shard_of(NULL, model);
        generates(shard, before);
        generates(reference, after);
        CHECK(memcmp(before, after, sizeof before) == 0);
        ortshard_shard_free(reference);
        ortshard_shard_free(shard);
    }
    return 0;
}
