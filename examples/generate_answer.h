/* One answer of the model: how it is pulled token by token, what is shown of it, and what is told at its end. */
#ifndef GENERATE_ANSWER_H
#define GENERATE_ANSWER_H

#include <sys/resource.h>

#include "generate_model.h"

/* How many prompt tokens go through the model between two looks at Ctrl-C. Any number gives the same result. */
enum { PIECE = 512 };

/* End-of-sequence ids that a model may declare; real ones have up to five. */
enum { MOST_EOS = 64 };

/* In the order of ORTSHARD_FINISH_*. */
static const char *const FINISHES[] = {"none", "eos", "stop", "length", "context_full", "cancelled"};

struct answer {
    struct ids prompt;  /* all of it */
    size_t reused;      /* its tokens at the beginning that the requests have run before */
    struct ids ids;
    struct buffer text; /* that of all steps */
    struct buffer logprobs;
    int32_t finish;
    uint32_t stop;
    double prefill_s, decode_s;
};

/* Takes the text of a step, special tokens included but for the one that ends it. NULL: the text is printed. */
typedef ortshard_status (*text_sink)(void *user_data, const char *text, size_t length);

/* The call's status is the function's, unless it is OK. */
#define TRY(call)                                     \
    do {                                              \
        ortshard_status try_status = (call);          \
        if (try_status != ORTSHARD_OK) return try_status; \
    } while (0)

static void free_answer(struct answer *a)
{
    free(a->ids.data);
    free(a->text.data);
    free(a->logprobs.data);
}

/* {"id":7,"text":" the","logprob":-0.25 */
static void add_token(struct buffer *to, int64_t id, const char *text, size_t length, double logprob)
{
    add_formatted(to, "{\"id\":%" PRId64 ",", id);
    add_text(to, "\"text\":");
    add_string(to, text, length);
    /* A token that cannot come has minus infinity, for which JSON has no number. */
    if (logprob >= -DBL_MAX) add_formatted(to, ",\"logprob\":%.6f", logprob);
    else add_text(to, ",\"logprob\":null");
}

/* What a step tells of probabilities, as JSON; and as a line, in place of the text, where no JSON is wanted. */
static void add_logprobs(struct answer *a, const struct options *o, const ortshard_step *step)
{
    size_t begin = a->logprobs.length;
    add_text(&a->logprobs, begin > 0 ? "," : "");
    begin = a->logprobs.length;
    add_token(&a->logprobs, step->id, step->text, step->text_length, step->logprob);
    add_text(&a->logprobs, ",\"best\":[");
    for (size_t i = 0; i < step->best_count; i++) {
        const ortshard_logprob *best = &step->best[i];
        if (i > 0) add_text(&a->logprobs, ",");
        add_token(&a->logprobs, best->id, best->text, best->text_length, best->logprob);
        add_text(&a->logprobs, "}");
    }
    add_text(&a->logprobs, "]}");
    if (o->json) return;
    print(a->logprobs.data + begin, a->logprobs.length - begin);
    print("\n", 1);
}

/* Bytes of a step's text without the token that ends it, which only a text with special tokens has. */
static size_t without_end(const ortshard_tokenizer *tokenizer, const ortshard_step *step)
{
    char end[256];
    size_t length = 0, all = step->text_length;
    if (step->finish != ORTSHARD_FINISH_EOS || step->id == ORTSHARD_NO_ID) return all;
    if (ortshard_tokenizer_token_bytes(tokenizer, step->id, end, sizeof end, &length) != ORTSHARD_OK) return all;
    return length <= all && memcmp(step->text + all - length, end, length) == 0 ? all - length : all;
}

/* Keeps what a step gives, and shows it unless JSON is wanted. */
static ortshard_status add_step(struct answer *a, const struct options *o, const ortshard_step *step,
                                const ortshard_tokenizer *tokenizer, text_sink sink, void *user_data)
{
    size_t length = sink != NULL ? without_end(tokenizer, step) : step->text_length;
    if (step->id != ORTSHARD_NO_ID) {
        a->ids.data = grow(a->ids.data, a->ids.count, a->ids.count + 1, sizeof *a->ids.data);
        a->ids.data[a->ids.count++] = step->id;
        if (o->generation.logprobs > 0) add_logprobs(a, o, step);
    }
    add(&a->text, step->text, length);
    if (sink != NULL) return length > 0 ? sink(user_data, step->text, length) : ORTSHARD_OK;
    if (o->json || o->generation.logprobs > 0) return ORTSHARD_OK;
    if (tokenizer != NULL) print(step->text, length);
    else if (step->id != ORTSHARD_NO_ID) {
        /* Without a tokenizer ids are all there is to show. */
        printf("%s%" PRId64, a->ids.count > 1 ? "," : "", step->id);
        flush_output();
    }
    return ORTSHARD_OK;
}

/* The logits after the prompt. */
static void write_logits(const char *path, ortshard_generation *generation)
{
    size_t count;
    check(ortshard_generation_logits(generation, NULL, 0, &count));
    float *logits = allocate(count, sizeof *logits);
    check(ortshard_generation_logits(generation, logits, count, &count));
    FILE *file = fopen(path, "wb");
    int written = file != NULL && fwrite(logits, sizeof *logits, count, file) == count;
    if (file == NULL || fclose(file) != 0 || !written) fail(FAILED, "cannot write ", path);
    free(logits);
}

/* A generation on requests that have run the first `reused` tokens of the prompt; it has the others. */
static ortshard_status begin_generation(const struct answer *a, const struct pipeline *p, const struct options *o,
                                        const ortshard_tokenizer *tokenizer, int32_t keep_special,
                                        ortshard_generation **generation)
{
    int64_t eos[MOST_EOS];
    ortshard_sampler_options sampling = o->sampler;
    /* The tokenizer knows best which ids end a text; without one the model's config knows. */
    if (tokenizer == NULL && !o->generation.ignore_eos && sampling.eos_count == 0) {
        TRY(ortshard_engine_model_eos(p->stages[0].engine, &o->model, on_progress, "config", eos, MOST_EOS,
                                      &sampling.eos_count));
        sampling.eos = eos;
    }
    ortshard_generation_options options = o->generation;
    options.sampling = &sampling;
    options.keep_special |= keep_special;
    options.keep_logits = o->logits_file != NULL;
    options.max_new_tokens = o->max_tokens > 0 || o->chat ? o->max_tokens : 1;
    TRY(ortshard_generation_create(p->requests, p->count, tokenizer, &options, generation));
    return ortshard_generation_append_ids(*generation, a->prompt.data + a->reused, a->prompt.count - a->reused);
}

static ortshard_status pull(struct answer *a, const struct options *o, ortshard_generation *generation,
                            const ortshard_tokenizer *tokenizer, text_sink sink, void *user_data)
{
    double begin = seconds(), prefilled = 0;
    for (size_t left = a->prompt.count; left > 1 && !interrupted;)
        TRY(ortshard_generation_prefill(generation, PIECE, &left));
    ortshard_step step = ORTSHARD_STEP_INIT;
    while (step.finish == ORTSHARD_FINISH_NONE) {
        if (interrupted) TRY(ortshard_generation_cancel(generation));
        TRY(ortshard_generation_step(generation, &step));
        if (prefilled == 0) {
            prefilled = seconds();
            if (o->logits_file != NULL && step.id != ORTSHARD_NO_ID) write_logits(o->logits_file, generation);
        }
        a->finish = step.finish;
        a->stop = step.stop;
        if (o->max_tokens > 0 || o->chat) TRY(add_step(a, o, &step, tokenizer, sink, user_data));
    }
    a->prefill_s = prefilled - begin;
    a->decode_s = seconds() - prefilled;
    return ORTSHARD_OK;
}

/* Generates after the prompt. If it fails, the answer has what came before. */
static ortshard_status generate(struct answer *a, const struct pipeline *p, const struct options *o,
                                const ortshard_tokenizer *tokenizer, int32_t keep_special, text_sink sink,
                                void *user_data)
{
    ortshard_generation *generation = NULL;
    ortshard_status status = begin_generation(a, p, o, tokenizer, keep_special, &generation);
    if (status == ORTSHARD_OK) status = pull(a, o, generation, tokenizer, sink, user_data);
    ortshard_generation_free(generation);
    return status;
}

/* ---- report ---- */

static void add_ids(struct buffer *to, const char *name, struct ids ids)
{
    add_formatted(to, "\"%s\":[", name);
    for (size_t i = 0; i < ids.count; i++) add_formatted(to, "%s%" PRId64, i != 0 ? "," : "", ids.data[i]);
    add_text(to, "],");
}

static uint64_t peak_memory(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024;
#endif
}

/* `message`, which may be NULL, is JSON. */
static void print_json(const struct answer *a, const struct pipeline *p, const struct options *o, const char *message,
                       double load_s)
{
    ortshard_runtime_info runtime = ORTSHARD_RUNTIME_INFO_INIT;
    ortshard_shard_info shard = ORTSHARD_SHARD_INFO_INIT;
    check(ortshard_runtime_get_info(&runtime));
    check(ortshard_shard_get_info(p->stages[0].shard, &shard));

    struct buffer json = {NULL, 0, 0};
    add_text(&json, "{");
    add_ids(&json, "prompt_ids", a->prompt);
    add_formatted(&json, "\"reused\":%zu,", a->reused);
    add_ids(&json, "ids", a->ids);
    add_text(&json, "\"text\":");
    add_string(&json, a->text.data != NULL ? a->text.data : "", a->text.length);
    if (message != NULL) {
        add_text(&json, ",\"message\":");
        add_text(&json, message);
    }
    add_formatted(&json, ",\"finish\":\"%s\"", FINISHES[a->finish]);
    if (a->finish == ORTSHARD_FINISH_STOP) {
        add_text(&json, ",\"stop\":");
        add_string(&json, o->stop[a->stop], strlen(o->stop[a->stop]));
    }
    if (o->generation.logprobs > 0) {
        add_text(&json, ",\"logprobs\":[");
        add(&json, a->logprobs.data, a->logprobs.length);
        add_text(&json, "]");
    }
    add_text(&json, ",\"shards\":[");
    for (size_t i = 0; i < p->count; i++)
        add_formatted(&json, "%s[%" PRIu32 ",%" PRIu32 "]", i != 0 ? "," : "", p->stages[i].first, p->stages[i].last);
    add_formatted(&json, "],\"load_s\":%.6f,\"prefill_s\":%.6f,\"decode_s\":%.6f,", load_s, a->prefill_s, a->decode_s);
    add_formatted(&json, "\"peak_rss_bytes\":%" PRIu64 ",\"runtime\":", peak_memory());
    add_string(&json, runtime.version, strlen(runtime.version));
    add_formatted(&json, ",\"device\":\"%s\"}\n", DEVICES[shard.device]);
    print(json.data, json.length);
    free(json.data);
}

/* Figures go to stderr, so that stdout has the text and nothing else. */
static void print_figures(const struct answer *a, double load_s)
{
    size_t steps = a->ids.count > 0 ? a->ids.count - 1 : 0; /* the first id comes from the prompt's run */
    fprintf(stderr, "load %.2f s | prefill %zu tokens, %.1f tokens/s | decode %zu tokens, %.1f tokens/s\n", load_s,
            a->prompt.count, (double)a->prompt.count / a->prefill_s, steps, (double)steps / a->decode_s);
}

#endif
