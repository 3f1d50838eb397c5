/* Ids in, logits or the next id out: one request, no tensor. The bits and ids are those of tensors and samplers. */
#include "model.h"

static void refusals(ortshard_request *request, float *logits, size_t vocabulary)
{
    int64_t ids[2] = {1, -1}, id = -7;
    size_t needed = 7;
    uint64_t position;
    FAILS(INVALID_ARGUMENT, "count is 0", ortshard_request_logits(request, ids, 0, logits, vocabulary, &needed));
    FAILS(INVALID_ARGUMENT, "count is 0", ortshard_request_sample(request, ids, 0, NULL, &id));
    FAILS(OUT_OF_RANGE, "-1", ortshard_request_logits(request, ids, 2, logits, vocabulary, &needed));
    FAILS(OUT_OF_RANGE, "-1", ortshard_request_sample(request, ids, 2, NULL, &id));
    FAILS(BUFFER_TOO_SMALL, "needed", ortshard_request_logits(request, ids, 1, logits, vocabulary - 1, &needed));
    CHECK(needed == vocabulary && id == -7);
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0);
}

/* On a shard that is not the last, or not the first. */
static void other_shards(float *logits, size_t vocabulary)
{
    ortshard_shard *front = load(0, 0), *back = load(1, ORTSHARD_LAST_LAYER);
    ortshard_request *first = request_on(front), *last = request_on(back);
    int64_t id = 1;
    size_t needed;
    FAILS(INVALID_ARGUMENT, "gives no logits", ortshard_request_logits(first, &id, 1, logits, vocabulary, &needed));
    FAILS(INVALID_ARGUMENT, "gives no logits", ortshard_request_sample(first, &id, 1, NULL, &id));
    FAILS(INVALID_ARGUMENT, "hidden states", ortshard_request_logits(last, &id, 1, logits, vocabulary, &needed));
    FAILS(INVALID_ARGUMENT, "hidden states", ortshard_request_sample(last, &id, 1, NULL, &id));
    ortshard_request_free(first);
    ortshard_request_free(last);
    ortshard_shard_free(front);
    ortshard_shard_free(back);
}

int main(void)
{
    int64_t prompt[MOST], golden[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt), n_golden = ids_of("TEST_GREEDY", golden), needed = 0;
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_request *request = request_on(shard), *other = request_on(shard);
    ortshard_tensor input = ids_tensor(prompt, n), output;
    OK(ortshard_request_infer(other, &input, ORTSHARD_LOGITS_LAST, &output));

    /* Asked for the size, nothing runs. */
    uint64_t position;
    OK(ortshard_request_logits(request, prompt, n, NULL, 0, &needed));
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0 && needed * sizeof(float) == output.byte_length);
    float *logits = malloc(output.byte_length);
    CHECK(logits != NULL);
    OK(ortshard_request_logits(request, prompt, n, logits, needed, &needed));
    CHECK(memcmp(logits, output.data, output.byte_length) == 0);
    OK(ortshard_request_position(request, &position));
    CHECK(position == n);

    /* Without a sampler the largest logit, in place of what went in; with one the id that it chooses from the logits. */
    OK(ortshard_request_truncate(request, 0));
    int64_t ids[MOST];
    memcpy(ids, prompt, n * sizeof *ids);
    for (size_t i = 0, count = n; i < n_golden; i++, count = 1) {
        OK(ortshard_request_sample(request, ids, count, NULL, ids));
        CHECK(ids[0] == golden[i]);
    }
    ortshard_sampler *sampler, *twin;
    OK(ortshard_sampler_create(NULL, &sampler));
    OK(ortshard_sampler_create(NULL, &twin));
    int64_t chosen, wanted;
    OK(ortshard_request_truncate(request, 0));
    OK(ortshard_request_sample(request, prompt, n, sampler, &chosen));
    OK(ortshard_sampler_sample(twin, logits, needed, &wanted));
    CHECK(chosen == wanted);

    OK(ortshard_request_truncate(request, 0));
    refusals(request, logits, needed);
    other_shards(logits, needed);
    ortshard_sampler_free(sampler);
    ortshard_sampler_free(twin);
    ortshard_request_free(request);
    ortshard_request_free(other);
    ortshard_shard_free(shard);
    free(logits);
    return 0;
}
