/* A model made to do harm is refused with the name of what is wrong, whichever call meets it, and the engine's shard
 * answers as before. tests/suite/c/folders.rs makes the folders. */
#include "model.h"

static const struct {
    const char *folder;
    ortshard_status status;
    const char *texts[2];
} models[] = {
#define WEIGHTS "model.safetensors"
    {"weights_empty", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, ""}},
    {"weights_header_endless", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "header"}},
    {"weights_header_long", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "header"}},
    {"weights_header_not_json", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "header"}},
    {"weights_header_not_utf8", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "header"}},
    {"weights_header_deep", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "header"}},
    {"weights_beyond", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "model.norm.weight"}},
    {"weights_backwards", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "model.norm.weight"}},
    {"weights_overlap", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "weight"}},
    {"weights_negative", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "-80"}},
    {"weights_overflow", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "overflow"}},
    {"weights_dtype", ORTSHARD_ERROR_UNSUPPORTED, {"model.norm.weight", "I16"}},
    {"weights_link", ORTSHARD_ERROR_MALFORMED, {WEIGHTS, "outside the model folder"}},
#define INDEX "model.safetensors.index.json"
    {"index_up", ORTSHARD_ERROR_MALFORMED, {"../secret/model.safetensors", "leaves the model folder"}},
    {"index_absolute", ORTSHARD_ERROR_MALFORMED, {"/etc/passwd", "leaves the model folder"}},
    {"index_folder", ORTSHARD_ERROR_MALFORMED, {"`..`", "leaves the model folder"}},
    {"index_number", ORTSHARD_ERROR_MALFORMED, {INDEX, "is not a file name"}},
    {"index_missing", ORTSHARD_ERROR_NOT_FOUND, {"nowhere.safetensors", ""}},
    {"index_not_json", ORTSHARD_ERROR_MALFORMED, {INDEX, "not valid JSON"}},
    {"index_not_utf8", ORTSHARD_ERROR_MALFORMED, {INDEX, "not valid JSON"}},
    {"index_list", ORTSHARD_ERROR_MALFORMED, {INDEX, "weight_map"}},
    {"index_deep", ORTSHARD_ERROR_MALFORMED, {INDEX, "recursion"}},
    {"index_empty", ORTSHARD_ERROR_NOT_FOUND, {INDEX, "tensor `"}},
    {"index_link", ORTSHARD_ERROR_MALFORMED, {"link.safetensors", "outside the model folder"}},
#define CONFIG "config.json"
    {"config_layers", ORTSHARD_ERROR_MALFORMED, {CONFIG, "num_hidden_layers is 1000000000"}},
    {"config_kv_heads", ORTSHARD_ERROR_MALFORMED, {CONFIG, "num_key_value_heads is 1099511627776"}},
    {"config_heads", ORTSHARD_ERROR_MALFORMED, {CONFIG, "num_attention_heads is 0"}},
    {"config_width", ORTSHARD_ERROR_MALFORMED, {CONFIG, "hidden_size"}},
    {"config_head_dim", ORTSHARD_ERROR_MALFORMED, {CONFIG, "head_dim is 18446744073709551615"}},
    {"config_vocabulary", ORTSHARD_ERROR_MALFORMED, {CONFIG, "vocab_size"}},
    {"config_intermediate", ORTSHARD_ERROR_MALFORMED, {CONFIG, "intermediate_size"}},
    {"config_positions", ORTSHARD_ERROR_MALFORMED, {CONFIG, "max_position_embeddings is 9223372036854775808"}},
    {"config_window", ORTSHARD_ERROR_MALFORMED, {CONFIG, "sliding_window"}},
    {"config_theta", ORTSHARD_ERROR_MALFORMED, {CONFIG, "rope_theta is 0"}},
    {"config_epsilon", ORTSHARD_ERROR_MALFORMED, {CONFIG, "rms_norm_eps"}},
    {"config_rope", ORTSHARD_ERROR_MALFORMED, {CONFIG, "factor is -1"}},
    {"config_deep", ORTSHARD_ERROR_MALFORMED, {CONFIG, "recursion"}},
    {"config_not_utf8", ORTSHARD_ERROR_MALFORMED, {CONFIG, ""}},
    {"config_list", ORTSHARD_ERROR_MALFORMED, {CONFIG, "not an object"}},
    {"config_empty", ORTSHARD_ERROR_MALFORMED, {CONFIG, ""}},
    {"config_link", ORTSHARD_ERROR_MALFORMED, {CONFIG, "outside the model folder"}},
};

static int starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The bits of the logits after the test's prompt. */
static uint32_t *answer(const ortshard_shard *shard, size_t *size)
{
    int64_t prompt[MOST];
    ortshard_request *request = request_on(shard);
    ortshard_tensor input = ids_tensor(prompt, ids_of("TEST_PROMPT", prompt)), output;
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_ALL, &output));
    uint32_t *bits = malloc(output.byte_length);
    CHECK(bits != NULL);
    memcpy(bits, output.data, *size = output.byte_length);
    ortshard_request_free(request);
    return bits;
}

int main(void)
{
    const char *broken = setting("TEST_BROKEN_MODELS");
    ortshard_engine *engine;
    ortshard_shard *kept, *shard, *current;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    OK(ortshard_engine_create(NULL, &engine));
    spec.model = setting("TEST_MODEL");
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &kept));
    size_t size, size_now;
    uint32_t *before = answer(kept, &size);

    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *folder = models[i].folder, *text = models[i].texts[0], *more = models[i].texts[1];
        fprintf(stderr, "%s\n", folder);
        spec.model = join(broken, folder);
#define REFUSED(call)                                                              \
    do {                                                                           \
        status_((call), models[i].status, #call, __FILE__, __LINE__);              \
        CHECK(strstr(ortshard_last_error(), text) && strstr(ortshard_last_error(), more)); \
    } while (0)
        REFUSED(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
        CHECK(shard == NULL);
        if (starts_with(folder, "config_")) {
            ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
            ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
            REFUSED(ortshard_model_get_info(spec.model, &model));
            REFUSED(ortshard_engine_get_estimate(engine, &spec, 16, 1, &estimate));
        } else {
            REFUSED(ortshard_engine_load_checkpoint(engine, spec.model, NULL, NULL, &shard));
            CHECK(shard == NULL);
        }
        OK(ortshard_engine_current_shard(engine, &current));
        CHECK(current == kept);
        ortshard_shard_free(current);
        uint32_t *now = answer(kept, &size_now);
        CHECK(size_now == size && memcmp(now, before, size) == 0);
        free(now);
    }

    free(before);
    ortshard_shard_free(kept);
    ortshard_engine_free(engine);
    return 0;
}
