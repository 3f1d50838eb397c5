/* A tokenizer file made to do harm is refused, or answers, in bounded time and memory, and the message names the file. */
#include <sys/stat.h>

#include "check.h"

#define TOKENIZER "tokenizer.json"
#define BPE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}"
#define TEMPLATE "chat_template.jinja"

static const char *folder;

static void put(const char *name, const char *content, size_t size)
{
    FILE *file = fopen(join(folder, name), "wb");
    CHECK(file != NULL && fwrite(content, 1, size, file) == size && fclose(file) == 0);
}

/* `text` so many times. */
static char *repeated(const char *text, size_t times)
{
    size_t length = strlen(text);
    char *whole = malloc(length * times + 1);
    CHECK(whole != NULL);
    for (size_t i = 0; i < times; i++) memcpy(whole + i * length, text, length);
    whole[length * times] = '\0';
    return whole;
}

static void refused(const char *name, const char *content, const char *text)
{
    ortshard_tokenizer *tokenizer;
    put(name, content, strlen(content));
    FAILS(MALFORMED, name, ortshard_tokenizer_open(folder, &tokenizer));
    CHECK(tokenizer == NULL && strstr(ortshard_last_error(), text) != NULL);
}

static void copy_of_the_good_one(void)
{
    static char content[1 << 20];
    FILE *file = fopen(join(setting("TEST_TOKENIZER"), TOKENIZER), "rb");
    CHECK(file != NULL);
    size_t size = fread(content, 1, sizeof content, file);
    CHECK(size > 0 && size < sizeof content && fclose(file) == 0);
    put(TOKENIZER, content, size);
}

static ortshard_status encode(const char *json)
{
    static int64_t ids[64];
    static char text[201];
    ortshard_tokenizer *tokenizer;
    size_t needed;
    memset(text, 'a', 200);
    put(TOKENIZER, json, strlen(json));
    OK(ortshard_tokenizer_open(folder, &tokenizer));
    ortshard_status status = ortshard_tokenizer_encode(tokenizer, text, 1, ids, 64, &needed);
    ortshard_tokenizer_free(tokenizer);
    return status;
}

static void template_refused(const char *template, const char *text)
{
    static char out[64];
    ortshard_tokenizer *tokenizer;
    ortshard_chat_message message = {"user", "Hi"};
    size_t needed;
    put(TEMPLATE, template, strlen(template));
    OK(ortshard_tokenizer_open(folder, &tokenizer));
    FAILS(MALFORMED, "the chat template",
          ortshard_tokenizer_apply_chat_template(tokenizer, &message, 1, 1, out, sizeof out, &needed));
    /* On a busy machine time may be over before anything else is. */
    const char *error = ortshard_last_error();
    if (strstr(error, text) == NULL && strstr(error, "takes longer than") == NULL) check_(0, error, __FILE__, __LINE__);
    ortshard_tokenizer_free(tokenizer);
}

int main(void)
{
    char path[4096];
    CHECK(snprintf(path, sizeof path, "%s/hostile_tokenizer", setting("TEST_FOLDER")) < (int)sizeof path);
    folder = path;
    mkdir(folder, 0777);
    remove(join(folder, "config.json"));
    remove(join(folder, "tokenizer_config.json"));
    remove(join(folder, TEMPLATE));

    refused(TOKENIZER, "", "");
    refused(TOKENIZER, "[]", "");
    refused(TOKENIZER, "{\"model\": {\"type\": \"Nope\"}}", "");
    refused(TOKENIZER, "{\"normalizer\": \"\xff\xfe\", " BPE "}", "");
    refused(TOKENIZER, "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 4294967296}, \"merges\": []}}", "");
    refused(TOKENIZER, "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, "
                       "\"behavior\": \"Isolated\", \"invert\": false}, " BPE "}", "");
    char *deep = repeated("{\"decoder\":", 100000);
    refused(TOKENIZER, deep, "");
    free(deep);

    /* One letter becomes 2^100. */
    char *doubling = repeated("{\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, \"content\": \"aa\"}, ", 100);
    size_t length = strlen(doubling) + 1000;
    char *json = malloc(length);
    CHECK(json != NULL);
    doubling[strlen(doubling) - 2] = '\0';
    snprintf(json, length, "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s]}, " BPE "}", doubling);
    refused(TOKENIZER, json, "times longer");
    snprintf(json, length, "{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [%s]}, " BPE "}", doubling);
    refused(TOKENIZER, json, "decoder can make a text");
    free(json);
    free(doubling);

    /* Backtracking has an end, with ids or without. */
    static const char *const patterns[] = {"(a|a|aa)+\\\\1(?=b)", "(a|a){1,40}b", "(a|a){1,40}b|a", "(a*)*b"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char pattern[500];
        snprintf(pattern, sizeof pattern,
                 "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"%s\"}, "
                 "\"behavior\": \"Isolated\", \"invert\": false}, " BPE "}", patterns[i]);
        ortshard_status status = encode(pattern);
        CHECK(status == ORTSHARD_OK || status == ORTSHARD_ERROR_BUFFER_TOO_SMALL || status == ORTSHARD_ERROR_MALFORMED);
    }

    /* The files beside a good tokenizer. */
    copy_of_the_good_one();
    char *lists = repeated("[", 100000);
    refused("tokenizer_config.json", lists, "recursion");
    free(lists);
    refused("tokenizer_config.json", "{\"bos_token\": \"\xff\"}", "");
    refused("tokenizer_config.json", "{\"chat_template\": 3}", "chat_template");
    refused("tokenizer_config.json", "{\"split_special_tokens\": 1}", "split_special_tokens");
    remove(join(folder, "tokenizer_config.json"));
    refused("config.json", "{\"eos_token_id\": 1e300}", "eos_token_id");
    remove(join(folder, "config.json"));
    refused(TEMPLATE, "\xff", "UTF-8");

    /* Templates that never end, or take all memory. */
    template_refused("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "it takes");
    template_refused("{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "MiB");
    template_refused("{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x | replace('a', n.x) %}{% endfor %}",
                     "MiB");
    template_refused("{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}", "MiB");
    template_refused("{% set n = namespace(x=[]) %}{% for i in range(60000) %}{% set n.x = [n.x] %}{% endfor %}", "deeper");
    template_refused("{{ 'x' * 99999999 * 99999999 }}", "MiB");
    template_refused("{{ '%0999999999d' | format(1) }}", "MiB");
    template_refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deeper");
    return 0;
}
