/* KV caches in 8 bits take a quarter of the memory, give the same bits in one shard and in two, and a state that only
 * their own kind takes. */
#include "model.h"

static ortshard_shard *load_as(int32_t kv_type, uint32_t first, uint32_t last)
{
    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    ortshard_engine *engine;
    ortshard_shard *shard;
    options.kv_type = kv_type;
    spec.model = setting("TEST_MODEL");
    spec.first_layer = first;
    spec.last_layer = last;
    OK(ortshard_engine_create(&options, &engine));
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_engine_free(engine);
    return shard;
}

static uint64_t kv_bytes(const ortshard_shard *shard)
{
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_shard_get_info(shard, &info));
    return info.kv_bytes_per_token;
}

int main(void)
{
    int64_t prompt[MOST], whole_ids[16], cut_ids[16], id = 7;
    size_t n = ids_of("TEST_PROMPT", prompt), bytes;
    ortshard_shard *whole = load_as(ORTSHARD_DTYPE_INT8, 0, ORTSHARD_LAST_LAYER);
    ortshard_shard *first = load_as(ORTSHARD_DTYPE_INT8, 0, 0), *rest = load_as(ORTSHARD_DTYPE_INT8, 1, ORTSHARD_LAST_LAYER);
    ortshard_shard *halves = load_as(ORTSHARD_DTYPE_F16, 0, ORTSHARD_LAST_LAYER);
    ortshard_shard *floats = load_as(ORTSHARD_DTYPE_AUTO, 0, ORTSHARD_LAST_LAYER);
    /* The tensors' types say the same. */
    ortshard_shard *tensors = load_as(ORTSHARD_DTYPE_F32, 0, ORTSHARD_LAST_LAYER);
    CHECK(kv_bytes(tensors) == kv_bytes(floats));
    ortshard_shard_free(tensors);
    CHECK(kv_bytes(halves) * 2 == kv_bytes(floats) && kv_bytes(whole) < kv_bytes(halves));
    CHECK(kv_bytes(first) + kv_bytes(rest) == kv_bytes(whole));

    ortshard_request *one = request_on(whole), *two[] = {request_on(first), request_on(rest)};
    greedy(&one, 1, prompt, n, whole_ids, 16);
    greedy(two, 2, prompt, n, cut_ids, 16);
    CHECK(memcmp(whole_ids, cut_ids, sizeof whole_ids) == 0);
    ortshard_tensor next = ids_tensor(&id, 1), hidden, output, again;
    OK(ortshard_request_infer(one, &next, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_infer(two[0], &next, ORTSHARD_LOGITS_LAST, &hidden));
    OK(ortshard_request_infer(two[1], &hidden, ORTSHARD_LOGITS_LAST, &again));
    CHECK(output.byte_length == again.byte_length && memcmp(output.data, again.data, output.byte_length) == 0);

    /* Its state: smaller than one of float32 rows would be, and taken by nothing but its own kind. */
    OK(ortshard_request_export_state(one, NULL, 0, &bytes));
    char *state = malloc(bytes);
    CHECK(state != NULL && bytes < (n + 16) * kv_bytes(floats));
    OK(ortshard_request_export_state(one, state, bytes, &bytes));
    const ortshard_shard *others[] = {halves, floats};
    for (int i = 0; i < 2; i++) {
        ortshard_request *other = request_on(others[i]);
        FAILS(INVALID_ARGUMENT, "kv_type", ortshard_request_import_state(other, state, bytes));
        ortshard_request_free(other);
    }
    ortshard_request *imported = request_on(whole);
    OK(ortshard_request_import_state(imported, state, bytes));
    OK(ortshard_request_infer(one, &next, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_infer(imported, &next, ORTSHARD_LOGITS_LAST, &again));
    CHECK(memcmp(output.data, again.data, output.byte_length) == 0);

    free(state);
    ortshard_request_free(imported);
    ortshard_request_free(one);
    ortshard_request_free(two[0]);
    ortshard_request_free(two[1]);
    ortshard_shard *shards[] = {whole, first, rest, halves, floats};
    for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) ortshard_shard_free(shards[i]);
    return 0;
}
