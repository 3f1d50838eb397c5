/* Hidden states go in and out of a middle shard: in every type and rank, as a copy, and an output as the next input. */
#include "model.h"

static void same(const void *a, const void *b, size_t bytes)
{
    CHECK(memcmp(a, b, bytes) == 0);
}

/* The half that a float is rounded to, worked out with doubles: half to even, up to the largest. */
static uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    double size = value < 0 ? -(double)value : (double)value, unit = 1.0 / (1 << 24);
    if (value != value) return 0x7e00;
    if ((bits & 0x7fffffff) == 0x7f800000) return sign | 0x7c00;
    if (size > 65504) return sign | 0x7bff;
    uint16_t half = 0; /* counts units from 0 up: the next half is the next number */
    while (size >= unit * 2048) unit *= 2, half = (uint16_t)(half + 1024);
    uint32_t units = (uint32_t)(size / unit);
    double rest = size / unit - units;
    if (rest > 0.5 || (rest == 0.5 && units % 2 == 1)) units++;
    return (uint16_t)(sign | (half + units));
}

static void saturated(int64_t width)
{
    static const float LARGE[] = {65504.0f, 65519.0f, 65520.0f, 1e5f, -65536.0f, -3e38f, 1e9f, -1e5f};
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.hidden_dtype = ORTSHARD_DTYPE_F16;
    ortshard_shard *middle = load(1, 1);
    ortshard_request *full = request_on(middle), *half;
    OK(ortshard_request_create(middle, &options, &half));
    size_t beyond = 0, rows = 4, count = rows * (size_t)width;
    float *states = malloc(count * sizeof *states);
    CHECK(states != NULL);
    for (size_t i = 0; i < count; i++) states[i] = LARGE[i * 5 % 8] * (i % 3 == 0 ? 1.0f : 1e-5f);
    ortshard_tensor input = {ORTSHARD_DTYPE_F32, 2, {(int64_t)rows, width}, states, count * sizeof *states}, wide, narrow;
    OK(ortshard_request_infer(full, &input, 0, &wide));
    OK(ortshard_request_infer(half, &input, 0, &narrow));
    CHECK(narrow.dtype == ORTSHARD_DTYPE_F16 && 2 * narrow.byte_length == wide.byte_length);
    for (size_t i = 0; i < count; i++) {
        float value = ((const float *)wide.data)[i];
        uint16_t wanted = half_of(value), is = ((const uint16_t *)narrow.data)[i];
        CHECK(is == wanted || (value != value && (is & 0x7fff) > 0x7c00));
        /* Norms that subtract a mean make of such states what is no number. */
        beyond += !(value <= 65520 && value >= -65520);
    }
    CHECK(beyond > 0 || !native_operators());
    free(states);
    ortshard_request_free(full);
    ortshard_request_free(half);
    ortshard_shard_free(middle);
}

int main(void)
{
    uint32_t layer_count = layers();
    CHECK(layer_count >= 2);
    /* Where more passes, or nothing can, frames.c has what there is to show. */
    ortshard_boundary boundary = boundary_behind(0);
    if (!boundary.can_cut || boundary.part_count > 1) return 0;
    int64_t prompt[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ortshard_shard *front = load(0, 0), *back = load(1, ORTSHARD_LAST_LAYER);
    ortshard_request *first = request_on(front), *second = request_on(back);

    ortshard_tensor input = ids_tensor(prompt, n), hidden, logits;
    OK(ortshard_request_infer(first, &input, ORTSHARD_LOGITS_NONE, &hidden)); /* no matter for a first shard */
    CHECK(hidden.dtype == ORTSHARD_DTYPE_F32 && hidden.rank == 3 && hidden.shape[0] == 1 && hidden.shape[1] == (int64_t)n);

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
    ortshard_tensor as_float = {ORTSHARD_DTYPE_F32, 2, {(int64_t)n, width}, wide, count * sizeof *wide};
    ortshard_tensor as_bf16 = {ORTSHARD_DTYPE_BF16, 3, {1, (int64_t)n, width}, narrow, count * sizeof *narrow};
    OK(ortshard_request_infer(second, &as_float, ORTSHARD_LOGITS_LAST, &logits));
    size_t bytes = logits.byte_length;
    void *wanted = malloc(bytes);
    CHECK(wanted != NULL);
    memcpy(wanted, logits.data, bytes);
    OK(ortshard_request_truncate(second, 0));
    OK(ortshard_request_infer(second, &as_bf16, ORTSHARD_LOGITS_LAST, &logits));
    same(wanted, logits.data, bytes);

    /* As float16, what is beyond the largest becomes the largest; infinities and NaNs stay what they are. */
    if (layer_count > 2) saturated(width);

    /* A shard's own output as its next input is copied before it is overwritten. */
    if (layer_count > 2) {
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
