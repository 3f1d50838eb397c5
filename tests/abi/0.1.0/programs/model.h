/* The device that tests run on, loading the test's model there, and running tokens through it. */
#ifndef MODEL_H
#define MODEL_H

#include "check.h"

enum { MOST = 512 };

/* Options of an engine on the device that ORTSHARD_TEST_DEVICE names, as in tests/suite/common/device.rs: "cpu", as without it,
 * "cuda", "cuda:N", "coreml", or "cpu-stock", the processor with stock operators. That anything else runs a shard
 * is an error. */
static inline ortshard_engine_options on_device(void)
{
    ortshard_engine_options options = ORTSHARD_ENGINE_OPTIONS_INIT;
    const char *name = getenv("ORTSHARD_TEST_DEVICE");
    if (name == NULL) name = "cpu";
    options.device = ORTSHARD_DEVICE_CPU;
    options.require_device = 1;
    if (strncmp(name, "cuda", 4) == 0) {
        options.device = ORTSHARD_DEVICE_CUDA;
        if (name[4] == ':') options.device_index = (uint32_t)strtoul(name + 5, NULL, 10);
    } else if (strcmp(name, "coreml") == 0) {
        options.device = ORTSHARD_DEVICE_COREML;
    } else {
        options.stock_operators = strcmp(name, "cpu-stock") == 0;
        CHECK(options.stock_operators || strcmp(name, "cpu") == 0);
    }
    return options;
}

static inline ortshard_engine *engine_on_device(void)
{
    ortshard_engine_options options = on_device();
    ortshard_engine *engine;
    OK(ortshard_engine_create(&options, &engine));
    return engine;
}

/* Whether shards run in native operators, which promise the same bits however tokens are cut into calls. */
static inline int native_operators(void)
{
    ortshard_engine_options options = on_device();
    return options.device == ORTSHARD_DEVICE_CPU && !options.stock_operators;
}

/* Whether caches and weights lie in the process's own memory. */
static inline int in_this_process(void)
{
    return on_device().device != ORTSHARD_DEVICE_CUDA;
}

/* Whether two arrays of logits, of the same tokens cut into calls in two ways, are the same: bit for bit where that is
 * promised, else but for `roundings` of the largest value. */
static inline int same_in_pieces(const void *a, const void *b, size_t bytes, float roundings)
{
    float scale = 0, apart = 0;
    if (native_operators()) return memcmp(a, b, bytes) == 0;
    for (size_t i = 0; i < bytes; i += sizeof(float)) {
        float x, y;
        memcpy(&x, (const char *)a + i, sizeof x);
        memcpy(&y, (const char *)b + i, sizeof y);
        float size = x < 0 ? -x : x, off = x < y ? y - x : x - y;
        if (!(off >= 0)) return 0;
        if (size > scale) scale = size;
        if (off > apart) apart = off;
    }
    return apart <= roundings * scale;
}

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
    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    OK(ortshard_model_get_info(setting("TEST_MODEL"), &model));
    return model.layer_count;
}

/* What passes behind a layer of it. */
static inline ortshard_boundary boundary_behind(uint32_t layer)
{
    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    OK(ortshard_model_get_boundary(setting("TEST_MODEL"), layer, &boundary));
    return boundary;
}

static inline ortshard_shard *load(uint32_t first, uint32_t last)
{
    ortshard_engine *engine = engine_on_device();
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = setting("TEST_MODEL");
    spec.first_layer = first;
    spec.last_layer = last;
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
    ortshard_tensor tensor = {ORTSHARD_DTYPE_I64, 1, {(int64_t)n}, ids, n * sizeof *ids};
    return tensor;
}

/* Generates `n` ids greedily with the shards behind `requests`, starting from a prompt. */
static inline void greedy(ortshard_request **requests, size_t n_requests, int64_t *prompt, size_t n_prompt,
                          int64_t *ids, size_t n)
{
    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;
    ortshard_sampler *sampler;
    OK(ortshard_sampler_create(&options, &sampler));
    ortshard_tensor tensor = ids_tensor(prompt, n_prompt);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n_requests; k++)
            OK(ortshard_request_infer(requests[k], &tensor, ORTSHARD_LOGITS_LAST, &tensor));
        CHECK(tensor.dtype == ORTSHARD_DTYPE_F32 && tensor.rank == 3 && tensor.shape[0] == 1 && tensor.shape[1] == 1);
        OK(ortshard_sampler_sample(sampler, tensor.data, tensor.byte_length / sizeof(float), &ids[i]));
        tensor = ids_tensor(&ids[i], 1);
    }
    ortshard_sampler_free(sampler);
}

#endif
