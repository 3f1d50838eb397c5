/* Wrong inputs are refused by name before anything runs, and the next right call gives what it should. */
#include "model.h"

static ortshard_request *request;
static ortshard_tensor output;
static ortshard_status each;

#define REFUSED(status, text, ...)                                                                \
    do {                                                                                          \
        ortshard_tensor bad = __VA_ARGS__;                                                        \
        FAILS(status, text, ortshard_request_infer(request, &bad, ORTSHARD_LOGITS_LAST, &output)); \
        CHECK(output.data == NULL && output.rank == 0 && output.byte_length == 0);                \
        FAILS(status, text, ortshard_batch_infer(&request, &bad, NULL, 1, &output, &each));       \
        CHECK(each == ORTSHARD_ERROR_##status && strstr(ortshard_last_error(), "requests[0]"));   \
        CHECK(output.data == NULL && output.rank == 0 && output.byte_length == 0);                \
    } while (0)

int main(void)
{
    int64_t prompt[MOST], wanted[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", wanted);
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER), *back = load(1, ORTSHARD_LAST_LAYER);
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_shard_get_info(back, &info));
    int64_t width = info.hidden_size;
    float *hidden = calloc(2 * (size_t)width + 2, sizeof *hidden);
    CHECK(hidden != NULL);
    size_t row = (size_t)width * sizeof(float);

    /* A first shard takes ids. */
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.capacity = (uint32_t)n;
    OK(ortshard_request_create(shard, &options, &request));
    REFUSED(INVALID_ARGUMENT, "takes token ids", {ORTSHARD_DTYPE_F32, 2, {1, width}, hidden, row});
    REFUSED(INVALID_ARGUMENT, "dtype is 0", {0, 1, {1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "dtype is 99", {99, 1, {1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "rank is 0", {ORTSHARD_DTYPE_I64, 0, {1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "rank is 3", {ORTSHARD_DTYPE_I64, 3, {1, 1, 1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "rank is 5", {ORTSHARD_DTYPE_I64, 5, {1, 1, 1, 1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "rank is 4294967295", {ORTSHARD_DTYPE_I64, UINT32_MAX, {1, 1, 1, 1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "shape[0] is 2", {ORTSHARD_DTYPE_I64, 2, {2, 1}, prompt, 16});
    REFUSED(INVALID_ARGUMENT, "not positive", {ORTSHARD_DTYPE_I64, 1, {0}, prompt, 0});
    REFUSED(INVALID_ARGUMENT, "not positive", {ORTSHARD_DTYPE_I64, 1, {-1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "more than memory", {ORTSHARD_DTYPE_I64, 1, {INT64_MAX}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "byte_length is 7", {ORTSHARD_DTYPE_I64, 1, {1}, prompt, 7});
    REFUSED(INVALID_ARGUMENT, "byte_length is 9", {ORTSHARD_DTYPE_I64, 1, {1}, prompt, 9});
    REFUSED(NULL_ARGUMENT, "input->data", {ORTSHARD_DTYPE_I64, 1, {1}, NULL, 8});

    int64_t ids[3] = {0, info.vocab_size, 0};
    REFUSED(OUT_OF_RANGE, "index 1", {ORTSHARD_DTYPE_I64, 1, {3}, ids, sizeof ids});
    ids[1] = -1;
    REFUSED(OUT_OF_RANGE, "-1", {ORTSHARD_DTYPE_I64, 1, {3}, ids, sizeof ids});
    ids[1] = INT64_MIN;
    REFUSED(OUT_OF_RANGE, "index 1", {ORTSHARD_DTYPE_I64, 1, {3}, ids, sizeof ids});

    ortshard_tensor input = ids_tensor(prompt, n);
    FAILS(INVALID_ARGUMENT, "logits is 3", ortshard_request_infer(request, &input, 3, &output));
    FAILS(INVALID_ARGUMENT, "logits is -1", ortshard_request_infer(request, &input, -1, &output));
    FAILS(OUT_OF_RANGE, "position", ortshard_request_truncate(request, 1));
    FAILS(OUT_OF_RANGE, "position", ortshard_request_truncate(request, UINT64_MAX));

    /* After all that the answer is right, and then the cache is full. */
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    const float *values = output.data;
    for (int64_t id = 0; id < output.shape[2]; id++) CHECK(values[id] <= values[wanted[0]]);
    REFUSED(CONTEXT_FULL, "capacity", {ORTSHARD_DTYPE_I64, 1, {1}, ids, 8});
    uint64_t position;
    OK(ortshard_request_position(request, &position));
    CHECK(position == n);
    ortshard_request_free(request);

    /* Other shards take hidden states. */
    OK(ortshard_request_create(back, NULL, &request));
    REFUSED(INVALID_ARGUMENT, "takes hidden states", {ORTSHARD_DTYPE_I64, 1, {1}, prompt, 8});
    REFUSED(INVALID_ARGUMENT, "width", {ORTSHARD_DTYPE_F32, 2, {1, width + 1}, hidden, row + 4});
    REFUSED(INVALID_ARGUMENT, "rank is 1", {ORTSHARD_DTYPE_F32, 1, {width}, hidden, row});
    REFUSED(INVALID_ARGUMENT, "rank is 4", {ORTSHARD_DTYPE_F32, 4, {1, 1, 1, width}, hidden, row});
    REFUSED(INVALID_ARGUMENT, "shape[0] is 2", {ORTSHARD_DTYPE_F32, 3, {2, 1, width}, hidden, 2 * row});
    REFUSED(INVALID_ARGUMENT, "not positive", {ORTSHARD_DTYPE_F32, 2, {-1, -width}, hidden, row});
    REFUSED(INVALID_ARGUMENT, "more than memory", {ORTSHARD_DTYPE_F32, 2, {INT64_MAX, INT64_MAX}, hidden, row});
    REFUSED(INVALID_ARGUMENT, "byte_length", {ORTSHARD_DTYPE_F16, 2, {1, width}, hidden, row});
    ortshard_request_free(request);

    /* Requests and engines with impossible options. */
    options.capacity = UINT32_MAX;
    FAILS(OUT_OF_RANGE, "capacity", ortshard_request_create(shard, &options, &request));
    CHECK(request == NULL);
    ortshard_engine *engine;
    ortshard_engine_options engine_options = ORTSHARD_ENGINE_OPTIONS_INIT;
    engine_options.device = 77;
    FAILS(INVALID_ARGUMENT, "device is 77", ortshard_engine_create(&engine_options, &engine));
    engine_options.device = ORTSHARD_DEVICE_CPU;
    engine_options.device_index = 1;
    FAILS(INVALID_ARGUMENT, "only one cpu", ortshard_engine_create(&engine_options, &engine));
    engine_options.device_index = 0;
    engine_options.precision = -3;
    FAILS(INVALID_ARGUMENT, "precision is -3", ortshard_engine_create(&engine_options, &engine));
    engine_options.precision = ORTSHARD_PRECISION_AUTO;
    engine_options.kv_type = ORTSHARD_DTYPE_BF16;
    FAILS(INVALID_ARGUMENT, "kv_type is 5", ortshard_engine_create(&engine_options, &engine));
    engine_options.kv_type = ORTSHARD_DTYPE_I32;
    FAILS(INVALID_ARGUMENT, "kv_type is 1", ortshard_engine_create(&engine_options, &engine));
    engine_options.kv_type = ORTSHARD_DTYPE_INT4;
    FAILS(INVALID_ARGUMENT, "kv_type is 17", ortshard_engine_create(&engine_options, &engine));
    engine_options.kv_type = ORTSHARD_DTYPE_INT8;
    engine_options.stock_operators = 1;
    FAILS(UNSUPPORTED, "kv_type", ortshard_engine_create(&engine_options, &engine));
    CHECK(engine == NULL);

    free(hidden);
    ortshard_shard_free(shard);
    ortshard_shard_free(back);
    return 0;
}
