/* A request without cache gives the same ids, through one shard and through two, also after truncating and forking. */
#include "model.h"

static ortshard_request *uncached(const ortshard_shard *shard)
{
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.no_cache = 1;
    ortshard_request *request;
    OK(ortshard_request_create(shard, &options, &request));
    return request;
}

int main(void)
{
    int64_t prompt[MOST], golden[MOST], ids[8];
    size_t n = ids_of("TEST_PROMPT", prompt), needed;
    ids_of("TEST_GREEDY", golden);
    ortshard_shard *whole = load(0, ORTSHARD_LAST_LAYER), *front = load(0, 0), *back = load(1, ORTSHARD_LAST_LAYER);
    ortshard_request *one = uncached(whole), *two[] = {uncached(front), uncached(back)};
    greedy(&one, 1, prompt, n, ids, 8);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);
    greedy(two, 2, prompt, n, ids, 8);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);

    uint64_t position;
    for (int i = 0; i < 2; i++) {
        OK(ortshard_request_position(two[i], &position));
        CHECK(position == n + 7);
        OK(ortshard_request_truncate(two[i], n));
    }
    ortshard_request *forks[2];
    for (int i = 0; i < 2; i++) OK(ortshard_request_fork(two[i], &forks[i]));
    greedy(forks, 2, golden, 1, ids, 4);
    CHECK(memcmp(ids, golden + 1, 4 * sizeof *ids) == 0);
    greedy(two, 2, golden, 1, ids, 4);
    CHECK(memcmp(ids, golden + 1, 4 * sizeof *ids) == 0);

    FAILS(INVALID_STATE, "without a KV cache", ortshard_request_export_state(one, NULL, 0, &needed));
    ortshard_request *cached = request_on(whole);
    OK(ortshard_request_export_state(cached, NULL, 0, &needed));
    char *state = malloc(needed);
    CHECK(state != NULL);
    OK(ortshard_request_export_state(cached, state, needed, &needed));
    FAILS(INVALID_STATE, "without a KV cache", ortshard_request_import_state(one, state, needed));
    OK(ortshard_request_position(one, &position));
    CHECK(position == n + 7);

    free(state);
    ortshard_request_free(cached);
    ortshard_request_free(one);
    for (int i = 0; i < 2; i++) {
        ortshard_request_free(two[i]);
        ortshard_request_free(forks[i]);
    }
    ortshard_shard_free(whole);
    ortshard_shard_free(front);
    ortshard_shard_free(back);
    return 0;
}
