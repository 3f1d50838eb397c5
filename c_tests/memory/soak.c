/* After 500 swaps (100 with the stock operators, where one takes longer), between which generations give tokens, the
 * process has the memory, open files and threads that it had after the first few. Cleared, it is back where it began. */
#include "model.h"
#include "process.h"

static ortshard_engine *engine;

/* Some tokens on a request. */
static void generate(ortshard_request *request)
{
    ortshard_generation *generation;
    ortshard_step step = ORTSHARD_STEP_INIT;
    int64_t id = 1;
    OK(ortshard_generation_create(&request, 1, NULL, NULL, &generation));
    OK(ortshard_generation_append_ids(generation, &id, 1));
    for (int i = 0; i < 8; i++) OK(ortshard_generation_step(generation, &step));
    ortshard_generation_free(generation);
}

/* Makes layers 0 to `last` resident and uses them. */
static void swap(uint32_t last)
{
    static float values[MOST * 1024];
    int64_t prompt[MOST];
    ortshard_tensor input = ids_tensor(prompt, ids_of("TEST_PROMPT", prompt)), output;
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    spec.last_layer = last;
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_request *request = request_on(shard);
    OK(ortshard_request_infer_into(request, &input, ORTSHARD_LOGITS_LAST, values, sizeof values, &output));
    if (last == ORTSHARD_LAST_LAYER) generate(request);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
}

static void swaps(int count)
{
    for (int i = 0; i < count; i++) swap(i % 2 == 0 ? 0 : ORTSHARD_LAST_LAYER);
}

int main(void)
{
    int many = native_operators() ? 500 : 100;
    for (int release_first = 0; release_first <= 1; release_first++) {
        ortshard_engine_options options = on_device();
        options.release_first = release_first;
        OK(ortshard_engine_create(&options, &engine));
        swaps(50);
        OK(ortshard_engine_clear(engine));
        long empty = private_memory();
        swaps(2);
        long memory = private_memory(), threads = proc_status("Threads");
        int files = open_files();
        swaps(many);
        CHECK(open_files() == files);
        CHECK(proc_status("Threads") == threads);
        CHECK(private_memory() <= memory + memory / 20);
        OK(ortshard_engine_clear(engine));
        CHECK(private_memory() <= empty + empty / 20);

        ortshard_engine_stats counters = ORTSHARD_ENGINE_STATS_INIT;
        OK(ortshard_engine_get_stats(engine, &counters));
        CHECK(counters.shards_loaded == 52 + (uint64_t)many);
        ortshard_engine_free(engine);
    }
    return 0;
}
