/* Many requests run in one call: each gives the ids it gives alone, and a bad one hurts nobody else. */
#include "model.h"

enum { REQUESTS = 4, STEPS = 4 };

/* What one request gave last is another one's input, in a call that makes the first one's output longer. */
static void output_as_input(ortshard_shard *first, int64_t *prompt, size_t n)
{
    ortshard_shard *middle = load(1, 1);
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.hidden_dtype = ORTSHARD_DTYPE_F16;
    ortshard_request *source = request_on(first), *requests[2], *alone;
    OK(ortshard_request_create(middle, &options, &requests[0]));
    OK(ortshard_request_create(middle, &options, &requests[1]));
    OK(ortshard_request_create(middle, &options, &alone));
    ortshard_tensor ids = ids_tensor(prompt, n), one = ids_tensor(prompt, 1), hidden, inputs[2], outputs[2], wanted;
    OK(ortshard_request_infer(source, &one, ORTSHARD_LOGITS_LAST, &hidden));
    OK(ortshard_request_infer(requests[0], &hidden, ORTSHARD_LOGITS_LAST, &inputs[1]));
    OK(ortshard_request_infer(alone, &inputs[1], ORTSHARD_LOGITS_LAST, &wanted));
    OK(ortshard_request_infer(source, &ids, ORTSHARD_LOGITS_LAST, &inputs[0]));
    OK(ortshard_batch_infer(requests, inputs, NULL, 2, outputs, NULL));
    CHECK(wanted.byte_length == outputs[1].byte_length);
    CHECK(!native_operators() || memcmp(wanted.data, outputs[1].data, wanted.byte_length) == 0);
    ortshard_request *all[] = {source, requests[0], requests[1], alone};
    for (int i = 0; i < 4; i++) ortshard_request_free(all[i]);
    ortshard_shard_free(middle);
}

int main(void)
{
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER), *first = load(0, 0);
    ortshard_request *requests[REQUESTS];
    ortshard_tensor tensors[REQUESTS];
    ortshard_status statuses[REQUESTS];
    int64_t prompt[MOST], golden[MOST], ids[REQUESTS];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;
    ortshard_sampler *sampler;
    OK(ortshard_sampler_create(&options, &sampler));

    /* Inputs and outputs in one array. */
    for (int i = 0; i < REQUESTS; i++) {
        requests[i] = request_on(shard);
        tensors[i] = ids_tensor(prompt, n);
    }
    for (int step = 0; step < STEPS; step++) {
        OK(ortshard_batch_infer(requests, tensors, NULL, REQUESTS, tensors, statuses));
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
    FAILS(INVALID_STATE, "requests[2]", ortshard_batch_infer(mixed, tensors, NULL, REQUESTS, outputs, statuses));
    CHECK(statuses[0] == ORTSHARD_OK && statuses[1] == ORTSHARD_OK && outputs[1].data != NULL);
    CHECK(statuses[2] == ORTSHARD_ERROR_INVALID_STATE && outputs[2].data == NULL);
    CHECK(statuses[3] == ORTSHARD_ERROR_INVALID_ARGUMENT && outputs[3].data == NULL);
    OK(ortshard_request_position(requests[1], &position));
    CHECK(position == n + STEPS);
    int32_t logits[REQUESTS] = {ORTSHARD_LOGITS_NONE, 7, ORTSHARD_LOGITS_ALL, ORTSHARD_LOGITS_LAST};
    tensors[3].dtype = 99;
    FAILS(INVALID_ARGUMENT, "requests[1]: logits", ortshard_batch_infer(requests, tensors, logits, REQUESTS, outputs, NULL));
    CHECK(outputs[0].shape[1] == 0 && outputs[2].shape[1] == 1 && outputs[3].data == NULL);
    mixed[0] = NULL;
    FAILS(NULL_ARGUMENT, "requests[0]", ortshard_batch_infer(mixed, tensors, NULL, 1, outputs, NULL));
    FAILS(INVALID_ARGUMENT, "fit into memory", ortshard_batch_infer(mixed, tensors, NULL, SIZE_MAX, outputs, NULL));
    OK(ortshard_batch_infer(NULL, NULL, NULL, 0, NULL, NULL));

    /* Arrays at odd addresses, those for answers never written before. */
    enum { AT = 1, LEN = REQUESTS * sizeof(ortshard_tensor) + AT };
    char *arrays[5];
    for (int i = 0; i < 5; i++) CHECK((arrays[i] = malloc(LEN)) != NULL);
    memcpy(arrays[0] + AT, requests, sizeof requests);
    memcpy(arrays[1] + AT, tensors, sizeof tensors);
    int32_t last[REQUESTS] = {ORTSHARD_LOGITS_LAST, ORTSHARD_LOGITS_LAST, ORTSHARD_LOGITS_LAST, ORTSHARD_LOGITS_LAST};
    memcpy(arrays[2] + AT, last, sizeof last);
    void *odd[5];
    for (int i = 0; i < 5; i++) odd[i] = arrays[i] + AT;
    FAILS(INVALID_ARGUMENT, "requests[3]: input->dtype", ortshard_batch_infer(odd[0], odd[1], odd[2], REQUESTS, odd[3], odd[4]));
    memcpy(outputs, odd[3], sizeof outputs);
    memcpy(statuses, odd[4], sizeof statuses);
    CHECK(statuses[0] == ORTSHARD_OK && statuses[3] == ORTSHARD_ERROR_INVALID_ARGUMENT);
    CHECK(outputs[2].shape[1] == 1 && outputs[2].data != NULL && outputs[3].data == NULL && outputs[3].rank == 0);
    for (int i = 0; i < 5; i++) free(arrays[i]);

    output_as_input(first, prompt, n);

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
