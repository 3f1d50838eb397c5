/* Lines that people type: edited and recalled where the system has libedit or readline, read as they come elsewhere. */
#ifndef GENERATE_LINES_H
#define GENERATE_LINES_H

#include <dlfcn.h>
#include <locale.h>

#include "generate_output.h"

struct lines {
    int on_terminal;
    char *(*edit)(const char *prompt); /* NULL: there is no library for it */
    void (*recall)(const char *line);  /* makes it one that the arrow keys find */
};

/* The library's function of this name; `function` is the place of a pointer to one. */
static int find_function(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* readline goes on with a line after Ctrl-C. With this in the place of its own function, the line ends. libedit has
 * no such function, and does not go on. */
static int (*pending_signal)(void);

static int read_key(FILE *from)
{
    unsigned char key;
    for (;;) {
        ssize_t count = read(fileno(from), &key, 1);
        if (count == 1) return key;
        if (count == 0 || errno != EINTR) return EOF;
        if (pending_signal() == SIGINT) return '\n';
    }
}

/* The libraries are looked for at run time, so that the program needs none of them. */
static struct lines open_lines(void)
{
    static const char *const LIBRARIES[] = {"libedit.so.2", "libedit.so.0", "libreadline.so.8", "libreadline.so.7",
                                            "/usr/lib/libedit.dylib"};
    struct lines lines = {.on_terminal = isatty(STDIN_FILENO)};
    if (!lines.on_terminal || !isatty(STDOUT_FILENO)) return lines;
    /* They take characters of more than one byte for what they are in a locale that has such. */
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8");
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof *LIBRARIES && lines.edit == NULL; i++) {
        void *library = dlopen(LIBRARIES[i], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL) continue;
        if (!find_function(library, "readline", &lines.edit) || !find_function(library, "add_history", &lines.recall))
            lines.edit = NULL;
        int (**get_key)(FILE *);
        if (find_function(library, "rl_pending_signal", &pending_signal)
            && find_function(library, "rl_getc_function", &get_key))
            *get_key = read_key;
    }
    return lines;
}

static char *typed_line(const struct lines *lines, const char *prompt)
{
    if (lines->edit != NULL) {
        char *line = lines->edit(prompt);
        if ((interrupted || line == NULL) && pending_signal == NULL) puts("");
        if (!interrupted) return line;
        free(line);
        return allocate(1, 1);
    }
    char *line = NULL;
    size_t capacity = 0;
    if (lines->on_terminal) fputs(prompt, stderr);
    ssize_t length = getline(&line, &capacity, stdin);
    if (length < 0 && interrupted) {
        clearerr(stdin);
        fputs("\n", stderr);
        free(line);
        return allocate(1, 1);
    }
    if (length < 0) {
        if (ferror(stdin)) fail(FAILED, "cannot read the standard input: ", strerror(errno));
        if (lines->on_terminal) fputs("\n", stderr);
        free(line);
        return NULL;
    }
    if (memchr(line, '\0', (size_t)length) != NULL) fail(FAILED, "the standard input has a NUL character", "");
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

/* A line without its end, to be freed; NULL where there are no more. After Ctrl-C it is empty. */
static char *read_line(const struct lines *lines, const char *prompt)
{
    reads_line = 1;
    char *line = typed_line(lines, prompt);
    reads_line = 0;
    alarm(0);
    return line;
}

/* A line, and those that it goes on with: one that ends with a backslash has another. */
static char *read_lines(const struct lines *lines)
{
    struct buffer all = {NULL, 0, 0};
    char *line = read_line(lines, "> ");
    if (line == NULL) return NULL;
    for (;;) {
        add_text(&all, line);
        if (all.length == 0 || all.data[all.length - 1] != '\\') break;
        all.data[all.length - 1] = '\n';
        free(line);
        line = read_line(lines, ". ");
        /* Ctrl-C gives all of it up. */
        if (interrupted) cut_text(&all, 0);
        if (line == NULL) break;
    }
    if (line != NULL && *line != '\0' && lines->recall != NULL) lines->recall(line);
    free(line);
    return all.data;
}

#endif
