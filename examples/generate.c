/* Generates text with a language model, cut into as many shards as you like.
 *
 *     generate --model models/stories --prompt "Once upon a time" --shards 3
 *
 * The file reads from top to bottom: errors, progress, the pipeline of shards, generation, what is printed. What can be
 * chosen on the command line is in generate_options.h.
 */
#define _XOPEN_SOURCE 700 /* clock_gettime, getrusage, isatty, open_memstream, sigaction */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "generate_options.h"
#include "ortshard.h"

/* How many prompt tokens go through the model between two looks at Ctrl-C. Any number gives the same result. */
enum { PIECE = 512 };

/* End-of-sequence ids that a model may declare; real ones have up to five. */
enum { MOST_EOS = 64 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- progress: one line on the terminal, drawn over and over ---- */

static int drawn;

static void wipe_progress(void)
{
    if (drawn) fputs("\r\033[K", stderr);
    drawn = 0;
}

static void draw_progress(const char *what, const ortshard_progress *now)
{
    static const char *const STAGES[] = {"", "reads config", "fetches", "maps weights", "quantises", "starts", "is ready"};
    double part = 0;
    if (now->bytes_total > 0) part = (double)now->bytes_done / (double)now->bytes_total;
    else if (now->tensors_total > 0) part = (double)now->tensors_done / (double)now->tensors_total;
    char bar[21] = "....................";
    memset(bar, '#', (size_t)(part * 20));
    fprintf(stderr, "\r\033[K%s %s [%s] %3.0f%% %.1f MB", what, STAGES[now->stage], bar, 100 * part,
            1e-6 * (double)now->bytes_done);
    drawn = 1;
}

/* The library's callback. `user_data` says what is being loaded. Ctrl-C cancels. */
static int32_t on_progress(const ortshard_progress *now, void *user_data)
{
    static double last;
    static int32_t stage;
    if (isatty(STDERR_FILENO) && (now->stage != stage || seconds() - last > 0.1)) {
        draw_progress(user_data, now);
        last = seconds();
        stage = now->stage;
    }
    return interrupted;
}

/* ---- errors ---- */

/* Where memory ran out, and what would help. */
static void explain_oom(void)
{
    static const char *const SITES[] = {"?", "load", "KV cache", "run"};
    static const char *const ADVICE[] = {
        "", "Raise --memory-limit, or run a part of the layers on another machine.",
        "Lower --max-tokens, shorten the prompt, raise --memory-limit, or try --no-cache.",
        "Shorten the prompt, or raise --memory-limit."};
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    if (ortshard_error_get_oom(NULL, &oom) != ORTSHARD_OK) return;
    fprintf(stderr, "generate: site %s, device %s, %" PRIu64 " bytes asked for. %s\n", SITES[oom.site], oom.device,
            oom.requested_bytes, ADVICE[oom.site]);
}

/* Ends the program with the library's words if a call failed. */
static void check(ortshard_status status)
{
    if (status == ORTSHARD_OK) return;
    wipe_progress();
    if (status == ORTSHARD_ERROR_CANCELLED) fail(INTERRUPTED, "interrupted", "");
    fprintf(stderr, "generate: %s: %s\n", ortshard_status_name(status), ortshard_last_error());
    if (status == ORTSHARD_ERROR_OUT_OF_MEMORY) explain_oom();
    exit(FAILED);
}

/* ---- the model ---- */

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

/* Which layers each shard has. */
static struct pipeline cut(const struct options *o, uint32_t layer_count)
{
    struct pipeline p = {NULL, NULL, o->split.data != NULL ? o->split.count + 1 : (size_t)o->n_shards};
    if (p.count < 1 || p.count > layer_count) fail(BAD_USAGE, "there must be at least 1 shard, and a layer for each", "");
    p.stages = allocate(p.count, sizeof *p.stages);
    p.requests = allocate(p.count, sizeof *p.requests);
    for (size_t i = 0; i < p.count; i++) {
        struct stage *stage = &p.stages[i];
        stage->first = i == 0 ? 0 : stage[-1].last + 1;
        if (i + 1 == p.count) stage->last = layer_count - 1;
        else if (o->split.data == NULL) stage->last = (uint32_t)((i + 1) * layer_count / p.count - 1);
        else if (o->split.data[i] < stage->first || o->split.data[i] >= layer_count - 1)
            fail(BAD_USAGE, "--split needs growing numbers below the last layer", "");
        else stage->last = (uint32_t)o->split.data[i];
    }
    return p;
}

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
    if (!missing || o->prompt != NULL) check(status);
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

/* ---- generation ---- */

struct result {
    struct ids prompt, ids;
    FILE *collected; /* writes into text */
    char *text;
    size_t text_length;
    double load_s, prefill_s, decode_s;
};

/* Keeps a piece of text, and shows it unless JSON is wanted. */
static void add_text(struct result *r, const struct options *o, const char *text, size_t length)
{
    fwrite(text, 1, length, r->collected);
    if (o->json) return;
    fwrite(text, 1, length, stdout);
    flush_output();
}

/* Keeps what a step gives: without a tokenizer ids are all there is to show. */
static void add_step(struct result *r, const struct options *o, const ortshard_step *step, int has_text)
{
    if (step->id != ORTSHARD_NO_ID) {
        r->ids.data[r->ids.count++] = step->id;
        if (!has_text && !o->json) {
            printf("%s%" PRId64, r->ids.count > 1 ? "," : "", step->id);
            flush_output();
        }
    }
    if (has_text) add_text(r, o, step->text, step->text_length);
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

/* A generation that has the prompt. */
static ortshard_generation *begin_generation(const struct pipeline *p, const struct options *o, struct ids prompt,
                                             uint64_t max_tokens, const ortshard_tokenizer *tokenizer)
{
    int64_t eos[MOST_EOS];
    ortshard_sampler_options sampling = o->sampler;
    /* The tokenizer knows best which ids end a text; without one the model's config knows. */
    if (tokenizer == NULL && !o->ignore_eos) {
        check(ortshard_engine_model_eos(p->stages[0].engine, &o->model, on_progress, "config", eos, MOST_EOS,
                                        &sampling.eos_count));
        sampling.eos = eos;
    }
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    options.sampling = &sampling;
    options.ignore_eos = o->ignore_eos;
    options.max_new_tokens = max_tokens > 0 ? (uint32_t)max_tokens : 1;
    options.keep_logits = o->logits_file != NULL;
    ortshard_generation *generation;
    check(ortshard_generation_create(p->requests, p->count, tokenizer, &options, &generation));
    check(ortshard_generation_append_ids(generation, prompt.data, prompt.count));
    return generation;
}

static void generate(struct result *r, const struct pipeline *p, const struct options *o, uint64_t max_tokens,
                     const ortshard_tokenizer *tokenizer)
{
    r->ids.data = allocate(max_tokens, sizeof *r->ids.data);
    r->collected = open_memstream(&r->text, &r->text_length);
    if (r->collected == NULL) fail(FAILED, "out of memory", "");
    ortshard_generation *generation = begin_generation(p, o, r->prompt, max_tokens, tokenizer);

    double begin = seconds(), prefilled = 0;
    for (size_t left = r->prompt.count; left > 1 && !interrupted;)
        check(ortshard_generation_prefill(generation, PIECE, &left));
    ortshard_step step = ORTSHARD_STEP_INIT;
    while (step.finish == ORTSHARD_FINISH_NONE) {
        if (interrupted) check(ortshard_generation_cancel(generation));
        check(ortshard_generation_step(generation, &step));
        if (prefilled == 0) {
            prefilled = seconds();
            wipe_progress();
            if (o->logits_file != NULL && step.id != ORTSHARD_NO_ID) write_logits(o->logits_file, generation);
        }
        if (max_tokens > 0) add_step(r, o, &step, tokenizer != NULL);
    }
    if (fclose(r->collected) != 0) fail(FAILED, "out of memory", "");
    r->prefill_s = prefilled - begin;
    r->decode_s = seconds() - prefilled;
    ortshard_generation_free(generation);
}

/* ---- report ---- */

static void print_ids(const char *name, struct ids ids)
{
    printf("\"%s\":[", name);
    for (size_t i = 0; i < ids.count; i++) printf("%s%" PRId64, i != 0 ? "," : "", ids.data[i]);
    fputs("],", stdout);
}

/* UTF-8 goes into JSON as it is, except for quotes, backslashes and control characters. */
static void print_string(const char *name, const char *bytes, size_t length)
{
    printf("\"%s\":\"", name);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte == '"' || byte == '\\') printf("\\%c", byte);
        else if (byte < 0x20) printf("\\u%04x", byte);
        else putchar(byte);
    }
    fputs("\",", stdout);
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

static void print_json(const struct result *r, const struct pipeline *p)
{
    ortshard_runtime_info runtime = ORTSHARD_RUNTIME_INFO_INIT;
    ortshard_shard_info shard = ORTSHARD_SHARD_INFO_INIT;
    check(ortshard_runtime_get_info(&runtime));
    check(ortshard_shard_get_info(p->stages[0].shard, &shard));

    putchar('{');
    print_ids("prompt_ids", r->prompt);
    print_ids("ids", r->ids);
    print_string("text", r->text, r->text_length);
    fputs("\"shards\":[", stdout);
    for (size_t i = 0; i < p->count; i++)
        printf("%s[%" PRIu32 ",%" PRIu32 "]", i != 0 ? "," : "", p->stages[i].first, p->stages[i].last);
    printf("],\"load_s\":%.6f,\"prefill_s\":%.6f,\"decode_s\":%.6f,", r->load_s, r->prefill_s, r->decode_s);
    printf("\"peak_rss_bytes\":%" PRIu64 ",", peak_memory());
    print_string("runtime", runtime.version, strlen(runtime.version));
    printf("\"device\":\"%s\"}\n", DEVICES[shard.device]);
    flush_output();
}

/* Figures go to stderr, so that stdout has the text and nothing else. */
static void print_figures(const struct result *r)
{
    size_t steps = r->ids.count > 0 ? r->ids.count - 1 : 0; /* the first id comes from the prompt's run */
    puts("");
    flush_output();
    fprintf(stderr, "load %.2f s | prefill %zu tokens, %.1f tokens/s | decode %zu tokens, %.1f tokens/s\n", r->load_s,
            r->prompt.count, (double)r->prompt.count / r->prefill_s, steps, (double)steps / r->decode_s);
}

/* How many tokens there is room for after the prompt. */
static uint64_t room(const struct options *o, size_t prompt, uint32_t max_positions)
{
    if (prompt == 0) fail(FAILED, "the prompt has no tokens", "");
    if (prompt > max_positions) {
        fprintf(stderr, "generate: the prompt has %zu tokens, the model takes at most %" PRIu32 "\n", prompt,
                max_positions);
        exit(FAILED);
    }
    /* The last token that is generated does not go through the model any more. */
    uint64_t most = (uint64_t)max_positions - prompt + 1;
    if (o->max_tokens <= most) return o->max_tokens;
    fprintf(stderr, "generate: stops after %" PRIu64 " tokens, since the model takes at most %" PRIu32 "\n", most,
            max_positions);
    return most;
}

int main(int argc, char **argv)
{
    /* The first file that is opened would take its place. */
    if (fcntl(STDOUT_FILENO, F_GETFD) == -1) fail(FAILED, "cannot write the output: ", strerror(errno));
    struct options o = parse_options(argc, argv);
    struct result r = {.prompt = o.prompt_ids};
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}; /* a second one kills */
    sigaction(SIGINT, &action, NULL);

    double begin = seconds();
    ortshard_runtime_options runtime = ORTSHARD_RUNTIME_OPTIONS_INIT;
    runtime.threads = (uint32_t)o.threads;
    check(ortshard_runtime_load(&runtime));
    ortshard_engine *engine;
    check(ortshard_engine_create(&o.engine, &engine));

    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    check(ortshard_engine_get_model_info(engine, &o.model, on_progress, "model", &model));
    wipe_progress();
    struct pipeline p = cut(&o, model.layer_count);
    p.stages[0].engine = engine;
    ortshard_tokenizer *tokenizer = open_tokenizer(engine, &o);
    wipe_progress();
    if (o.prompt != NULL) r.prompt = encode(tokenizer, o.prompt);
    uint64_t max_tokens = room(&o, r.prompt.count, model.max_positions);
    load(&p, &o, r.prompt.count + (max_tokens > 0 ? max_tokens - 1 : 0));
    r.load_s = seconds() - begin;

    generate(&r, &p, &o, max_tokens, tokenizer);
    if (o.json) print_json(&r, &p);
    else print_figures(&r);

    ortshard_tokenizer_free(tokenizer);
    release(&p);
    free(r.prompt.data);
    free(r.ids.data);
    free(r.text);
    free(o.split.data);
    return interrupted ? INTERRUPTED : 0;
}
