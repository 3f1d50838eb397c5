/* With any amount of memory, a call that makes text is done, or is OUT_OF_MEMORY and as if it had not been made. */
#include <sys/resource.h>

#include "check.h"

enum { MOST_SPARE = 64, MESSAGES = 150 };

static ortshard_tokenizer *tokenizer;
static ortshard_chat_parser *parser;
static ortshard_chat_options options = ORTSHARD_CHAT_OPTIONS_INIT;
static char chat[64 << 10], content[1 << 20], answer[1 << 20], text[2 << 20];
static const char *texts[1000];
static int64_t ids[1 << 20];
static size_t needed;

static ortshard_status open_it(void)
{
    ortshard_tokenizer *opened;
    ortshard_status status = ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &opened);
    if (status == ORTSHARD_OK) ortshard_tokenizer_free(opened);
    return status;
}

static ortshard_status short_chat(void)
{
    return ortshard_tokenizer_chat_text(tokenizer, chat, &options, text, sizeof text, &needed);
}

static ortshard_status its_ids(void)
{
    return ortshard_tokenizer_chat_ids(tokenizer, chat, &options, ids, sizeof ids / sizeof *ids, &needed);
}

static ortshard_status long_message(void)
{
    ortshard_chat_message message = {"user", content};
    return ortshard_tokenizer_apply_chat_template(tokenizer, &message, 1, 1, text, sizeof text, &needed);
}

static ortshard_status many_texts(void)
{
    size_t count = sizeof texts / sizeof *texts;
    return ortshard_tokenizer_encode_texts(tokenizer, texts, count, NULL, ids, sizeof ids / sizeof *ids, &needed, NULL);
}

/* Goes on where it stopped, so that no part is lost and none comes twice. */
static ortshard_status parse(void)
{
    ortshard_chat_event event = ORTSHARD_CHAT_EVENT_INIT;
    ortshard_status status = ortshard_chat_parser_push(parser, answer, strlen(answer));
    if (status == ORTSHARD_OK) status = ortshard_chat_parser_next(parser, &event);
    if (status == ORTSHARD_OK) CHECK(event.kind == ORTSHARD_CHAT_CONTENT && event.length > 0);
    if (status == ORTSHARD_OK) status = ortshard_chat_parser_message(parser, text, sizeof text, &needed);
    return status;
}

/* Lets the process have so many MiB more than it has; -1: any amount. */
static void limit(long spare)
{
    static struct rlimit most;
    static int known;
    if (!known) CHECK(getrlimit(RLIMIT_AS, &most) == 0);
    known = 1;
    struct rlimit now = most;
    if (spare >= 0) {
        unsigned long pages = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1);
        fclose(file);
        now.rlim_cur = (rlim_t)pages * 4096 + ((rlim_t)spare << 20) + (256 << 10); /* an error takes some, too */
    }
    CHECK(setrlimit(RLIMIT_AS, &now) == 0);
}

int main(void)
{
    size_t length = 0;
    for (int i = 0; i < MESSAGES; i++) {
        length += (size_t)snprintf(chat + length, sizeof chat - length, "%c{\"role\": \"user\", \"content\": \"%d is a number of mine\"}",
                                   i == 0 ? '[' : ',', i);
    }
    strcat(chat, "]");
    CHECK(strlen(chat) > 8000);
    while (strlen(content) < sizeof content / 2) strcat(content + strlen(content), "some words that are repeated, and ");
    strcpy(answer, content);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) texts[i] = "a text of several words";
    options.own_template = "{% for m in messages %}<{{ m.role | upper }}>{{ m.content | trim }}</>{% endfor %}";
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));

    static const struct {
        const char *name;
        ortshard_status (*call)(void);
        long enough;
    } calls[] = {
        /* A stack of 8 MiB, and as much again. */
        {"chat_text", short_chat, 16}, {"chat_ids", its_ids, 24},       {"apply_chat_template", long_message, MOST_SPARE},
        {"encode_texts", many_texts, 16}, {"parser", parse, MOST_SPARE}, {"open", open_it, 16},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int done = 0;
        for (long spare = 0; spare <= calls[i].enough; spare++) {
            ortshard_chat_parser_options format = ORTSHARD_CHAT_PARSER_OPTIONS_INIT;
            format.format = "qwen3";
            OK(ortshard_chat_parser_create(tokenizer, &format, &parser));
#ifndef __SANITIZE_ADDRESS__ /* which uses much address space itself, and ends the process when there is no more */
            limit(spare);
#endif
            ortshard_status status = calls[i].call();
            ortshard_oom oom = ORTSHARD_OOM_INIT;
            if (status != ORTSHARD_OK) {
                status_(status, ORTSHARD_ERROR_OUT_OF_MEMORY, calls[i].name, __FILE__, __LINE__);
                OK(ortshard_error_get_oom(NULL, &oom));
            }
            done = status == ORTSHARD_OK;
            limit(-1);
            ortshard_chat_parser_free(parser);
        }
        check_(done, calls[i].name, __FILE__, __LINE__);
        OK(calls[i].call == parse ? ORTSHARD_OK : calls[i].call());
    }
    ortshard_tokenizer_free(tokenizer);
    return 0;
}
