/* Four threads with four requests each on one shard give what one gives alone. */
#include <pthread.h>

#include "model.h"

enum { THREADS = 4, REQUESTS = 4, TOKENS = 12 };

static ortshard_engine *engine;
static int64_t prompt[MOST], wanted[TOKENS];
static size_t n_prompt;

static void *work(void *seed)
{
    /* Each thread asks for the shard itself: there is one, whoever comes first. */
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));

    ortshard_request *requests[REQUESTS];
    for (int i = 0; i < REQUESTS; i++) requests[i] = request_on(shard);
    for (int i = 0; i < REQUESTS; i++) {
        int64_t ids[TOKENS];
        greedy(&requests[i], 1, prompt, n_prompt, ids, TOKENS);
        CHECK(memcmp(ids, wanted, sizeof ids) == 0);
    }
    for (int i = 0; i < REQUESTS; i++) ortshard_request_free(requests[i]);
    ortshard_shard_free(shard);
    return seed;
}

int main(void)
{
    n_prompt = ids_of("TEST_PROMPT", prompt);
    int64_t golden[MOST];
    CHECK(ids_of("TEST_GREEDY", golden) >= TOKENS);
    memcpy(wanted, golden, sizeof wanted);
    engine = engine_on_device();

    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);

    ortshard_engine_stats counters = ORTSHARD_ENGINE_STATS_INIT;
    OK(ortshard_engine_get_stats(engine, &counters));
    CHECK(counters.shards_loaded == 1);
    CHECK(counters.tokens == THREADS * REQUESTS * (n_prompt + TOKENS - 1));
    ortshard_engine_free(engine);
    return 0;
}
