/* Objects are freed in every order, and what another one needs stays alive. */
#include "model.h"

int main(void)
{
    static const int ORDERS[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    int64_t prompt[MOST], golden[MOST], ids[2];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);

    for (int i = 0; i < 6; i++) {
        ortshard_engine *engine;
        ortshard_shard *shard;
        ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
        spec.model = setting("TEST_MODEL");
        engine = engine_on_device();
        OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
        ortshard_request *request = request_on(shard);
        for (int k = 0; k < 3; k++) {
            if (ORDERS[i][k] == 0) ortshard_engine_free(engine), engine = NULL;
            if (ORDERS[i][k] == 1) ortshard_shard_free(shard), shard = NULL;
            if (ORDERS[i][k] == 2) ortshard_request_free(request), request = NULL;
            if (request != NULL) {
                OK(ortshard_request_truncate(request, 0));
                greedy(&request, 1, prompt, n, ids, 2);
                CHECK(memcmp(ids, golden, sizeof ids) == 0);
            }
        }
    }

    /* References are counted. */
    ortshard_shard *shard = load(0, 0);
    OK(ortshard_shard_retain(shard));
    ortshard_shard_free(shard);
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    OK(ortshard_shard_get_info(shard, &info));
    CHECK(info.last_layer == 0);
    ortshard_shard_free(shard);
    return 0;
}
