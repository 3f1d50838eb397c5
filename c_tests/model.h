/* Loading the test's model and running tokens through it. */
#ifndef MODEL_H
#define MODEL_H

#include "check.h"

enum { MOST = 512 };

/* Comma-separated numbers from the environment; returns how many. */
static inline size_t ids_of(const char *name, int64_t ids[MOST])
{
    size_t n = 0;
    for (const char *text = setting(name); *text != '\0'; n++) {
        char *end;
        CHECK(n < MOST);
        ids[n] = strtoll(text, &end, 10);
        text = *end == ',' ? end + 1 : end;
    }
    return n;
}

/* The test model's number of layers. */
static inline uint32_t layers(void)
{
    ortshard_model_description model = ORTSHARD_MODEL_DESCRIPTION_INIT;
    OK(ortshard_model_info(setting("TEST_MODEL"), &model));
    return model.n_layers;
}

static inline ortshard_shard *load(uint32_t first, uint32_t last)
{
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    spec.start_layer = first;
    spec.end_layer = last;
    OK(ortshard_engine_create(NULL, &engine));
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_engine_free(engine);
    return shard;
}

static inline ortshard_request *request_on(const ortshard_shard *shard)
{
    ortshard_request *request;
    OK(ortshard_request_create(shard, NULL, &request));
    return request;
}

static inline ortshard_tensor ids_tensor(int64_t *ids, size_t n)
{
    ortshard_tensor tensor = {ORTSHARD_I64, 1, {(int64_t)n}, ids, n * sizeof *ids};
    return tensor;
}

/* Generates `n` ids greedily with the shards behind `requests`, starting from a prompt. */
static inline void greedy(ortshard_request **requests, size_t n_requests, int64_t *prompt, size_t n_prompt,
                          int64_t *ids, size_t n)
{
    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_GREEDY;
    ortshard_sampler *sampler;
    OK(ortshard_sampler_create(&options, &sampler));
    ortshard_tensor tensor = ids_tensor(prompt, n_prompt);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n_requests; k++)
            OK(ortshard_request_infer(requests[k], &tensor, ORTSHARD_LOGITS_LAST, &tensor));
        CHECK(tensor.dtype == ORTSHARD_F32 && tensor.rank == 3 && tensor.shape[0] == 1 && tensor.shape[1] == 1);
        OK(ortshard_sampler_sample(sampler, tensor.data, tensor.byte_length / sizeof(float), &ids[i]));
        tensor = ids_tensor(&ids[i], 1);
    }
    ortshard_sampler_free(sampler);
}

#endif
