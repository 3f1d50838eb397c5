/* The model that generate runs: its tokenizer, and its shards as a pipeline. */
#ifndef GENERATE_MODEL_H
#define GENERATE_MODEL_H

#include "generate_options.h"

/* The shards in order; what one gives, the next takes. */
struct stage {
    uint32_t first, last; /* layers, both included */
    ortshard_engine *engine;
    ortshard_shard *shard;
};

struct pipeline {
    struct stage *stages;
    ortshard_request **requests; /* one on each shard */
    size_t count;
};

/* Whether the model can be cut behind a layer; between layers that share a KV cache it cannot. */
static int can_cut(const ortshard_engine *engine, const struct options *o, uint32_t layer)
{
    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    check(ortshard_engine_get_boundary(engine, &o->model, layer, on_progress, "model", &boundary));
    return boundary.can_cut;
}

/* The last layer of shard `i` of `count`, if all have about the same number of layers. */
static uint32_t even_place(size_t i, size_t count, uint32_t layer_count)
{
    return (uint32_t)((i + 1) * layer_count / count - 1);
}

/* The layers behind which the model can be cut, `*count` of them. */
static uint32_t *places(const ortshard_engine *engine, const struct options *o, uint32_t layer_count, size_t *count)
{
    uint32_t *found = allocate(layer_count, sizeof *found);
    *count = 0;
    for (uint32_t layer = 0; layer + 1 < layer_count; layer++)
        if (can_cut(engine, o, layer)) found[(*count)++] = layer;
    return found;
}

/* The last layers of all shards but the last one: of the places with enough of them on either side, those nearest to
 * where all would have the same number of layers. */
static void cut_nearby(struct pipeline *p, const uint32_t *places, size_t count, uint32_t layer_count)
{
    size_t next = 0;
    for (size_t i = 0; i + 1 < p->count; i++) {
        int64_t even = even_place(i, p->count, layer_count);
        size_t end = count - (p->count - 2 - i); /* what the cuts behind this one need is left to them */
        size_t best = next;
        for (size_t k = next; k < end; k++)
            if (llabs(places[k] - even) < llabs(places[best] - even)) best = k;
        p->stages[i].last = places[best];
        next = best + 1;
    }
}

/* The same, asking of as few places as it can: each question may be one to the hub, and most models can be cut anywhere. */
static void cut_evenly(struct pipeline *p, const ortshard_engine *engine, const struct options *o, uint32_t layer_count)
{
    int fits = 1;
    for (size_t i = 0; i + 1 < p->count && fits; i++) {
        p->stages[i].last = even_place(i, p->count, layer_count);
        fits = can_cut(engine, o, p->stages[i].last);
    }
    if (fits) return;
    size_t count;
    uint32_t *found = places(engine, o, layer_count, &count);
    if (p->count > count + 1) fail(BAD_USAGE, "--shards", ": the model has fewer places where it can be cut");
    cut_nearby(p, found, count, layer_count);
    free(found);
}

/* Which layers each shard has. */
static struct pipeline cut(const ortshard_engine *engine, const struct options *o, uint32_t layer_count)
{
    struct pipeline p = {NULL, NULL, o->split.data != NULL ? o->split.count + 1 : o->n_shards};
    if (p.count < 1 || p.count > layer_count)
        fail(BAD_USAGE, o->split.data != NULL ? "--split" : "--shards",
             ": there must be at least 1 shard, and a layer for each");
    p.stages = allocate(p.count, sizeof *p.stages);
    p.requests = allocate(p.count, sizeof *p.requests);
    for (size_t i = 0; i + 1 < p.count && o->split.data != NULL; i++) {
        if (o->split.data[i] < (i == 0 ? 0 : o->split.data[i - 1] + 1) || o->split.data[i] >= layer_count - 1)
            fail(BAD_USAGE, "--split needs growing numbers below the last layer", "");
        p.stages[i].last = (uint32_t)o->split.data[i];
    }
    if (o->split.data == NULL) cut_evenly(&p, engine, o, layer_count);
    p.stages[p.count - 1].last = layer_count - 1;
    for (size_t i = 1; i < p.count; i++) p.stages[i].first = p.stages[i - 1].last + 1;
    return p;
}

/* Loads the shards, and makes requests with room for `capacity` tokens; 0: as the library has it. */
static void load(struct pipeline *p, const struct options *o, uint64_t capacity)
{
    ortshard_shard_spec spec = o->model;
    ortshard_request_options request = o->request;
    request.capacity = (uint32_t)capacity;
    for (size_t i = 0; i < p->count; i++) {
        struct stage *stage = &p->stages[i];
        char what[64];
        snprintf(what, sizeof what, "layers %" PRIu32 " to %" PRIu32, stage->first, stage->last);
        spec.first_layer = stage->first;
        spec.last_layer = stage->last;
        if (stage->engine == NULL) check(ortshard_engine_create(&o->engine, &stage->engine));
        check(ortshard_engine_ensure_shard(stage->engine, &spec, on_progress, what, &stage->shard));
        check(ortshard_request_create(stage->shard, &request, &p->requests[i]));
    }
    wipe_progress();
}

/* Has the requests forget every token from `position` on; if one of them cannot go back there, all. */
static ortshard_status rewind_requests(const struct pipeline *p, size_t *position)
{
    ortshard_status status = ORTSHARD_OK;
    for (size_t i = 0; i < p->count && status == ORTSHARD_OK; i++)
        status = ortshard_request_truncate(p->requests[i], *position);
    if (status != ORTSHARD_ERROR_OUT_OF_RANGE || *position == 0) return status;
    *position = 0;
    return rewind_requests(p, position);
}

static void release(struct pipeline *p)
{
    for (size_t i = 0; i < p->count; i++) {
        ortshard_request_free(p->requests[i]);
        ortshard_shard_free(p->stages[i].shard);
        ortshard_engine_free(p->stages[i].engine);
    }
    free(p->requests);
    free(p->stages);
}

/* The model's tokenizer, or NULL if it comes without one and none is needed. */
static ortshard_tokenizer *open_tokenizer(const ortshard_engine *engine, const struct options *o)
{
    ortshard_tokenizer *tokenizer = NULL;
    ortshard_status status = ortshard_engine_open_tokenizer(engine, &o->model, on_progress, "tokenizer", &tokenizer);
    int missing = status == ORTSHARD_ERROR_NOT_FOUND || status == ORTSHARD_ERROR_OFFLINE;
    if (!missing || o->prompt_ids.data == NULL) check(status);
    wipe_progress();
    return tokenizer;
}

static struct ids encode(const ortshard_tokenizer *tokenizer, const char *prompt)
{
    struct ids ids = {NULL, 0};
    /* The first call asks how many there are. */
    check(ortshard_tokenizer_encode(tokenizer, prompt, 1, NULL, 0, &ids.count));
    ids.data = allocate(ids.count, sizeof *ids.data);
    check(ortshard_tokenizer_encode(tokenizer, prompt, 1, ids.data, ids.count, &ids.count));
    return ids;
}

#endif
