/* The command line of generate.c: what there is to choose, and how it is read. OPTIONS is the list of all of it. */
#ifndef GENERATE_OPTIONS_H
#define GENERATE_OPTIONS_H

#include <float.h>
#include <stddef.h>

#include "generate_output.h"

struct ids {
    int64_t *data;
    size_t count;
};

struct options {
    const char *prompt, *system, *logits_file;
    struct ids prompt_ids, split, banned, forced, eos;
    ortshard_bias *biases;
    const char **stop;
    char *grammar; /* read from a file */
    size_t bias_count, stop_count;
    uint32_t n_shards, max_tokens, threads;
    int32_t chat, from_stdin, json, published_sampling;
    ortshard_shard_spec model; /* all of it */
    ortshard_engine_options engine;
    ortshard_request_options request;
    ortshard_sampler_options sampler;
    ortshard_generation_options generation;
    unsigned char given[64];     /* which of OPTIONS the command line has */
};

/* One option. The functions that read a value write it to `place`, within struct options. */
struct option {
    const char *name;
    const char *value; /* what help calls it; NULL: the option is a switch */
    const char *help;
    void (*read)(const struct option *option, void *place, const char *value);
    size_t offset, size;
    double least, most;
};

#define AT(field) offsetof(struct options, field), sizeof(((struct options *)0)->field)

/* ---- reading values ---- */

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

static void read_switch(const struct option *option, void *place, const char *value)
{
    if (value != NULL) fail(BAD_USAGE, option->name, " takes no value");
    *(int32_t *)place = 1;
}

static void read_text(const struct option *option, void *place, const char *value)
{
    (void)option;
    *(const char **)place = value;
}

static void read_u32(const struct option *option, void *place, const char *value)
{
    *(uint32_t *)place = (uint32_t)number(option->name, value, option->most > 0 ? (uint64_t)option->most : UINT32_MAX);
}

static void read_u64(const struct option *option, void *place, const char *value)
{
    *(uint64_t *)place = number(option->name, value, UINT64_MAX);
}

/* Bytes: a whole number, or one with K, M, G or T behind it. */
static void read_bytes(const struct option *option, void *place, const char *value)
{
    static const char UNITS[] = "KMGT";
    uint64_t bytes = parse_number(option->name, &value, UINT64_MAX);
    const char *unit = *value != '\0' ? strchr(UNITS, *value) : NULL;
    if ((unit == NULL && *value != '\0') || (unit != NULL && value[1] != '\0'))
        fail(BAD_USAGE, option->name, " needs a size such as 500M or 2G");
    for (const char *step = UNITS; unit != NULL && step <= unit; step++) {
        if (bytes > UINT64_MAX / 1024) fail(BAD_USAGE, option->name, ": the number is too large");
        bytes *= 1024;
    }
    *(uint64_t *)place = bytes;
}

/* A number from the option's least to its most. */
static void read_float(const struct option *option, void *place, const char *value)
{
    char *end, range[96];
    float parsed = strtof(value, &end);
    if (end == value || *end != '\0' || !(parsed >= option->least && parsed <= option->most)) {
        if (option->most >= FLT_MAX) snprintf(range, sizeof range, " needs a number from %g up", option->least);
        else snprintf(range, sizeof range, " needs a number from %g to %g", option->least, option->most);
        fail(BAD_USAGE, option->name, range);
    }
    *(float *)place = parsed;
}

/* Numbers separated by commas, up to `end` or the end of the text. */
static struct ids numbers(const char *option, const char *text, char end)
{
    struct ids list = {allocate(strlen(text) / 2 + 1, sizeof(int64_t)), 0};
    if (*text == '\0' || *text == end) fail(BAD_USAGE, option, " needs numbers separated by commas");
    while (*text != '\0' && *text != end) {
        list.data[list.count++] = (int64_t)parse_number(option, &text, INT32_MAX);
        if (*text == ',' && text[1] != '\0' && text[1] != end) text++;
        else if (*text != '\0' && *text != end) fail(BAD_USAGE, option, " needs numbers separated by commas");
    }
    return list;
}

static void read_ids(const struct option *option, void *place, const char *value)
{
    *(struct ids *)place = numbers(option->name, value, '\0');
}

/* IDS=NUMBER, one more of them. */
static void read_bias(const struct option *option, void *place, const char *value)
{
    struct options *o = place;
    const char *equals = strchr(value, '=');
    char *end = NULL;
    double bias = equals != NULL ? strtod(equals + 1, &end) : 0;
    if (equals == NULL || end == equals + 1 || *end != '\0')
        fail(BAD_USAGE, option->name, " needs IDS=NUMBER, as in 7,8=-1.5");
    struct ids ids = numbers(option->name, value, '=');
    o->biases = grow(o->biases, o->bias_count, o->bias_count + 1, sizeof *o->biases);
    o->biases[o->bias_count++] = (ortshard_bias){.ids = ids.data, .count = ids.count, .bias = bias};
}

/* One more of them. */
static void read_stop(const struct option *option, void *place, const char *value)
{
    struct options *o = place;
    if (*value == '\0') fail(BAD_USAGE, option->name, " needs a text that is not empty");
    o->stop = grow(o->stop, o->stop_count, o->stop_count + 1, sizeof *o->stop);
    o->stop[o->stop_count++] = value;
}

/* What the text must match: one grammar of whichever kind. */
static void set_grammar(const struct option *option, struct options *o, const char *grammar, int32_t kind)
{
    if (o->generation.grammar != NULL)
        fail(BAD_USAGE, option->name, ": give one of --json-schema, --regex and --grammar");
    o->generation.grammar = grammar;
    o->generation.grammar_kind = kind;
}

static void set_grammar_file(const struct option *option, struct options *o, const char *path, int32_t kind)
{
    FILE *file = fopen(path, "rb");
    struct buffer text = {NULL, 0, 0};
    if (file == NULL || !read_all(file, &text)) fail(BAD_USAGE, option->name, ": the file cannot be read");
    if (strlen(text.data) != text.length) fail(BAD_USAGE, option->name, ": the file has a NUL character");
    fclose(file);
    set_grammar(option, o, o->grammar = text.data, kind);
}

static void read_json_schema(const struct option *option, void *place, const char *value)
{
    set_grammar_file(option, place, value, ORTSHARD_GRAMMAR_JSON_SCHEMA);
}

static void read_regex(const struct option *option, void *place, const char *value)
{
    set_grammar(option, place, value, ORTSHARD_GRAMMAR_REGEX);
}

static void read_lark(const struct option *option, void *place, const char *value)
{
    set_grammar_file(option, place, value, ORTSHARD_GRAMMAR_LARK);
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

static void read_precision(const struct option *option, void *place, const char *value)
{
    *(int32_t *)place = choice(option->name, value, strlen(value), PRECISIONS);
}

static void read_kv_type(const struct option *option, void *place, const char *value)
{
    *(int32_t *)place = KV_CODES[choice(option->name, value, strlen(value), KV_TYPES)];
}

/* A device's name, followed by `:N` where there are several. */
static void read_device(const struct option *option, void *place, const char *value)
{
    ortshard_engine_options *engine = place;
    size_t length = strcspn(value, ":");
    engine->device = choice(option->name, value, length, DEVICES);
    engine->device_index = value[length] == ':' ? (uint32_t)number(option->name, value + length + 1, UINT32_MAX) : 0;
    engine->require_device = engine->device != ORTSHARD_DEVICE_AUTO;
}

static void print_help(const struct option *option, void *place, const char *value);
static void print_version(const struct option *option, void *place, const char *value);

/* ---- the options; one without a name is a heading ---- */

#define WHOLE 0, sizeof(struct options)
#define ANY 0, 0
#define HEADING(text) {NULL, NULL, text, NULL, 0, 0, 0, 0}

static const struct option OPTIONS[] = {
    HEADING("The model"),
    {"--model", "MODEL", "folder with config.json, safetensors and tokenizer.json, or the model's name on the hub",
     read_text, AT(model.model), ANY},
    {"--revision", "R", "branch, tag or commit of a model on the hub (default main)",
     read_text, AT(model.revision), ANY},
    {"--offline", NULL, "open no socket: the model is a folder or in the hub's cache",
     read_switch, AT(engine.offline), ANY},

    HEADING("What it is given: one of these"),
    {"--prompt", "TEXT", "text to continue", read_text, AT(prompt), ANY},
    {"--stdin", NULL, "the same, all of the standard input", read_switch, AT(from_stdin), ANY},
    {"--prompt-ids", "IDS", "the same as token ids, as in 1,2,3; needs no tokenizer.json",
     read_ids, AT(prompt_ids), ANY},
    {"--chat", NULL, "a conversation: each line is a message (/help there tells more); --prompt is the first",
     read_switch, AT(chat), ANY},

    HEADING("What comes of it"),
    {"--system", "TEXT", "the system message; the prompt is then a message, too, by the model's chat template",
     read_text, AT(system), ANY},
    {"--max-tokens", "N", "generate at most N tokens (default 128; with --chat as many as there is room for)",
     read_u32, AT(max_tokens), 0, INT32_MAX},
    {"--context", "N", "room for N tokens, prompt and answer (default: what is needed; with --chat up to 4096)",
     read_u32, AT(request.capacity), ANY},
    {"--stop", "TEXT", "end where TEXT comes; may be given several times", read_stop, WHOLE, ANY},
    {"--include-stop", NULL, "keep the text that ended it", read_switch, AT(generation.include_stop), ANY},
    {"--json-schema", "FILE", "the text is JSON as this JSON schema has it, if it ends by itself",
     read_json_schema, WHOLE, ANY},
    {"--regex", "RE", "the text matches this regular expression, if it ends by itself", read_regex, WHOLE, ANY},
    {"--grammar", "FILE", "the text matches this Lark grammar, if it ends by itself", read_lark, WHOLE, ANY},
    {"--ignore-eos", NULL, "go on after an end-of-sequence token", read_switch, AT(generation.ignore_eos), ANY},
    {"--eos", "IDS", "tokens that end the text, instead of those that the model's files declare",
     read_ids, AT(eos), ANY},
    {"--keep-special", NULL, "show special tokens, too", read_switch, AT(generation.keep_special), ANY},
    {"--logprobs", "N", "a line for each token instead: its probability's logarithm, and the N most probable",
     read_u32, AT(generation.logprobs), ANY},
    {"--logits", "FILE", "write the logits after the prompt's last token as raw float32",
     read_text, AT(logits_file), ANY},
    {"--json", NULL, "print one JSON object at the end instead of the text as it comes; see below",
     read_switch, AT(json), ANY},

    HEADING("How tokens are chosen; include/ortshard.h, Sampler, tells in which order"),
    {"--published-sampling", NULL, "as the model's generation_config.json says, but for what is said here",
     read_switch, AT(published_sampling), ANY},
    {"--temperature", "T", "0, the default, always takes the most likely token",
     read_float, AT(sampler.temperature), 0, FLT_MAX},
    {"--seed", "S", "above temperature 0: seed of the random stream (default 1234)", read_u64, AT(sampler.seed), ANY},
    {"--top-k", "K", "above temperature 0: choose among the K most likely (default 35, 0: all)",
     read_u32, AT(sampler.top_k), ANY},
    {"--top-p", "P", "... among the most probable that reach P together", read_float, AT(sampler.top_p), 0, 1},
    {"--min-p", "P", "... among those at least P times as probable as the most probable",
     read_float, AT(sampler.min_p), 0, 1},
    {"--typical-p", "P", "... among the least surprising in surprise that reach P together",
     read_float, AT(sampler.typical_p), 0, 1},
    {"--top-n-sigma", "N", "... among logits at most N standard deviations below the largest",
     read_float, AT(sampler.top_n_sigma), 0, FLT_MAX},
    {"--repetition-penalty", "X", "divide positive logits of tokens of the text so far by X, multiply others",
     read_float, AT(sampler.repetition_penalty), 0, FLT_MAX},
    {"--presence-penalty", "X", "subtract X from the logits of tokens that were generated",
     read_float, AT(sampler.presence_penalty), -2, 2},
    {"--frequency-penalty", "X", "subtract X for each time that they were",
     read_float, AT(sampler.frequency_penalty), -2, 2},
    {"--penalty-window", "N", "the penalties look at the last N tokens (default 0: all)",
     read_u32, AT(sampler.penalty_window), ANY},
    {"--no-repeat-ngram", "N", "no N tokens come twice in a row", read_u32, AT(sampler.no_repeat_ngram), ANY},
    {"--bias", "IDS=X", "add X to the logit of the last of IDS behind the others; may be given several times",
     read_bias, WHOLE, ANY},
    {"--banned", "IDS", "tokens that never come", read_ids, AT(banned), ANY},
    {"--forced", "IDS", "tokens that come first", read_ids, AT(forced), ANY},
    {"--min-tokens", "N", "no end-of-sequence token before N others", read_u32, AT(sampler.min_new_tokens), ANY},

    HEADING("How it runs"),
    {"--shards", "K", "cut the model into K shards, as even as it can be cut (default 1)", read_u32, AT(n_shards), ANY},
    {"--split", "3,7", "cut it after layers 3 and 7: shards [0..3], [4..7], [8..last]", read_ids, AT(split), ANY},
    {"--threads", "N", "threads to compute with (default: all processors)", read_u32, AT(threads), ANY},
    {"--precision", "P", "auto, exact, int8, int4 or int4-fine", read_precision, AT(engine.precision), ANY},
    {"--kv-cache", "T", "how KV caches are kept: auto, f32, f16 or int8", read_kv_type, AT(engine.kv_type), ANY},
    {"--device", "D", "auto, cpu, cuda, cuda:N or coreml; a device that is named must be there",
     read_device, AT(engine), ANY},
    {"--memory-limit", "S", "bytes that each shard, its KV cache and its runs may take, such as 500M or 2G",
     read_bytes, AT(engine.memory_limit), ANY},
    {"--no-cache", NULL, "keep no KV cache: compute everything again for each token",
     read_switch, AT(request.no_cache), ANY},

    HEADING("About it"),
    {"--version", NULL, "print the library's version", print_version, WHOLE, ANY},
    {"--help", NULL, "print this; so does -h", print_help, WHOLE, ANY},
    {"-h", NULL, NULL, print_help, WHOLE, ANY},
};

enum { OPTION_COUNT = sizeof OPTIONS / sizeof *OPTIONS };
_Static_assert(sizeof OPTIONS / sizeof *OPTIONS <= sizeof((struct options *)0)->given, "an option cannot be marked");

static const char AFTER_OPTIONS[] =
    "\n"
    "A value may also stand behind the option's name and =, as in --seed=7. Of an option that is given twice the last\n"
    "counts, if it does not say otherwise. Ctrl-C stops and prints what there is; in a conversation, the answer.\n"
    "\n"
    "--json: {\"prompt_ids\":[...],\"ids\":[...],\"text\":\"...\",\"finish\":\"eos\",...}. The ids include the\n"
    "end-of-sequence token, if one came; finish is eos, stop, length, context_full or cancelled. With --chat each\n"
    "answer is one object on a line, and its message is in it. An error is one object on stderr:\n"
    "{\"error\":{\"exit\":1,\"status\":\"ORTSHARD_ERROR_IO\",\"message\":\"...\"}}; status is there if the library has\n"
    "failed, and exit is 0 where a conversation goes on.\n"
    "\n"
    "Ends with 0, or 1 after an error, 2 for a command line that is wrong, 130 after Ctrl-C.\n";

static void print_help(const struct option *option, void *place, const char *value)
{
    read_switch(option, &(int32_t){0}, value);
    (void)place;
    puts("usage: generate --model MODEL (--prompt TEXT | --stdin | --prompt-ids 1,2,3 | --chat) [options]");
    for (const struct option *line = OPTIONS; line < OPTIONS + OPTION_COUNT; line++) {
        char name[32];
        if (line->name == NULL) printf("\n%s:\n", line->help);
        else if (line->help != NULL) {
            snprintf(name, sizeof name, "%s %s", line->name, line->value != NULL ? line->value : "");
            printf("  %-22s %s\n", name, line->help);
        }
    }
    fputs(AFTER_OPTIONS, stdout);
    flush_output();
    exit(0);
}

static void print_version(const struct option *option, void *place, const char *value)
{
    read_switch(option, &(int32_t){0}, value);
    (void)place;
    printf("generate, with ortshard %s\n", ortshard_version());
    flush_output();
    exit(0);
}

/* ---- reading all of them ---- */

/* The option that the first `length` characters of `name` are. */
static const struct option *find_option(const char *name, size_t length)
{
    for (const struct option *option = OPTIONS; option < OPTIONS + OPTION_COUNT; option++)
        if (option->name != NULL && strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

static int is_given(const struct options *o, const char *name)
{
    return o->given[find_option(name, strlen(name)) - OPTIONS];
}

/* What must not be said together. */
static void refuse_contradictions(const struct options *o)
{
    int prompts = (o->prompt != NULL) + (o->prompt_ids.data != NULL) + (o->from_stdin != 0);
    if (o->model.model == NULL) fail(BAD_USAGE, "--model is missing", "");
    if (o->chat && (o->from_stdin || o->prompt_ids.data != NULL))
        fail(BAD_USAGE, "--chat takes neither --stdin nor --prompt-ids", ": messages come from the standard input");
    if (o->chat && o->logits_file != NULL) fail(BAD_USAGE, "--chat takes no --logits", "");
    if (o->chat && is_given(o, "--max-tokens") && o->max_tokens == 0)
        fail(BAD_USAGE, "--max-tokens must be at least 1 with --chat", "");
    if (!o->chat && prompts != 1) fail(BAD_USAGE, "give one of --prompt, --stdin, --prompt-ids and --chat", "");
    if (o->system != NULL && o->prompt_ids.data != NULL) fail(BAD_USAGE, "give either --system or --prompt-ids", "");
    if (o->split.data != NULL && o->n_shards != 1) fail(BAD_USAGE, "give either --shards or --split", "");
    if (o->eos.data != NULL && o->generation.ignore_eos) fail(BAD_USAGE, "give either --eos or --ignore-eos", "");
    if (o->generation.grammar != NULL && o->generation.ignore_eos)
        fail(BAD_USAGE, "--json-schema, --regex and --grammar", " take no --ignore-eos");
    if (o->generation.include_stop && o->stop_count == 0) fail(BAD_USAGE, "--include-stop needs a --stop", "");
    /* Controls that contradict each other are the library's to find, before anything is loaded. */
    ortshard_sampler *sampler = NULL;
    if (ortshard_sampler_create(&o->sampler, &sampler) != ORTSHARD_OK)
        fail(BAD_USAGE, "controls that cannot be: ", ortshard_last_error());
    ortshard_sampler_free(sampler);
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
        .generation = ORTSHARD_GENERATION_OPTIONS_INIT,
    };
    o.sampler.temperature = 0;
    /* Wherever it stands, an error is told as it says. */
    for (int i = 1; i < argc; i++) errors_as_json |= strcmp(argv[i], "--json") == 0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = strncmp(name, "--", 2) == 0 ? strchr(name, '=') : NULL;
        const struct option *option = find_option(name, value != NULL ? (size_t)(value - name) : strlen(name));
        if (option == NULL) fail(BAD_USAGE, "unknown option: ", name);
        if (value != NULL) value++;
        else if (option->value != NULL) value = argv[++i];
        if (option->value != NULL && value == NULL) fail(BAD_USAGE, option->name, " needs a value");
        option->read(option, (char *)&o + option->offset, value);
        o.given[option - OPTIONS] = 1;
    }
    o.sampler.banned = o.banned.data, o.sampler.banned_count = o.banned.count;
    o.sampler.forced = o.forced.data, o.sampler.forced_count = o.forced.count;
    o.sampler.eos = o.eos.data, o.sampler.eos_count = o.eos.count;
    o.sampler.biases = o.biases, o.sampler.bias_count = o.bias_count;
    o.generation.stop = o.stop, o.generation.stop_count = o.stop_count;
    refuse_contradictions(&o);
    return o;
}

/* Tokens are chosen as `published` says, but for what the command line says. */
static void adopt_sampling(struct options *o, ortshard_sampler_options published)
{
    size_t begin = offsetof(struct options, sampler), end = begin + sizeof o->sampler;
    for (int i = 0; i < OPTION_COUNT; i++) {
        size_t offset = OPTIONS[i].offset;
        if (!o->given[i] || offset < begin || offset >= end) continue;
        memcpy((char *)&published + (offset - begin), (char *)o + offset, OPTIONS[i].size);
    }
    published.banned = o->sampler.banned, published.banned_count = o->sampler.banned_count;
    published.forced = o->sampler.forced, published.forced_count = o->sampler.forced_count;
    published.eos = o->sampler.eos, published.eos_count = o->sampler.eos_count;
    published.biases = o->sampler.biases, published.bias_count = o->sampler.bias_count;
    o->sampler = published;
}

static void free_options(struct options *o)
{
    for (size_t i = 0; i < o->bias_count; i++) free((void *)o->biases[i].ids);
    free(o->biases);
    free(o->stop);
    free(o->grammar);
    free(o->prompt_ids.data);
    free(o->split.data);
    free(o->banned.data);
    free(o->forced.data);
    free(o->eos.data);
}

#endif
