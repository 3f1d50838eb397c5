/* Files come from the host's callback or, offline, from the cache; the audit says what is needed and missing. */
#include "model.h"

static int asked;

/* Brings the files of "my/model" from the test model's folder. */
static ortshard_status bring(const char *model, const char *revision, const char *file, char *path, size_t capacity,
                             void *user_data)
{
    CHECK(strcmp(model, "my/model") == 0 && user_data == &asked);
    CHECK(revision != NULL && strcmp(revision, "v1") == 0);
    asked++;
    if (strstr(file, "index") != NULL) return ORTSHARD_ERROR_NOT_FOUND;
    CHECK((size_t)snprintf(path, capacity, "%s/%s", setting("TEST_MODEL"), file) < capacity);
    return ORTSHARD_OK;
}

/* Brings a tokenizer, whatever the model. */
static ortshard_status bring_text(const char *model, const char *revision, const char *file, char *path,
                                  size_t capacity, void *user_data)
{
    (void)model, (void)revision, (void)user_data;
    int text = strncmp(file, "tokenizer.", 10) == 0 || strncmp(file, "generation", 10) == 0;
    if (!text && strcmp(file, "config.json") != 0) return ORTSHARD_ERROR_NOT_FOUND;
    CHECK((size_t)snprintf(path, capacity, "%s/%s", setting(text ? "TEST_TOKENIZER" : "TEST_MODEL"), file) < capacity);
    return ORTSHARD_OK;
}

static int32_t cancel(const ortshard_progress *progress, void *user_data)
{
    (void)progress, (void)user_data;
    return 1;
}

/* The model's shape, its end-of-sequence ids and its tokenizer, by name. */
static void look_up(void)
{
    ortshard_engine *engine;
    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    options.fetch = bring_text;
    OK(ortshard_engine_create(&options, &engine));
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = "my/model";
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    OK(ortshard_engine_get_model_info(engine, &spec, NULL, NULL, &model));
    CHECK(model.layer_count == layers() && model.struct_size == sizeof model);

    int64_t wanted[MOST], ids[MOST];
    size_t n = ids_of("TEST_IDS", wanted), needed;
    OK(ortshard_engine_model_eos(engine, &spec, NULL, NULL, NULL, 0, &needed));
    OK(ortshard_engine_model_eos(engine, &spec, NULL, NULL, ids, MOST, &needed));
    CHECK(needed >= 2 && ids[0] == 5 && ids[1] == 7);
    ortshard_sampler_options chosen = ORTSHARD_SAMPLER_OPTIONS_INIT;
    OK(ortshard_engine_get_sampler_options(engine, &spec, NULL, NULL, &chosen));
    CHECK(chosen.temperature == 0 && chosen.top_k == 50 && chosen.seed == 1234);

    ortshard_tokenizer *tokenizer;
    OK(ortshard_engine_open_tokenizer(engine, &spec, NULL, NULL, &tokenizer));
    OK(ortshard_tokenizer_encode(tokenizer, setting("TEST_TEXT"), 0, ids, MOST, &needed));
    CHECK(needed == n && memcmp(ids, wanted, n * sizeof *ids) == 0);
    ortshard_tokenizer_free(tokenizer);

    FAILS(CANCELLED, "callback", ortshard_engine_get_model_info(engine, &spec, cancel, NULL, &model));
    FAILS(CANCELLED, "callback", ortshard_engine_open_tokenizer(engine, &spec, cancel, NULL, &tokenizer));
    CHECK(tokenizer == NULL);
    spec.model = setting("TEST_MODEL");
    FAILS(NOT_FOUND, "tokenizer.json", ortshard_engine_open_tokenizer(engine, &spec, NULL, NULL, &tokenizer));
    ortshard_engine_free(engine);
}

static ortshard_status refuse(const char *model, const char *revision, const char *file, char *path, size_t capacity,
                              void *user_data)
{
    (void)model, (void)revision, (void)file, (void)path, (void)capacity, (void)user_data;
    return ORTSHARD_ERROR_HASH_MISMATCH;
}

static int missing;

static int count(const ortshard_file *file, void *user_data)
{
    CHECK(file->struct_size == sizeof *file && file->name != NULL);
    CHECK((file->state == ORTSHARD_FILE_PRESENT) == (file->path != NULL));
    if (file->state == ORTSHARD_FILE_PRESENT) CHECK(file->size > 0);
    missing += file->state == ORTSHARD_FILE_MISSING;
    return ++*(int *)user_data == 1 && missing > 100;
}

static int stop(const ortshard_file *file, void *user_data)
{
    (void)file, (void)user_data;
    return 1;
}

int main(void)
{
    look_up();
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    options.fetch = bring;
    options.fetch_user_data = &asked;
    OK(ortshard_engine_create(&options, &engine));
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = "my/model";
    spec.revision = "v1";
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    CHECK(asked >= 3);
    int64_t prompt[MOST], golden[MOST], ids[4];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    ortshard_request *request = request_on(shard);
    greedy(&request, 1, prompt, n, ids, 4);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);

    options.fetch = refuse;
    OK(ortshard_engine_create(&options, &engine));
    FAILS(HASH_MISMATCH, "fetch callback", ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_engine_free(engine);

    ortshard_engine_options offline = ORTSHARD_ENGINE_OPTIONS_INIT;
    offline.offline = 1;
    offline.cache_dir = setting("TEST_FOLDER");
    OK(ortshard_engine_create(&offline, &engine));
    FAILS(OFFLINE, "config.json", ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_engine_estimate estimate = ORTSHARD_ENGINE_ESTIMATE_INIT;
    FAILS(OFFLINE, "config.json", ortshard_engine_get_estimate(engine, &spec, 64, 1, &estimate));
    int files = 0;
    OK(ortshard_engine_audit_files(engine, &spec, count, &files));
    CHECK(files == 1 && missing == 1);
    ortshard_shard_spec local = ORTSHARD_SHARD_SPEC_INIT;
    local.model = setting("TEST_MODEL");
    files = missing = 0;
    OK(ortshard_engine_audit_files(engine, &local, count, &files));
    CHECK(files >= 2 && missing == 0);
    FAILS(CANCELLED, "callback", ortshard_engine_audit_files(engine, &local, stop, NULL));
    local.revision = "main";
    FAILS(INVALID_ARGUMENT, "no revisions", ortshard_engine_ensure_shard(engine, &local, NULL, NULL, &shard));
    ortshard_engine_free(engine);
    return 0;
}
