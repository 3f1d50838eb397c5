/* Each thread has its own last error, and success leaves it alone. */
#include <pthread.h>

#include "check.h"

static void *other_thread(void *unused)
{
    CHECK(strcmp(ortshard_last_error(), "") == 0);
    FAILS(NULL_ARGUMENT, "model is NULL", ortshard_model_get_info(NULL, &(ortshard_model_info){0}));
    return unused;
}

int main(void)
{
    CHECK(strcmp(ortshard_last_error(), "") == 0);

    FAILS(NULL_ARGUMENT, "count is NULL", ortshard_device_count(NULL));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(strcmp(ortshard_last_error(), "count is NULL") == 0);

    ortshard_shard_spec spec;
    OK(ortshard_shard_spec_init(&spec, sizeof spec));
    CHECK(strcmp(ortshard_last_error(), "count is NULL") == 0);

    /* The chain goes down to what the system said. */
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    FAILS(NOT_FOUND, "/nonexistent/model", ortshard_model_get_info("/nonexistent/model", &model));

    /* One line, whatever a name holds. */
    FAILS(NOT_FOUND, "no\\nsuch\\u{1b}[2Jmodel", ortshard_model_get_info("no\nsuch\x1b[2Jmodel", &model));
    FAILS(NOT_FOUND, "/nonexistent/model", ortshard_model_get_info("/nonexistent/model", &model));

    /* No memory ran out, and asking does not disturb the last error. */
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    CHECK(ortshard_error_get_oom(NULL, &oom) == ORTSHARD_ERROR_INVALID_STATE);
    CHECK(ortshard_error_get_oom(NULL, NULL) == ORTSHARD_ERROR_NULL_ARGUMENT);
    CHECK(strstr(ortshard_last_error(), "/nonexistent/model") != NULL);
    return 0;
}
