/* However the model is cut in two, and into single layers, the logits are the whole model's, bit for bit. */
#include "model.h"

/* Runs the prompt, then one id, through requests; appends all logits to `out`. */
static size_t logits_of(ortshard_request **requests, size_t n, float *out)
{
    int64_t prompt[MOST];
    size_t n_prompt = ids_of("TEST_PROMPT", prompt), written = 0;
    for (int step = 0; step < 2; step++) {
        ortshard_tensor tensor = step == 0 ? ids_tensor(prompt, n_prompt) : ids_tensor(&prompt[1], 1);
        for (size_t i = 0; i < n; i++) {
            OK(ortshard_request_infer(requests[i], &tensor, ORTSHARD_LOGITS_ALL, &tensor));
            CHECK(tensor.shape[1] == (int64_t)(step == 0 ? n_prompt : 1));
        }
        memcpy((char *)out + written, tensor.data, tensor.byte_length);
        written += tensor.byte_length;
    }
    return written;
}

int main(void)
{
    uint32_t layer_count = layers();
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    OK(ortshard_model_get_info(setting("TEST_MODEL"), &model));
    size_t room = (MOST + 1) * model.vocab_size * sizeof(float);
    float *whole = malloc(room), *parts = malloc(room);
    CHECK(whole != NULL && parts != NULL && layer_count <= 64);

    ortshard_request *requests[64];
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    requests[0] = request_on(shard);
    ortshard_shard_free(shard);
    size_t bytes = logits_of(requests, 1, whole);
    ortshard_request_free(requests[0]);

    /* cut == 0 stands for a shard for every layer. */
    for (uint32_t cut = 0; cut < layer_count; cut++) {
        size_t n = cut == 0 ? layer_count : 2;
        for (uint32_t i = 0; i < n; i++) {
            shard = cut == 0 ? load(i, i) : load(i == 0 ? 0 : cut, i == 0 ? cut - 1 : ORTSHARD_LAST_LAYER);
            ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
            OK(ortshard_shard_get_info(shard, &info));
            CHECK(info.is_first == (i == 0) && info.is_last == (i + 1 == n));
            requests[i] = request_on(shard);
            ortshard_shard_free(shard);
        }
        CHECK(logits_of(requests, n, parts) == bytes && memcmp(whole, parts, bytes) == 0);
        for (size_t i = 0; i < n; i++) ortshard_request_free(requests[i]);
    }
    free(whole);
    free(parts);
    return 0;
}
