/* Log messages come to the callback, up to its level, until it is removed. */
#include "check.h"

struct seen {
    int count, about_runtime, nested;
    int32_t worst;
};

static void on_message(int32_t level, const char *target, const char *message, void *user_data)
{
    struct seen *seen = user_data;
    CHECK(level >= ORTSHARD_LOG_ERROR && level <= ORTSHARD_LOG_TRACE && strlen(target) > 0);
    seen->count++;
    seen->worst = level > seen->worst ? level : seen->worst;
    seen->about_runtime += strstr(message, "ONNX Runtime") != NULL;

    /* The library may be used from here, but not to change the callback. */
    uint32_t count;
    OK(ortshard_device_count(&count));
    FAILS(INVALID_STATE, "log callback", ortshard_log_set_callback(ORTSHARD_LOG_INFO, NULL, NULL));
    seen->nested++;
}

int main(void)
{
    struct seen seen = {0, 0, 0, 0};
    FAILS(INVALID_ARGUMENT, "level is 0", ortshard_log_set_callback(0, on_message, &seen));
    FAILS(INVALID_ARGUMENT, "level is 6", ortshard_log_set_callback(6, on_message, &seen));
    OK(ortshard_log_set_callback(ORTSHARD_LOG_INFO, on_message, &seen));
    OK(ortshard_runtime_load(NULL));
    CHECK(seen.count > 0 && seen.about_runtime > 0 && seen.nested == seen.count && seen.worst <= ORTSHARD_LOG_INFO);

    /* A device that is not there is replaced with a word in the log, or refused. */
    ortshard_engine *engine;
    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    options.device = ORTSHARD_DEVICE_COREML;
    options.require_device = 1;
    FAILS(DEVICE_UNAVAILABLE, "coreml", ortshard_engine_create(&options, &engine));
    CHECK(engine == NULL);
    OK(ortshard_log_set_callback(ORTSHARD_LOG_WARNING, on_message, &seen));
    seen.count = 0;
    options.require_device = 0;
    OK(ortshard_engine_create(&options, &engine));
    CHECK(seen.count == 1);
    ortshard_engine_free(engine);

    OK(ortshard_log_set_callback(-1, NULL, NULL));
    OK(ortshard_engine_create(&options, &engine));
    CHECK(seen.count == 1);
    ortshard_engine_free(engine);
    return 0;
}
