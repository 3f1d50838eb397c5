/* Scenario 7: many requests in one call. Each gives the ids it gives alone; a bad one hurts nobody else. */
#include "model.h"

enum { REQUESTS = 4, STEPS = 4 };

int main(void)
{
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER), *first = load(0, 0);
    ortshard_request *requests[REQUESTS];
    ortshard_tensor tensors[REQUESTS];
    ortshard_status statuses[REQUESTS];
    int64_t prompt[MOST], golden[MOST], ids[REQUESTS];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_GREEDY;
    ortshard_sampler *sampler;
    OK(ortshard_sampler_create(&options, &sampler));

    /* Inputs and outputs in one array. */
    for (int i = 0; i < REQUESTS; i++) {
        requests[i] = request_on(shard);
        tensors[i] = ids_tensor(prompt, n);
    }
    for (int step = 0; step < STEPS; step++) {
        OK(ortshard_infer_batch(requests, tensors, NULL, REQUESTS, tensors, statuses));
        for (int i = 0; i < REQUESTS; i++) {
            CHECK(statuses[i] == ORTSHARD_OK && tensors[i].shape[1] == 1);
            OK(ortshard_sampler_sample(sampler, tensors[i].data, tensors[i].byte_length / sizeof(float), &ids[i]));
            CHECK(ids[i] == golden[step]);
            tensors[i] = ids_tensor(&ids[i], 1);
        }
    }

    /* What one request is refused for leaves the others to go on. */
    ortshard_tensor outputs[REQUESTS];
    ortshard_request *mixed[REQUESTS] = {requests[0], requests[1], requests[1], request_on(first)};
    uint64_t position;
    FAILS(INVALID_STATE, "requests[2]", ortshard_infer_batch(mixed, tensors, NULL, REQUESTS, outputs, statuses));
    CHECK(statuses[0] == ORTSHARD_OK && statuses[1] == ORTSHARD_OK && outputs[1].data != NULL);
    CHECK(statuses[2] == ORTSHARD_ERROR_INVALID_STATE && outputs[2].data == NULL);
    CHECK(statuses[3] == ORTSHARD_ERROR_INVALID_ARGUMENT && outputs[3].data == NULL);
    OK(ortshard_request_position(requests[1], &position));
    CHECK(position == n + STEPS);
    int32_t logits[REQUESTS] = {ORTSHARD_LOGITS_NONE, 7, ORTSHARD_LOGITS_ALL, ORTSHARD_LOGITS_LAST};
    tensors[3].dtype = 99;
    FAILS(INVALID_ARGUMENT, "requests[1]: logits", ortshard_infer_batch(requests, tensors, logits, REQUESTS, outputs, NULL));
    CHECK(outputs[0].shape[1] == 0 && outputs[2].shape[1] == 1 && outputs[3].data == NULL);
    mixed[0] = NULL;
    FAILS(NULL_ARGUMENT, "requests[0]", ortshard_infer_batch(mixed, tensors, NULL, 1, outputs, NULL));
    FAILS(INVALID_ARGUMENT, "count", ortshard_infer_batch(mixed, tensors, NULL, SIZE_MAX, outputs, NULL));
    OK(ortshard_infer_batch(NULL, NULL, NULL, 0, NULL, NULL));

    /* Outputs outlive the requests they shared a run with. */
    float before = ((const float *)outputs[2].data)[0];
    ortshard_request_free(requests[0]);
    ortshard_request_free(requests[1]);
    CHECK(((const float *)outputs[2].data)[0] == before);
    ortshard_request_free(requests[2]);
    ortshard_request_free(requests[3]);
    ortshard_request_free(mixed[3]);
    ortshard_sampler_free(sampler);
    ortshard_shard_free(first);
    ortshard_shard_free(shard);
    return 0;
}
