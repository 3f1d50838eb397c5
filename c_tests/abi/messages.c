/* What went wrong on an object can be read on any thread, by the object, whatever else fails meanwhile. */
#include <pthread.h>

#include "model.h"

static const char *message_of(const void *object)
{
    static char text[4096];
    size_t needed = 0;
    OK(ortshard_error_message(object, NULL, 0, &needed));
    CHECK(needed > 0 && needed <= sizeof text);
    CHECK(ortshard_error_message(object, text, needed - 1, &needed) == ORTSHARD_ERROR_BUFFER_TOO_SMALL);
    OK(ortshard_error_message(object, text, sizeof text, &needed));
    CHECK(strlen(text) + 1 == needed);
    return text;
}

static void *fail_there(void *request)
{
    int64_t id = -1;
    FAILS(OUT_OF_RANGE, "-1", ortshard_request_sample(request, &id, 1, NULL, &id));
    return NULL;
}

int main(void)
{
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_request *request = request_on(shard), *other = request_on(shard);
    CHECK(strcmp(message_of(request), "") == 0);

    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fail_there, request) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(strcmp(ortshard_last_error(), "") == 0 && strcmp(message_of(NULL), "") == 0);
    CHECK(strstr(message_of(request), "-1") != NULL);
    FAILS(OUT_OF_RANGE, "position", ortshard_request_truncate(other, 1));
    CHECK(strstr(message_of(request), "-1") != NULL && strstr(message_of(other), "position") != NULL);
    CHECK(strcmp(message_of(NULL), message_of(other)) == 0);
    CHECK(strcmp(message_of(shard), "") == 0);

    /* A call that succeeds leaves it; of a batch each request has its own, of a chain all have the call's. */
    int64_t ids[2] = {1, 1000000}, chosen[2];
    OK(ortshard_request_sample(request, ids, 1, NULL, chosen));
    CHECK(strstr(message_of(request), "-1") != NULL);
    ortshard_request *both[2] = {request, other};
    ortshard_tensor inputs[2] = {ids_tensor(&ids[0], 1), ids_tensor(&ids[1], 1)}, logits;
    FAILS(OUT_OF_RANGE, "requests[1]", ortshard_batch_sample(both, inputs, NULL, 2, chosen, NULL));
    CHECK(strstr(message_of(request), "-1") != NULL && strstr(message_of(other), "requests[1]") != NULL);
    FAILS(INVALID_ARGUMENT, "do not follow", ortshard_chain_infer(both, 2, inputs, 0, &logits));
    CHECK(strstr(message_of(request), "do not follow") != NULL && strstr(message_of(other), "do not follow") != NULL);

    /* A sampler is one request's: the second is told what to do, the first goes on. */
    ortshard_sampler *sampler, *samplers[2];
    ortshard_status statuses[2];
    OK(ortshard_sampler_create(NULL, &sampler));
    samplers[0] = samplers[1] = sampler;
    ids[1] = 1;
    FAILS(INVALID_ARGUMENT, "create a sampler for each", ortshard_batch_sample(both, inputs, samplers, 2, chosen, statuses));
    CHECK(statuses[0] == ORTSHARD_OK && statuses[1] == ORTSHARD_ERROR_INVALID_ARGUMENT);
    CHECK(strstr(message_of(other), "samplers[1] is samplers[0] again") != NULL);
    samplers[1] = NULL;
    OK(ortshard_batch_sample(both, inputs, samplers, 2, chosen, statuses));

    /* What is no handle, or one that was freed, has none; nor does that disturb the thread's last error. */
    char before[4096];
    static uint64_t no_handle[64];
    size_t needed;
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    strcpy(before, ortshard_last_error());
    ortshard_request_free(other);
    CHECK(ortshard_error_message(other, NULL, 0, &needed) == ORTSHARD_ERROR_INVALID_ARGUMENT);
    CHECK(ortshard_error_message(no_handle + 8, NULL, 0, &needed) == ORTSHARD_ERROR_INVALID_ARGUMENT);
    CHECK(ortshard_error_message(request, NULL, 8, &needed) == ORTSHARD_ERROR_NULL_ARGUMENT);
    CHECK(ortshard_error_message(request, NULL, 0, NULL) == ORTSHARD_ERROR_NULL_ARGUMENT);
    CHECK(ortshard_error_get_oom(request, &oom) == ORTSHARD_ERROR_INVALID_STATE);
    CHECK(strcmp(ortshard_last_error(), before) == 0);

    ortshard_sampler_free(sampler);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    return 0;
}
