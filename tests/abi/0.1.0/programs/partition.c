/* However the model is cut in two, and into as many shards as it can be, the logits are the whole model's, bit for bit. */
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
            CHECK(tensor.dtype == ORTSHARD_DTYPE_FRAME || tensor.shape[1] == (int64_t)(step == 0 ? n_prompt : 1));
        }
        memcpy((char *)out + written, tensor.data, tensor.byte_length);
        written += tensor.byte_length;
    }
    return written;
}

/* A request that gives what the next shard takes: hidden states or, where more passes, frames. */
static ortshard_request *passing(const ortshard_shard *shard, uint32_t parts)
{
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    ortshard_request *request;
    options.output = parts > 1 ? ORTSHARD_OUTPUT_FRAME : ORTSHARD_OUTPUT_TENSOR;
    OK(ortshard_request_create(shard, &options, &request));
    return request;
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

    /* cut == 0 stands for all cuts at once. */
    for (uint32_t cut = 0; cut < layer_count; cut++) {
        if (cut > 0 && !boundary_behind(cut - 1).can_cut) continue;
        size_t n = 0;
        for (uint32_t first = 0, last = 0; first < layer_count; first = ++last) {
            while (last + 1 < layer_count && !(boundary_behind(last).can_cut && (cut == 0 || last + 1 == cut))) last++;
            shard = load(first, last + 1 == layer_count ? ORTSHARD_LAST_LAYER : last);
            ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
            OK(ortshard_shard_get_info(shard, &info));
            CHECK(info.is_first == (first == 0) && info.is_last == (last + 1 == layer_count));
            requests[n++] = passing(shard, info.output_parts);
            ortshard_shard_free(shard);
        }
        CHECK(logits_of(requests, n, parts) == bytes && memcmp(whole, parts, bytes) == 0);
        for (size_t i = 0; i < n; i++) ortshard_request_free(requests[i]);
    }
    free(whole);
    free(parts);
    return 0;
}
