/* While the shard is replaced, requests of other threads finish with the old one's bits or become stale, and nothing
 * else. Beside the new shard they finish; in its place, or after a clear, they finish or become stale. */
#include <pthread.h>

#include "model.h"

enum { THREADS = 3, TURNS = 25, TOKENS = 4 };

static ortshard_engine *engine;
static int64_t prompt[MOST], golden[MOST];
static size_t n_prompt;
static int release_first;

static ortshard_shard *ensure(uint32_t last)
{
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    spec.last_layer = last;
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    return shard;
}

static int64_t best(const ortshard_tensor *logits)
{
    const float *values = logits->data;
    int64_t best = 0;
    for (int64_t id = 1; id < logits->shape[2]; id++)
        if (values[id] > values[best]) best = id;
    return best;
}

/* Greedy ids on the whole model, for as long as its shard is there. */
static void *work(void *unused)
{
    for (int turn = 0; turn < TURNS; turn++) {
        ortshard_shard *shard = ensure(ORTSHARD_LAST_LAYER);
        ortshard_request *request;
        ortshard_tensor tensor = ids_tensor(prompt, n_prompt);
        int64_t id;
        ortshard_status status = ortshard_request_create(shard, NULL, &request);
        for (int i = 0; i < TOKENS && status == ORTSHARD_OK; i++) {
            status = ortshard_request_infer(request, &tensor, ORTSHARD_LOGITS_LAST, &tensor);
            if (status != ORTSHARD_OK) break;
            id = best(&tensor);
            CHECK(id == golden[i]);
            tensor = ids_tensor(&id, 1);
        }
        CHECK(status == ORTSHARD_OK || (release_first && status == ORTSHARD_ERROR_STALE_SHARD));
        ortshard_request_free(request);
        ortshard_shard_free(shard);
    }
    return unused;
}

int main(void)
{
    n_prompt = ids_of("TEST_PROMPT", prompt);
    CHECK(ids_of("TEST_GREEDY", golden) >= TOKENS);
    for (release_first = 0; release_first <= 1; release_first++) {
        ortshard_engine_options options = on_device();
        options.release_first = release_first;
        OK(ortshard_engine_create(&options, &engine));
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
        for (int turn = 0; turn < TURNS; turn++) {
            ortshard_shard_free(ensure(0));
            if (release_first && turn % 8 == 7) OK(ortshard_engine_clear(engine));
        }
        for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);

        /* With nobody in the way it is as before. */
        int64_t ids[TOKENS];
        ortshard_shard *shard = ensure(ORTSHARD_LAST_LAYER);
        ortshard_request *request = request_on(shard);
        greedy(&request, 1, prompt, n_prompt, ids, TOKENS);
        CHECK(memcmp(ids, golden, sizeof ids) == 0);
        ortshard_request_free(request);
        ortshard_shard_free(shard);
        ortshard_engine_free(engine);
    }
    return 0;
}
