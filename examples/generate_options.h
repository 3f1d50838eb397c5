/* The command line of generate.c: what there is to choose, and how it is read. */
#ifndef GENERATE_OPTIONS_H
#define GENERATE_OPTIONS_H

#include <errno.h>
#include <float.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ortshard.h"

static const char USAGE[] =
    "usage: generate --model MODEL (--prompt TEXT | --prompt-ids 1,2,3) [options]\n"
    "\n"
    "  --model MODEL      folder with config.json, safetensors and tokenizer.json, or the model's name on the hub\n"
    "  --revision R       branch, tag or commit of a model on the hub (default main)\n"
    "  --offline          open no socket: the model is a folder or in the hub's cache\n"
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
    "  --precision P      auto, exact, int8, int4 or int4-fine\n"
    "  --kv-cache T       how KV caches are kept: auto, f32, f16 or int8\n"
    "  --device D         auto, cpu, cuda, cuda:N or coreml; a device that is named must be there\n"
    "  --memory-limit S   bytes that each shard, its KV cache and its runs may take, such as 500M or 2G\n"
    "  --no-cache         keep no KV cache: compute everything again for each token\n"
    "  --json             print one JSON object at the end instead of the text as it comes\n"
    "  --logits FILE      write the logits after the prompt's last token as raw float32\n"
    "  --version          print the library's version\n"
    "  --help, -h         print this\n"
    "\n"
    "A value may also stand behind the option's name and =, as in --seed=7.\n"
    "The generated ids include the end-of-sequence token, if one came. Ctrl-C stops and prints what there is.\n";

enum { FAILED = 1, BAD_USAGE = 2, INTERRUPTED = 130 };

struct ids {
    int64_t *data;
    size_t count;
};

struct options {
    const char *prompt, *logits_file;
    struct ids prompt_ids, split;
    uint64_t n_shards, max_tokens, threads;
    int json, ignore_eos;
    ortshard_shard_spec model; /* all of it */
    ortshard_engine_options engine;
    ortshard_request_options request;
    ortshard_sampler_options sampler;
};

_Noreturn static void fail(int code, const char *what, const char *detail)
{
    fprintf(stderr, "generate: %s%s\n", what, detail);
    if (code == BAD_USAGE) fputs("Try --help.\n", stderr);
    exit(code);
}

/* What stdout still holds back is written now, or the program fails: output that is lost is no success. */
static void flush_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) fail(FAILED, "cannot write the output: ", strerror(errno));
}

/* Prints `text` and ends the program. */
_Noreturn static void print_and_exit(const char *text)
{
    fputs(text, stdout);
    flush_output();
    exit(0);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count != 0 ? count : 1, size);
    if (memory == NULL) fail(FAILED, "out of memory", "");
    return memory;
}

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

/* Bytes: a whole number, or one with K, M, G or T behind it. */
static uint64_t bytes(const char *option, const char *text)
{
    static const char UNITS[] = "KMGT";
    uint64_t value = parse_number(option, &text, UINT64_MAX);
    const char *unit = *text != '\0' ? strchr(UNITS, *text) : NULL;
    if ((unit == NULL && *text != '\0') || (unit != NULL && text[1] != '\0'))
        fail(BAD_USAGE, option, " needs a size such as 500M or 2G");
    for (const char *step = UNITS; unit != NULL && step <= unit; step++) {
        if (value > UINT64_MAX / 1024) fail(BAD_USAGE, option, ": the number is too large");
        value *= 1024;
    }
    return value;
}

/* Numbers separated by commas. */
static struct ids numbers(const char *option, const char *text)
{
    struct ids list = {allocate(strlen(text) / 2 + 1, sizeof(int64_t)), 0};
    if (*text == '\0') fail(BAD_USAGE, option, " needs numbers separated by commas");
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
    if (end == text || *end != '\0' || !(value >= 0 && value <= FLT_MAX))
        fail(BAD_USAGE, option, " needs a number from 0 up");
    return value;
}

/* In the order of ORTSHARD_DEVICE_*, ORTSHARD_PRECISION_* and ORTSHARD_DTYPE_*. */
static const char *const DEVICES[] = {"auto", "cpu", "cuda", "coreml", NULL};
static const char *const PRECISIONS[] = {"auto", "exact", "int8", "int4", "int4-fine", NULL};
static const char *const KV_TYPES[] = {"auto", "f32", "f16", "int8", NULL};
static const int32_t KV_CODES[] = {ORTSHARD_DTYPE_AUTO, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_INT8};

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

/* Options without a value. */
static int set_switch(struct options *o, const char *option)
{
    if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) print_and_exit(USAGE);
    if (strcmp(option, "--version") == 0) {
        printf("generate, with ortshard ");
        fputs(ortshard_version(), stdout);
        print_and_exit("\n");
    }
    if (strcmp(option, "--json") == 0) o->json = 1;
    else if (strcmp(option, "--ignore-eos") == 0) o->ignore_eos = 1;
    else if (strcmp(option, "--offline") == 0) o->engine.offline = 1;
    else if (strcmp(option, "--no-cache") == 0) o->request.no_cache = 1;
    else return 0;
    return 1;
}

static void set_value(struct options *o, const char *option, const char *value)
{
    if (value == NULL) fail(BAD_USAGE, "unknown option, or one without its value: ", option);
    if (strcmp(option, "--model") == 0) o->model.model = value;
    else if (strcmp(option, "--revision") == 0) o->model.revision = value;
    else if (strcmp(option, "--prompt") == 0) o->prompt = value;
    else if (strcmp(option, "--prompt-ids") == 0) o->prompt_ids = numbers(option, value);
    else if (strcmp(option, "--shards") == 0) o->n_shards = number(option, value, UINT32_MAX);
    else if (strcmp(option, "--split") == 0) o->split = numbers(option, value);
    else if (strcmp(option, "--max-tokens") == 0) o->max_tokens = number(option, value, INT32_MAX);
    else if (strcmp(option, "--temperature") == 0) o->sampler.temperature = temperature(option, value);
    else if (strcmp(option, "--top-k") == 0) o->sampler.top_k = (uint32_t)number(option, value, UINT32_MAX);
    else if (strcmp(option, "--seed") == 0) o->sampler.seed = number(option, value, UINT64_MAX);
    else if (strcmp(option, "--threads") == 0) o->threads = number(option, value, UINT32_MAX);
    else if (strcmp(option, "--precision") == 0)
        o->engine.precision = choice(option, value, strlen(value), PRECISIONS);
    else if (strcmp(option, "--kv-cache") == 0)
        o->engine.kv_type = KV_CODES[choice(option, value, strlen(value), KV_TYPES)];
    else if (strcmp(option, "--device") == 0) device(&o->engine, option, value);
    else if (strcmp(option, "--memory-limit") == 0) o->engine.memory_limit = bytes(option, value);
    else if (strcmp(option, "--logits") == 0) o->logits_file = value;
    else fail(BAD_USAGE, "unknown option: ", option);
}

static struct options parse_options(int argc, char **argv)
{
    struct options o = {
        .n_shards = 1,
        .max_tokens = 128,
        .model = ORTSHARD_SHARD_SPEC_INIT,
        .engine = ORTSHARD_ENGINE_OPTIONS_INIT,
        .request = ORTSHARD_REQUEST_OPTIONS_INIT,
        .sampler = ORTSHARD_SAMPLER_OPTIONS_INIT,
    };
    o.sampler.temperature = 0;
    for (int i = 1; i < argc; i++) {
        char *option = argv[i], *equals = strncmp(option, "--", 2) == 0 ? strchr(option, '=') : NULL;
        if (equals != NULL) {
            *equals = '\0';
            set_value(&o, option, equals + 1);
        } else if (!set_switch(&o, option)) set_value(&o, option, i + 1 < argc ? argv[++i] : NULL);
    }
    if (o.model.model == NULL) fail(BAD_USAGE, "--model is missing", "");
    if (!o.prompt == !o.prompt_ids.data) fail(BAD_USAGE, "give either --prompt or --prompt-ids", "");
    if (o.split.data != NULL && o.n_shards != 1) fail(BAD_USAGE, "give either --shards or --split", "");
    return o;
}

#endif
