/* Structs of older and newer programs work: what is missing has its default, what is unknown must be zero. */
#include "check.h"

int main(void)
{
    ortshard_sampler *sampler;
    struct {
        ortshard_sampler_options known;
        uint64_t later;
    } newer = {ORTSHARD_SAMPLER_OPTIONS_INIT, 0};
    newer.known.struct_size = sizeof newer;

    OK(ortshard_sampler_create(&newer.known, &sampler));
    ortshard_sampler_free(sampler);
    newer.later = 1;
    FAILS(VERSION_MISMATCH, "ortshard_sampler_options", ortshard_sampler_create(&newer.known, &sampler));
    CHECK(sampler == NULL);

    /* An older program knows only temperature and top_k; a default seed takes the place of what lies behind. */
    ortshard_sampler_options older = ORTSHARD_SAMPLER_OPTIONS_INIT;
    older.struct_size = offsetof(ortshard_sampler_options, seed);
    OK(ortshard_sampler_create(&older, &sampler));
    ortshard_sampler_free(sampler);

    static const size_t BAD[] = {0, 1, 7, 12, 25, 1 << 20, SIZE_MAX};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        ortshard_sampler_options sized = ORTSHARD_SAMPLER_OPTIONS_INIT;
        ortshard_engine_options engine_options = ORTSHARD_ENGINE_OPTIONS_INIT;
        ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
        ortshard_engine *engine;
        sized.struct_size = engine_options.struct_size = model.struct_size = BAD[i];
        FAILS(INVALID_ARGUMENT, "ortshard_sampler_options: struct_size", ortshard_sampler_create(&sized, &sampler));
        FAILS(INVALID_ARGUMENT, "sizeof(ortshard_engine_options)", ortshard_engine_create(&engine_options, &engine));
        FAILS(INVALID_ARGUMENT, "ortshard_model_info", ortshard_model_get_info(setting("TEST_MODEL"), &model));
        FAILS(INVALID_ARGUMENT, "ortshard_sampler_options: struct_size", ortshard_sampler_options_init(&sized, BAD[i]));
    }

    /* The init functions give what the macros give. */
#define SAME(type, function, macro)                        \
    do {                                                   \
        type by_macro = macro, by_function;                \
        memset(&by_function, 0, sizeof by_function);       \
        OK(function(&by_function, sizeof by_function));    \
        CHECK(memcmp(&by_macro, &by_function, sizeof by_macro) == 0); \
    } while (0)
    SAME(ortshard_runtime_options, ortshard_runtime_options_init, ORTSHARD_RUNTIME_OPTIONS_INIT);
    SAME(ortshard_engine_options, ortshard_engine_options_init, ORTSHARD_ENGINE_OPTIONS_INIT);
    SAME(ortshard_request_options, ortshard_request_options_init, ORTSHARD_REQUEST_OPTIONS_INIT);
    SAME(ortshard_sampler_options, ortshard_sampler_options_init, ORTSHARD_SAMPLER_OPTIONS_INIT);
    /* It has bytes between fields, which no initialiser sets. */
    ortshard_plan_options plan;
    OK(ortshard_plan_options_init(&plan, sizeof plan));
    CHECK(plan.context == 0 && plan.requests == 1 && plan.margin == 0.125 && plan.keep_order == 0 && plan.device_count == 0);
    ortshard_shard_spec spec;
    OK(ortshard_shard_spec_init(&spec, sizeof spec));
    CHECK(spec.model == NULL && spec.first_layer == 0 && spec.last_layer == ORTSHARD_LAST_LAYER && spec.layer_count == 0);

    /* A struct to be filled: an older program's end is not written past, a newer one's unknown part becomes zero. */
    struct {
        ortshard_model_info known;
        uint64_t later;
    } answer;
    memset(&answer, 0xAA, sizeof answer);
    answer.known.struct_size = offsetof(ortshard_model_info, layer_count);
    OK(ortshard_model_get_info(setting("TEST_MODEL"), &answer.known));
    CHECK(strstr(answer.known.architecture, "ForCausalLM") != NULL);
    CHECK(answer.known.layer_count == UINT32_C(0xAAAAAAAA));
    answer.known.struct_size = sizeof answer;
    OK(ortshard_model_get_info(setting("TEST_MODEL"), &answer.known));
    CHECK(answer.known.layer_count > 0 && answer.known.layer_count < 100 && answer.later == 0);
    CHECK(answer.known.struct_size == sizeof answer);
    return 0;
}
