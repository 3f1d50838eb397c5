/* A shard's weights are saved as safetensors and loaded back into its place; a broken file changes nothing. */
#include "model.h"

int main(void)
{
    ortshard_engine *engine;
    ortshard_shard *shard, *loaded;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    engine = engine_on_device();
    const char *path = join(setting("TEST_FOLDER"), "saved.safetensors");
    FAILS(INVALID_STATE, "no shard", ortshard_engine_save_checkpoint(engine, path));
    FAILS(INVALID_STATE, "no shard", ortshard_engine_load_checkpoint(engine, path, NULL, NULL, &loaded));
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    OK(ortshard_engine_save_checkpoint(engine, path));
    OK(ortshard_engine_load_checkpoint(engine, path, NULL, NULL, &loaded));
    CHECK(loaded != shard);

    int64_t prompt[MOST], golden[MOST], ids[4];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    ortshard_request *request = request_on(loaded);
    greedy(&request, 1, prompt, n, ids, 4);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);

    ortshard_shard *broken, *current;
    const char *garbage = join(setting("TEST_FOLDER"), "garbage.safetensors");
    FILE *file = fopen(garbage, "wb");
    CHECK(file != NULL && fputs("this is no safetensors file", file) >= 0 && fclose(file) == 0);
    FAILS(MALFORMED, "garbage.safetensors", ortshard_engine_load_checkpoint(engine, garbage, NULL, NULL, &broken));
    FAILS(NOT_FOUND, "missing.safetensors",
          ortshard_engine_load_checkpoint(engine, join(setting("TEST_FOLDER"), "missing.safetensors"), NULL, NULL,
                                          &broken));
    OK(ortshard_engine_current_shard(engine, &current));
    CHECK(current == loaded && broken == NULL);

    ortshard_request_free(request);
    ortshard_shard_free(current);
    ortshard_shard_free(loaded);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return 0;
}
