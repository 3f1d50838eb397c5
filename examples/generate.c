/* Generates text with a language model, cut into as many shards as you like.
 *
 *     generate --model models/stories --prompt "Once upon a time" --shards 3
 *
 * The file reads from top to bottom: options, small tools, the pipeline of shards, generation, what is printed.
 */
#define _XOPEN_SOURCE 700 /* clock_gettime, getrusage, open_memstream, sigaction */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "ortshard.h"

static const char USAGE[] =
    "usage: generate --model DIR (--prompt TEXT | --prompt-ids 1,2,3) [options]\n"
    "\n"
    "  --model DIR        folder with config.json, safetensors and tokenizer.json\n"
    "  --prompt TEXT      text to continue\n"
    "  --prompt-ids IDS   the same as token ids; needs no tokenizer.json\n"
    "  --shards K         cut the model into K shards of about the same size (default 1)\n"
    "  --split 3,7        cut it after layers 3 and 7: shards [0..3], [4..7], [8..last]\n"
    "  --max-tokens N     generate at most N tokens (default 128)\n"
    "  --temperature T    0, the default, always takes the most likely token\n"
    "  --top-k K          above temperature 0: choose among the K most likely (default 35, 0: all)\n"
    "  --seed S           above temperature 0: seed of the random stream (default 1234)\n"
    "  --ignore-eos       go on after an end-of-sequence token\n"
    "  --threads N        threads to compute with (default: all processors)\n"
    "  --precision P      auto or exact\n"
    "  --device D         auto, cpu, cuda, cuda:N or coreml; a device that is named must be there\n"
    "  --json             print one JSON object at the end instead of the text as it comes\n"
    "  --logits FILE      write the logits after the prompt's last token as raw float32\n"
    "  --help             print this\n"
    "\n"
    "The generated ids include the end-of-sequence token, if one came. Ctrl-C stops and prints what there is.\n";

/* How many prompt tokens go through the model between two looks at Ctrl-C. Any number gives the same result. */
enum { PIECE = 512 };

/* End-of-sequence ids that a model may declare; real ones have up to five. */
enum { MOST_EOS = 64 };

enum { FAILED = 1, BAD_USAGE = 2, INTERRUPTED = 130 };

/* ---- small tools ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

_Noreturn static void fail(int code, const char *what, const char *detail)
{
    fprintf(stderr, "generate: %s%s\n", what, detail);
    if (code == BAD_USAGE) fputs("Try --help.\n", stderr);
    exit(code);
}

/* Ends the program with the library's words if a call failed. */
static void check(ortshard_status status)
{
    if (status == ORTSHARD_ERROR_CANCELLED) exit(INTERRUPTED);
    if (status != ORTSHARD_OK) fail(FAILED, "", ortshard_last_error());
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count != 0 ? count : 1, size);
    if (memory == NULL) fail(FAILED, "out of memory", "");
    return memory;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct ids {
    int64_t *data;
    size_t count;
};

/* ---- options ---- */

struct options {
    const char *model, *prompt, *logits_file;
    struct ids prompt_ids, split;
    uint64_t n_shards, max_tokens, threads;
    int json, ignore_eos;
    ortshard_engine_options engine;
    ortshard_sampler_options sampler;
};

/* A whole number from 0 to `most`; moves `*text` past it. */
static uint64_t parse_number(const char *option, const char **text, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(*text, &end, 10);
    if (**text < '0' || **text > '9') fail(BAD_USAGE, option, " needs a number");
    if (errno != 0 || value > most) fail(BAD_USAGE, option, ": the number is too large");
    *text = end;
    return value;
}

static uint64_t number(const char *option, const char *text, uint64_t most)
{
    uint64_t value = parse_number(option, &text, most);
    if (*text != '\0') fail(BAD_USAGE, option, " needs a whole number");
    return value;
}

/* Numbers separated by commas. */
static struct ids numbers(const char *option, const char *text)
{
    struct ids list = {allocate(strlen(text) / 2 + 1, sizeof(int64_t)), 0};
    while (*text != '\0') {
        list.data[list.count++] = (int64_t)parse_number(option, &text, INT32_MAX);
        if (*text == ',' && text[1] != '\0') text++;
        else if (*text != '\0') fail(BAD_USAGE, option, " needs numbers separated by commas");
    }
    return list;
}

static float temperature(const char *option, const char *text)
{
    char *end;
    float value = strtof(text, &end);
    if (end == text || *end != '\0' || !(value >= 0)) fail(BAD_USAGE, option, " needs a number from 0 up");
    return value;
}

/* In the order of ORTSHARD_DEVICE_* and ORTSHARD_PRECISION_*. */
static const char *const DEVICES[] = {"auto", "cpu", "cuda", "coreml", NULL};
static const char *const PRECISIONS[] = {"auto", "exact", NULL};

/* Which of `names` the first `length` characters of `value` are. */
static int32_t choice(const char *option, const char *value, size_t length, const char *const *names)
{
    int32_t i = 0;
    while (names[i] != NULL && (strlen(names[i]) != length || strncmp(names[i], value, length) != 0)) i++;
    if (names[i] == NULL) fail(BAD_USAGE, option, " does not know this value");
    return i;
}

/* A device's name, followed by `:N` where there are several. */
static void device(ortshard_engine_options *engine, const char *option, const char *value)
{
    size_t length = strcspn(value, ":");
    engine->device = choice(option, value, length, DEVICES);
    engine->device_index = value[length] == ':' ? (uint32_t)number(option, value + length + 1, UINT32_MAX) : 0;
    engine->require_device = engine->device != ORTSHARD_DEVICE_AUTO;
}

static struct options parse_options(int argc, char **argv)
{
    struct options o = {.n_shards = 1, .max_tokens = 128};
    ortshard_engine_options engine = ORTSHARD_ENGINE_OPTIONS_INIT;
    ortshard_sampler_options sampler = ORTSHARD_SAMPLER_OPTIONS_INIT;
    sampler.temperature = 0;
    o.engine = engine;
    o.sampler = sampler;
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--help") == 0) exit(fputs(USAGE, stdout) < 0);
        if (strcmp(option, "--json") == 0) { o.json = 1; continue; }
        if (strcmp(option, "--ignore-eos") == 0) { o.ignore_eos = 1; continue; }

        const char *value = i + 1 < argc ? argv[++i] : NULL;
        if (value == NULL) fail(BAD_USAGE, "unknown option, or one without its value: ", option);
        if (strcmp(option, "--model") == 0) o.model = value;
        else if (strcmp(option, "--prompt") == 0) o.prompt = value;
        else if (strcmp(option, "--prompt-ids") == 0) o.prompt_ids = numbers(option, value);
        else if (strcmp(option, "--shards") == 0) o.n_shards = number(option, value, UINT32_MAX);
        else if (strcmp(option, "--split") == 0) o.split = numbers(option, value);
        else if (strcmp(option, "--max-tokens") == 0) o.max_tokens = number(option, value, INT32_MAX);
        else if (strcmp(option, "--temperature") == 0) o.sampler.temperature = temperature(option, value);
        else if (strcmp(option, "--top-k") == 0) o.sampler.top_k = (uint32_t)number(option, value, UINT32_MAX);
        else if (strcmp(option, "--seed") == 0) o.sampler.seed = number(option, value, UINT64_MAX);
        else if (strcmp(option, "--threads") == 0) o.threads = number(option, value, UINT32_MAX);
        else if (strcmp(option, "--precision") == 0)
            o.engine.precision = choice(option, value, strlen(value), PRECISIONS);
        else if (strcmp(option, "--device") == 0) device(&o.engine, option, value);
        else if (strcmp(option, "--logits") == 0) o.logits_file = value;
        else fail(BAD_USAGE, "unknown option: ", option);
    }
    if (o.model == NULL) fail(BAD_USAGE, "--model is missing", "");
    if (!o.prompt == !o.prompt_ids.data) fail(BAD_USAGE, "give either --prompt or --prompt-ids", "");
    if (o.split.data != NULL && o.n_shards != 1) fail(BAD_USAGE, "give either --shards or --split", "");
    return o;
}

/* ---- the model ---- */

/* The shards in order; what one gives, the next takes. */
struct stage {
    uint32_t first, last; /* layers, both included */
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_request *request;
};

struct pipeline {
    struct stage *stages;
    size_t count;
};

/* Which layers each shard has. */
static struct pipeline cut(const struct options *o, uint32_t n_layers)
{
    struct pipeline p = {NULL, o->split.data != NULL ? o->split.count + 1 : (size_t)o->n_shards};
    if (p.count < 1 || p.count > n_layers) fail(BAD_USAGE, "there must be at least 1 shard, and a layer for each", "");
    p.stages = allocate(p.count, sizeof *p.stages);
    for (size_t i = 0; i < p.count; i++) {
        struct stage *stage = &p.stages[i];
        stage->first = i == 0 ? 0 : stage[-1].last + 1;
        if (i + 1 == p.count) stage->last = n_layers - 1;
        else if (o->split.data == NULL) stage->last = (uint32_t)((i + 1) * n_layers / p.count - 1);
        else if (o->split.data[i] < stage->first || o->split.data[i] >= n_layers - 1)
            fail(BAD_USAGE, "--split needs growing numbers below the last layer", "");
        else stage->last = (uint32_t)o->split.data[i];
    }
    return p;
}

static int32_t stop_if_interrupted(const ortshard_progress *progress, void *user_data)
{
    (void)progress, (void)user_data;
    return interrupted;
}

static void load(struct pipeline *p, const struct options *o, uint64_t capacity)
{
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    ortshard_request_options request = ORTSHARD_REQUEST_OPTIONS_INIT;
    request.capacity = (uint32_t)capacity;
    spec.model = o->model;
    for (struct stage *stage = p->stages; stage < p->stages + p->count; stage++) {
        spec.start_layer = stage->first;
        spec.end_layer = stage->last;
        check(ortshard_engine_create(&o->engine, &stage->engine));
        check(ortshard_engine_ensure_shard(stage->engine, &spec, stop_if_interrupted, NULL, &stage->shard));
        check(ortshard_request_create(stage->shard, &request, &stage->request));
    }
}

/* Runs ids through all shards: one tensor describes what goes into a shard and then what came out. */
static ortshard_tensor run(struct pipeline *p, int64_t *ids, size_t count, int32_t logits)
{
    ortshard_tensor tensor = {ORTSHARD_I64, 1, {(int64_t)count}, ids, count * sizeof *ids};
    for (size_t i = 0; i < p->count; i++)
        check(ortshard_request_infer(p->stages[i].request, &tensor, logits, &tensor));
    return tensor;
}

static void release(struct pipeline *p)
{
    for (size_t i = 0; i < p->count; i++) {
        ortshard_request_free(p->stages[i].request);
        ortshard_shard_free(p->stages[i].shard);
        ortshard_engine_free(p->stages[i].engine);
    }
    free(p->stages);
}

/* The model's tokenizer, or NULL if it comes without one and none is needed. */
static ortshard_tokenizer *open_tokenizer(const struct options *o)
{
    ortshard_tokenizer *tokenizer = NULL;
    ortshard_status status = ortshard_tokenizer_open(o->model, &tokenizer);
    if (status != ORTSHARD_ERROR_NOT_FOUND || o->prompt != NULL) check(status);
    return tokenizer;
}

static struct ids encode(const ortshard_tokenizer *tokenizer, const char *prompt)
{
    struct ids ids = {NULL, 0};
    /* The first call asks how many there are. */
    ortshard_status status = ortshard_tokenizer_encode(tokenizer, prompt, 1, NULL, 0, &ids.count);
    if (status != ORTSHARD_ERROR_BUFFER_TOO_SMALL) check(status);
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
    fflush(stdout);
}

static void add_id(struct result *r, const struct options *o, ortshard_text_stream *stream, int64_t id)
{
    r->ids.data[r->ids.count++] = id;
    if (stream != NULL) {
        const char *text;
        size_t length;
        ortshard_status status = ortshard_text_stream_push(stream, id, &text, &length);
        /* A model may have more ids than its tokenizer: such an id has no text. */
        if (status == ORTSHARD_OK) add_text(r, o, text, length);
        else if (status != ORTSHARD_ERROR_OUT_OF_RANGE) check(status);
    } else if (!o->json) {
        printf("%s%" PRId64, r->ids.count > 1 ? "," : "", id);
        fflush(stdout);
    }
}

static void write_logits(const char *path, const ortshard_tensor *logits)
{
    FILE *file = fopen(path, "wb");
    int written = file != NULL && fwrite(logits->data, 1, logits->byte_length, file) == logits->byte_length;
    if (file == NULL || fclose(file) != 0 || !written) fail(FAILED, "cannot write ", path);
}

/* The logits after the prompt. Ctrl-C ends it early; then they are of no use. */
static ortshard_tensor prefill(struct pipeline *p, struct ids prompt)
{
    ortshard_tensor logits = {0, 0, {0}, NULL, 0};
    for (size_t done = 0; done < prompt.count && !interrupted;) {
        size_t count = prompt.count - done < PIECE ? prompt.count - done : PIECE;
        int last = done + count == prompt.count;
        logits = run(p, prompt.data + done, count, last ? ORTSHARD_LOGITS_LAST : ORTSHARD_LOGITS_NONE);
        done += count;
    }
    return logits;
}

/* The ids that end a text: the tokenizer knows them best, the model's config knows them without one. */
static size_t eos_ids(const struct options *o, const ortshard_tokenizer *tokenizer, int64_t *ids)
{
    size_t count;
    if (tokenizer != NULL)
        check(ortshard_tokenizer_eos(tokenizer, ids, MOST_EOS, &count));
    else
        check(ortshard_model_eos(o->model, ids, MOST_EOS, &count));
    return count;
}

static void generate(struct result *r, struct pipeline *p, const struct options *o, uint64_t max_tokens,
                     const ortshard_tokenizer *tokenizer)
{
    ortshard_sampler *sampler;
    ortshard_text_stream *stream = NULL;
    check(ortshard_sampler_create(&o->sampler, &sampler));
    if (tokenizer != NULL) check(ortshard_text_stream_create(tokenizer, 1, &stream));
    r->ids.data = allocate(max_tokens, sizeof *r->ids.data);
    r->collected = open_memstream(&r->text, &r->text_length);
    if (r->collected == NULL) fail(FAILED, "out of memory", "");

    double begin = seconds();
    ortshard_tensor logits = prefill(p, r->prompt);
    double prefilled = seconds();
    if (o->logits_file != NULL && !interrupted) write_logits(o->logits_file, &logits);

    int64_t eos[MOST_EOS];
    size_t n_eos = 0;
    if (!o->ignore_eos) n_eos = eos_ids(o, tokenizer, eos);
    while (r->ids.count < max_tokens && !interrupted) {
        int64_t id;
        int is_eos = 0;
        check(ortshard_sampler_sample(sampler, logits.data, logits.byte_length / sizeof(float), &id));
        add_id(r, o, stream, id);
        for (size_t i = 0; i < n_eos; i++) is_eos |= id == eos[i];
        if (is_eos || r->ids.count == max_tokens) break;
        logits = run(p, &id, 1, ORTSHARD_LOGITS_LAST);
    }
    if (stream != NULL) {
        const char *rest;
        size_t length;
        check(ortshard_text_stream_finish(stream, &rest, &length));
        add_text(r, o, rest, length);
    }
    if (fclose(r->collected) != 0) fail(FAILED, "out of memory", "");
    r->prefill_s = prefilled - begin;
    r->decode_s = seconds() - prefilled;
    ortshard_text_stream_free(stream);
    ortshard_sampler_free(sampler);
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
    ortshard_runtime_description runtime = ORTSHARD_RUNTIME_DESCRIPTION_INIT;
    ortshard_shard_description shard = ORTSHARD_SHARD_DESCRIPTION_INIT;
    check(ortshard_runtime_info(&runtime));
    check(ortshard_shard_info(p->stages[0].shard, &shard));

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
}

/* Figures go to stderr, so that stdout has the text and nothing else. */
static void print_figures(const struct result *r)
{
    size_t steps = r->ids.count > 0 ? r->ids.count - 1 : 0; /* the first id comes from the prompt's run */
    puts("");
    fflush(stdout);
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
    struct options o = parse_options(argc, argv);
    struct result r = {.prompt = o.prompt_ids};
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}; /* a second one kills */
    sigaction(SIGINT, &action, NULL);

    double begin = seconds();
    ortshard_model_description model = ORTSHARD_MODEL_DESCRIPTION_INIT;
    check(ortshard_model_info(o.model, &model));
    struct pipeline p = cut(&o, model.n_layers);

    ortshard_tokenizer *tokenizer = open_tokenizer(&o);
    if (o.prompt != NULL) r.prompt = encode(tokenizer, o.prompt);
    uint64_t max_tokens = room(&o, r.prompt.count, model.max_positions);

    ortshard_runtime_options runtime = ORTSHARD_RUNTIME_OPTIONS_INIT;
    runtime.threads = (uint32_t)o.threads;
    check(ortshard_runtime_load(&runtime));
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
