/* A model that is missing or broken is refused with a message that says where, and the engine stays as it was.
 * tests/suite/host/c_tests.rs makes the broken folders from the test model. */
#include "model.h"

int main(void)
{
    const char *broken = setting("TEST_BROKEN_MODELS");
    ortshard_engine *engine;
    ortshard_shard *shard, *kept, *current;
    OK(ortshard_engine_create(NULL, &engine));
    OK(ortshard_engine_current_shard(engine, &current));
    CHECK(current == NULL);

    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &kept));

    /* Layers. */
#define REFUSED(status, text) FAILS(status, text, ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard))
    uint32_t layer_count = layers();
    spec.first_layer = layer_count;
    REFUSED(OUT_OF_RANGE, "layer");
    spec.first_layer = 0;
    spec.last_layer = layer_count;
    REFUSED(OUT_OF_RANGE, "layer");
    spec.first_layer = 1;
    spec.last_layer = 0;
    REFUSED(OUT_OF_RANGE, "first_layer 1 is after last_layer 0");
    spec.first_layer = 0;
    spec.last_layer = ORTSHARD_LAST_LAYER;
    spec.layer_count = layer_count + 1;
    REFUSED(INVALID_ARGUMENT, "layer_count");
    spec.layer_count = 0;

    /* Folders. */
#define BROKEN(status, text, name)                   \
    do {                                             \
        spec.model = join(broken, name);             \
        REFUSED(status, text);                       \
        CHECK(shard == NULL);                        \
    } while (0)
    BROKEN(NOT_FOUND, "no_such_folder", "no_such_folder");
    BROKEN(NOT_FOUND, "config.json", "no_config");
    BROKEN(MALFORMED, "broken_config", "broken_config");
    BROKEN(UNSUPPORTED, "no_such_architecture", "other_architecture");
    BROKEN(NOT_FOUND, "no_weights", "no_weights");
    BROKEN(MALFORMED, "truncated_weights", "truncated_weights");
    BROKEN(NOT_FOUND, "model.norm.weight", "missing_tensor");
    BROKEN(MALFORMED, "model.norm.weight", "wrong_shape");
    spec.model = join(setting("TEST_MODEL"), "config.json");
    REFUSED(INVALID_ARGUMENT, "not a folder");
    spec.model = "\xff";
    REFUSED(INVALID_UTF8, "spec->model");
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    FAILS(MALFORMED, "config", ortshard_model_get_info(join(broken, "broken_config"), &model));
    FAILS(NOT_FOUND, "config.json", ortshard_model_get_info(join(broken, "no_config"), &model));

    /* The engine still has the shard it had, and clearing leaves none. */
    ortshard_engine_stats counters = ORTSHARD_ENGINE_STATS_INIT;
    OK(ortshard_engine_current_shard(engine, &current));
    CHECK(current == kept);
    OK(ortshard_engine_get_stats(engine, &counters));
    CHECK(counters.shards_loaded == 1 && counters.tokens == 0 && counters.out_of_memory_load == 0);
    OK(ortshard_engine_clear(engine));
    ortshard_shard_free(current);
    OK(ortshard_engine_current_shard(engine, &current));
    CHECK(current == NULL);

    ortshard_shard_free(kept);
    ortshard_engine_free(engine);
    return 0;
}
