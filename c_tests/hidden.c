/* Hidden states in and out of a middle shard: types, ranks, a copy, and an output that comes back as input. */
#include "model.h"

static void same(const void *a, const void *b, size_t bytes)
{
    CHECK(memcmp(a, b, bytes) == 0);
}

int main(void)
{
    uint32_t n_layers = layers();
    CHECK(n_layers >= 2);
    int64_t prompt[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ortshard_shard *front = load(0, 0), *back = load(1, ORTSHARD_LAST_LAYER);
    ortshard_request *first = request_on(front), *second = request_on(back);

    ortshard_tensor input = ids_tensor(prompt, n), hidden, logits;
    OK(ortshard_request_infer(first, &input, ORTSHARD_LOGITS_NONE, &hidden)); /* no matter for a first shard */
    CHECK(hidden.dtype == ORTSHARD_F32 && hidden.rank == 3 && hidden.shape[0] == 1 && hidden.shape[1] == (int64_t)n);

    /* bfloat16 is the upper half of a float; cut that far, both types are the same numbers. */
    size_t count = hidden.byte_length / sizeof(float);
    uint32_t *wide = malloc(count * sizeof *wide);
    uint16_t *narrow = malloc(count * sizeof *narrow);
    CHECK(wide != NULL && narrow != NULL);
    memcpy(wide, hidden.data, hidden.byte_length);
    for (size_t i = 0; i < count; i++) {
        narrow[i] = (uint16_t)(wide[i] >> 16);
        wide[i] &= UINT32_C(0xFFFF0000);
    }
    int64_t width = hidden.shape[2];
    ortshard_tensor as_float = {ORTSHARD_F32, 2, {(int64_t)n, width}, wide, count * sizeof *wide};
    ortshard_tensor as_bf16 = {ORTSHARD_BF16, 3, {1, (int64_t)n, width}, narrow, count * sizeof *narrow};
    OK(ortshard_request_infer(second, &as_float, ORTSHARD_LOGITS_LAST, &logits));
    size_t bytes = logits.byte_length;
    void *wanted = malloc(bytes);
    CHECK(wanted != NULL);
    memcpy(wanted, logits.data, bytes);
    OK(ortshard_request_truncate(second, 0));
    OK(ortshard_request_infer(second, &as_bf16, ORTSHARD_LOGITS_LAST, &logits));
    same(wanted, logits.data, bytes);

    /* A shard's own output as its next input is copied before it is overwritten. */
    if (n_layers > 2) {
        ortshard_shard *middle = load(1, 1);
        ortshard_request *loop = request_on(middle), *reference = request_on(middle);
        ortshard_tensor own, copied = as_float;
        OK(ortshard_request_infer(loop, &as_float, 0, &own));
        float *copy = malloc(own.byte_length);
        CHECK(copy != NULL);
        OK(ortshard_request_infer_into(reference, &as_float, 0, copy, own.byte_length, &copied));
        OK(ortshard_request_infer(loop, &own, 0, &own));
        OK(ortshard_request_infer_into(reference, &copied, 0, copy, copied.byte_length, &copied)); /* in place */
        same(copied.data, own.data, own.byte_length);
        free(copy);
        ortshard_request_free(loop);
        ortshard_request_free(reference);
        ortshard_shard_free(middle);
    }

    free(wanted);
    free(wide);
    free(narrow);
    ortshard_request_free(first);
    ortshard_request_free(second);
    ortshard_shard_free(front);
    ortshard_shard_free(back);
    return 0;
}
