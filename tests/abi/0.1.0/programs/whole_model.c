/* One shard of all layers generates what the reference does, and describes itself. */
#include "model.h"

int main(void)
{
    int64_t prompt[MOST], wanted[MOST], ids[MOST];
    size_t n_prompt = ids_of("TEST_PROMPT", prompt), n = ids_of("TEST_GREEDY", wanted);

    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_request *request = request_on(shard);
    greedy(&request, 1, prompt, n_prompt, ids, n);
    CHECK(memcmp(ids, wanted, n * sizeof *ids) == 0);

    uint64_t position, capacity;
    OK(ortshard_request_position(request, &position));
    OK(ortshard_request_capacity(request, &capacity));
    CHECK(position == n_prompt + n - 1 && capacity >= position);

    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_model_get_info(setting("TEST_MODEL"), &model));
    OK(ortshard_shard_get_info(shard, &info));
    CHECK(strcmp(info.architecture, model.architecture) == 0 && strstr(info.architecture, "ForCausalLM") != NULL);
    CHECK(info.first_layer == 0 && info.last_layer == model.layer_count - 1 && info.layer_count == model.layer_count);
    CHECK(info.is_first == 1 && info.is_last == 1);
    ortshard_engine_options asked = on_device();
    CHECK(info.device == asked.device && info.device_index == asked.device_index && info.requested_device == asked.device);
    CHECK(info.nodes > info.layer_count && info.cpu_nodes <= info.nodes);
    CHECK((info.cpu_nodes == info.nodes) == (asked.device == ORTSHARD_DEVICE_CPU));
    CHECK(info.hidden_size == model.hidden_size && info.vocab_size == model.vocab_size);
    CHECK(info.max_positions == model.max_positions && info.weight_bytes > 0 && info.kv_bytes_per_token > 0);
    CHECK(info.weight_dtype >= ORTSHARD_DTYPE_F32 && info.weight_dtype <= ORTSHARD_DTYPE_BF16);

    /* Back to the prompt's end, the first answer comes again. */
    ortshard_tensor input = ids_tensor(&wanted[0], 1), logits;
    OK(ortshard_request_truncate(request, n_prompt));
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &logits));
    const float *values = logits.data;
    int64_t best = 0;
    for (int64_t id = 1; id < logits.shape[2]; id++)
        if (values[id] > values[best]) best = id;
    CHECK(best == wanted[1]);

    ortshard_request_free(request);
    ortshard_shard_free(shard);
    return 0;
}
