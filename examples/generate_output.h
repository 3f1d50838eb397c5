/* What generate prints beside the text: text that grows, JSON, progress, and errors. */
#ifndef GENERATE_OUTPUT_H
#define GENERATE_OUTPUT_H

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ortshard.h"

/* How the program ends, beside 0. */
enum { FAILED = 1, BAD_USAGE = 2, INTERRUPTED = 130 };

static volatile sig_atomic_t interrupted;

/* While a line is read Ctrl-C may come between two reads, and the second one waits for a key. So another signal follows. */
static volatile sig_atomic_t reads_line;

static void on_interrupt(int signal)
{
    if (signal == SIGINT) interrupted = 1;
    if (reads_line) alarm(1);
}

/* Has Ctrl-C tell `interrupted`. With SA_RESETHAND a second one ends the program. */
static void catch_interrupts(int flags)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = flags}, again = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &again, NULL);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- text that grows; a NUL follows what it has ---- */

struct buffer {
    char *data;
    size_t length, capacity;
};

_Noreturn static void fail(int code, const char *what, const char *detail);

/* Memory for `count` values, those of `memory` first; all that is new is zero. */
static void *grow(void *memory, size_t had, size_t count, size_t size)
{
    if (count > SIZE_MAX / size) fail(FAILED, "out of memory", "");
    char *grown = realloc(memory, count != 0 ? count * size : 1);
    if (grown == NULL) fail(FAILED, "out of memory", "");
    if (count > had) memset(grown + had * size, 0, (count - had) * size);
    return grown;
}

static void *allocate(size_t count, size_t size)
{
    return grow(NULL, 0, count, size);
}

static void add(struct buffer *to, const char *bytes, size_t length)
{
    if (to->capacity - to->length <= length) {
        size_t capacity = 2 * to->capacity + length + 64;
        to->data = grow(to->data, to->capacity, capacity, 1);
        to->capacity = capacity;
    }
    if (length > 0) memcpy(to->data + to->length, bytes, length);
    to->length += length;
    to->data[to->length] = '\0';
}

static void add_text(struct buffer *to, const char *text)
{
    add(to, text, strlen(text));
}

/* Appends what is left of a file. Returns 0 if it cannot be read. */
static int read_all(FILE *file, struct buffer *to)
{
    char piece[1 << 14];
    size_t length;
    add(to, "", 0);
    while ((length = fread(piece, 1, sizeof piece, file)) > 0) add(to, piece, length);
    return !ferror(file);
}

/* Cuts a text to `length`, which it has at least. */
static void cut_text(struct buffer *text, size_t length)
{
    text->length = length;
    if (text->data != NULL) text->data[length] = '\0';
}

#ifdef __GNUC__
__attribute__((format(printf, 2, 3)))
#endif
static void add_formatted(struct buffer *to, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0) add(to, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

/* A JSON string. UTF-8 goes into it as it is, except for quotes, backslashes and control characters. */
static void add_string(struct buffer *to, const char *bytes, size_t length)
{
    add(to, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        if (byte == '"' || byte == '\\') add_formatted(to, "\\%c", byte);
        else if (byte < 0x20) add_formatted(to, "\\u%04x", byte);
        else add(to, &bytes[i], 1);
    }
    add(to, "\"", 1);
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
    static const char *const STAGES[] = {"",          "reads config", "fetches", "maps weights",
                                         "quantises", "starts",       "is ready"};
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

/* ---- errors: for people or, with --json, one object on stderr ---- */

static int errors_as_json;

static const char *const OOM_SITES[] = {"?", "load", "KV cache", "run"};

/* Where memory ran out, and what would help. */
static void explain_oom(const ortshard_oom *oom)
{
    static const char *const ADVICE[] = {
        "", "Raise --memory-limit, or run a part of the layers on another machine.",
        "Lower --max-tokens or --context, shorten the prompt, raise --memory-limit, or try --no-cache.",
        "Shorten the prompt, or raise --memory-limit."};
    fprintf(stderr, "generate: site %s, device %s, %" PRIu64 " bytes asked for. %s\n", OOM_SITES[oom->site],
            oom->device, oom->requested_bytes, ADVICE[oom->site]);
}

/* {"error":{"exit":1,"status":"ORTSHARD_ERROR_IO","message":"..."}}; `status` and `oom` may be NULL. */
static void print_error_object(int code, const char *status, const char *message, const ortshard_oom *oom)
{
    struct buffer json = {NULL, 0, 0};
    add_formatted(&json, "{\"error\":{\"exit\":%d,", code);
    if (status != NULL) add_formatted(&json, "\"status\":\"%s\",", status);
    add_text(&json, "\"message\":");
    add_string(&json, message, strlen(message));
    if (oom != NULL)
        add_formatted(&json, ",\"site\":\"%s\",\"device\":\"%s\",\"requested_bytes\":%" PRIu64, OOM_SITES[oom->site],
                      oom->device, oom->requested_bytes);
    add_text(&json, "}}\n");
    fputs(json.data, stderr);
    free(json.data);
}

/* Tells of an error of this program's own, and ends it. */
_Noreturn static void fail(int code, const char *what, const char *detail)
{
    wipe_progress();
    if (errors_as_json) {
        char message[1024];
        snprintf(message, sizeof message, "%s%s", what, detail);
        print_error_object(code, NULL, message, NULL);
    } else {
        fprintf(stderr, "generate: %s%s\n", what, detail);
        if (code == BAD_USAGE) fputs("Try --help.\n", stderr);
    }
    exit(code);
}

/* Tells of a call that failed, in the library's words; `code` is what the program ends with, or 0 if it goes on. */
static void tell(ortshard_status status, int code)
{
    ortshard_oom oom = ORTSHARD_OOM_INIT;
    int has_oom = status == ORTSHARD_ERROR_OUT_OF_MEMORY && ortshard_error_get_oom(NULL, &oom) == ORTSHARD_OK;
    wipe_progress();
    if (errors_as_json) {
        print_error_object(code, ortshard_status_name(status), ortshard_last_error(), has_oom ? &oom : NULL);
        return;
    }
    fprintf(stderr, "generate: %s: %s\n", ortshard_status_name(status), ortshard_last_error());
    if (has_oom) explain_oom(&oom);
}

/* Tells what works otherwise than asked, such as a device that is not there. Failures are told where a call fails. */
static void on_message(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)user_data;
    if (level != ORTSHARD_LOG_WARNING || strcmp(target, "onnxruntime") == 0) return;
    wipe_progress();
    fprintf(stderr, "generate: %s\n", message);
}

/* Ends the program with the library's words if a call failed. */
static void check(ortshard_status status)
{
    if (status == ORTSHARD_OK) return;
    if (status == ORTSHARD_ERROR_CANCELLED) fail(INTERRUPTED, "interrupted", "");
    tell(status, FAILED);
    exit(FAILED);
}

/* What stdout still holds back is written now, or the program fails: output that is lost is no success. */
static void flush_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) fail(FAILED, "cannot write the output: ", strerror(errno));
}

/* Prints text at once. */
static void print(const char *text, size_t length)
{
    fwrite(text, 1, length, stdout);
    flush_output();
}

#endif
