/* A prompt of 10,000 tokens runs in chunks within the engine's memory limit and gives the bits that its tokens give one
 * by one. More than the request or the model has room for is refused. Freed, the memory is given back. */
#include "model.h"
#include "process.h"

enum { TOKENS = 10000, VOCABULARY = 64 };

static int64_t prompt[TOKENS + 1];
static ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;

static ortshard_engine *engine_of(uint64_t limit)
{
    ortshard_engine_options options = on_device();
    options.memory_limit = limit;
    ortshard_engine *engine;
    OK(ortshard_engine_create(&options, &engine));
    return engine;
}

static ortshard_request *request_of(const ortshard_shard *shard, uint32_t capacity)
{
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.capacity = capacity;
    ortshard_request *request;
    OK(ortshard_request_create(shard, &options, &request));
    return request;
}

int main(void)
{
    static float logits[TOKENS * VOCABULARY];
    for (int64_t i = 0; i <= TOKENS; i++) prompt[i] = (i * i + 3 * i) % VOCABULARY;
    spec.model = setting("TEST_LONG_MODEL");

    ortshard_shard *shard;
    ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
    ortshard_engine *engine = engine_of(0);
    OK(ortshard_engine_get_estimate(engine, &spec, TOKENS, 1, &estimate));
    ortshard_engine_free(engine);
    /* All logits, where the estimate has the last. ONNX Runtime's operators keep the attention's scores, which it leaves out. */
    engine = engine_of(native_operators() ? estimate.total_bytes + sizeof logits : UINT64_C(1) << 30);
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_shard_get_info(shard, &info));
    CHECK(info.vocab_size == VOCABULARY && info.max_positions == TOKENS);

    /* A shorter one takes what stays: the threads' scratch memory. */
    ortshard_tensor input = ids_tensor(prompt, 1024), output;
    ortshard_request *request = request_of(shard, 1024);
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_NONE, &output));
    ortshard_request_free(request);
    memset(logits, 1, sizeof logits);
    long before = private_memory();
    request = request_of(shard, TOKENS);
    input = ids_tensor(prompt, TOKENS);
    OK(ortshard_request_infer_into(request, &input, ORTSHARD_LOGITS_ALL, logits, sizeof logits, &output));
    CHECK(output.byte_length == sizeof logits);
    long kv = (long)(estimate.kv_bytes / 1024), during = private_memory();
    if (during > 0 && in_this_process()) CHECK(during - before > kv * 9 / 10);

    /* It is full, and so is the model; both say so and change nothing. */
    uint64_t position;
    input = ids_tensor(prompt, 1);
    FAILS(CONTEXT_FULL, "capacity 10000", ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_position(request, &position));
    CHECK(position == TOKENS);
    ortshard_request_free(request);
    CHECK(private_memory() - before <= kv / 10);
    ortshard_request_options too_long = ORTSHARD_REQUEST_OPTIONS_INIT;
    too_long.capacity = TOKENS + 1;
    FAILS(OUT_OF_RANGE, "max_position_embeddings 10000", ortshard_request_create(shard, &too_long, &request));
    request = request_of(shard, TOKENS - 1);
    input = ids_tensor(prompt, TOKENS);
    FAILS(CONTEXT_FULL, "capacity 9999", ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0);
    ortshard_request_free(request);

    /* The same tokens one by one: every row of logits has the same bits, or on a GPU, which computes this model in bfloat16,
     * differs by ten roundings of eight bits. */
    request = request_of(shard, TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        input = ids_tensor(&prompt[i], 1);
        OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
        CHECK(same_in_pieces(output.data, &logits[i * VOCABULARY], VOCABULARY * sizeof *logits, in_this_process() ? 1e-4F : 4e-2F));
    }
    ortshard_engine_stats counters = ORTSHARD_ENGINE_STATS_INIT;
    OK(ortshard_engine_get_stats(engine, &counters));
    CHECK(counters.out_of_memory_load + counters.out_of_memory_kv + counters.out_of_memory_run == 0);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return 0;
}
