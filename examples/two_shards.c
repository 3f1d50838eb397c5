/* Two shards of one model in one process: hidden states go from the first to the second.
 *
 *     two_shards MODEL LAST_LAYER_OF_THE_FIRST_SHARD ID...
 *
 * prints the most likely token id after the given ones. Between two machines it is the same: the floats of `hidden`
 * travel over the network, and the second process describes the memory they arrive in.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ortshard.h"

/* Ends the program with the library's words if a call failed. */
static void check(ortshard_status status)
{
    if (status != ORTSHARD_OK) {
        fprintf(stderr, "%s: %s\n", ortshard_status_name(status), ortshard_last_error());
        exit(1);
    }
}

/* A request on the layers from `first` to `last`, the last one included. */
static ortshard_request *load(const char *model, uint32_t first, uint32_t last)
{
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = model;
    spec.first_layer = first;
    spec.last_layer = last;

    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_request *request;
    check(ortshard_engine_create(NULL, &engine));
    check(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    check(ortshard_request_create(shard, NULL, &request));

    ortshard_shard_free(shard); /* the request keeps what it needs */
    ortshard_engine_free(engine);
    return request;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s MODEL LAST_LAYER_OF_THE_FIRST_SHARD ID...\n", argv[0]);
        return 2;
    }
    uint32_t cut = (uint32_t)strtoul(argv[2], NULL, 10);
    ortshard_request *front = load(argv[1], 0, cut);
    ortshard_request *back = load(argv[1], cut + 1, ORTSHARD_LAST_LAYER);

    int64_t n = argc - 3;
    int64_t *ids = malloc((size_t)n * sizeof *ids);
    if (ids == NULL) return 1;
    for (int64_t i = 0; i < n; i++) ids[i] = strtoll(argv[3 + i], NULL, 10);

    ortshard_tensor input = {ORTSHARD_DTYPE_I64, 1, {n}, ids, (size_t)n * sizeof *ids};
    ortshard_tensor hidden, logits;
    check(ortshard_request_infer(front, &input, ORTSHARD_LOGITS_LAST, &hidden));
    check(ortshard_request_infer(back, &hidden, ORTSHARD_LOGITS_LAST, &logits));

    const float *values = logits.data;
    int64_t best = 0;
    for (int64_t id = 1; id < logits.shape[2]; id++)
        if (values[id] > values[best]) best = id;
    printf("hidden states [%" PRId64 ", %" PRId64 ", %" PRId64 "], next id %" PRId64 "\n", hidden.shape[0],
           hidden.shape[1], hidden.shape[2], best);

    free(ids);
    ortshard_request_free(front);
    ortshard_request_free(back);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("cannot write the output");
        return 1;
    }
    return 0;
}
