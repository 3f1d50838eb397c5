/* Messages and answers: by the model's chat template, with the turns before in the KV cache. */
#ifndef GENERATE_CHAT_H
#define GENERATE_CHAT_H

#include "generate_answer.h"
#include "generate_lines.h"

struct chat {
    const struct options *options;
    const struct pipeline *pipeline;
    const ortshard_tokenizer *tokenizer;
    double load_s;
    int reuses;           /* whether tokens that were run before need not be run again */
    char *system;         /* the system message, or NULL */
    struct buffer turns;  /* the other messages as JSON, a comma before each */
    struct ids ran;       /* the tokens that the requests have run */
};

/* Penalties and the like look at the whole text, and a long text of a model with LongRoPE is another one from its first
 * token on. Then all of it is run, which gives what a new conversation with the same messages gives. */
static int can_reuse(const struct options *o, const struct pipeline *p)
{
    ortshard_shard_info shard = ORTSHARD_SHARD_INFO_INIT;
    const ortshard_sampler_options *sampler = &o->sampler;
    check(ortshard_shard_get_info(p->stages[0].shard, &shard));
    int repeats = sampler->repetition_penalty != 0 && sampler->repetition_penalty != 1;
    int looks_back = repeats || sampler->no_repeat_ngram > 0;
    for (size_t i = 0; i < sampler->bias_count; i++) looks_back |= sampler->biases[i].count > 1;
    return !looks_back && shard.short_context == 0;
}

static struct chat open_chat(const struct options *o, const struct pipeline *p, const ortshard_tokenizer *tokenizer,
                             double load_s)
{
    struct chat c = {.options = o, .pipeline = p, .tokenizer = tokenizer, .load_s = load_s, .reuses = can_reuse(o, p)};
    if (o->system != NULL) c.system = strcpy(allocate(strlen(o->system) + 1, 1), o->system);
    return c;
}

static void close_chat(struct chat *c)
{
    free(c->system);
    free(c->turns.data);
    free(c->ran.data);
}

/* ---- messages ---- */

static void add_message(struct buffer *to, const char *role, const char *content)
{
    add_formatted(to, ",{\"role\":\"%s\",\"content\":", role);
    add_string(to, content, strlen(content));
    add_text(to, "}");
}

/* All messages as a JSON list. */
static struct buffer list_messages(const struct chat *c)
{
    struct buffer list = {NULL, 0, 0};
    if (c->system != NULL) add_message(&list, "system", c->system);
    add(&list, c->turns.data, c->turns.length);
    add_text(&list, "]");
    list.data[0] = '['; /* in the place of the first comma */
    return list;
}

/* The parser's message so far, to be freed. A template looks for content where there is none, too. */
static ortshard_status copy_message(ortshard_chat_parser *parser, int has_content, struct buffer *message)
{
    size_t needed;
    TRY(ortshard_chat_parser_message(parser, NULL, 0, &needed));
    char *text = allocate(needed, 1);
    ortshard_status status = ortshard_chat_parser_message(parser, text, needed, &needed);
    if (status == ORTSHARD_OK) add_text(message, text);
    free(text);
    if (status != ORTSHARD_OK || has_content) return status;
    cut_text(message, message->length - 1);
    add_text(message, ",\"content\":\"\"}");
    return ORTSHARD_OK;
}

/* ---- what is shown of an answer: its content, reasoning in a faint print, calls in brackets ---- */

struct shown {
    ortshard_chat_parser *parser;
    int is_quiet, has_content;
    int32_t last; /* the kind of the last event */
};

static void show_event(struct shown *s, const ortshard_chat_event *event)
{
    int is_faint = event->kind == ORTSHARD_CHAT_REASONING && isatty(STDOUT_FILENO);
    int is_call = event->kind == ORTSHARD_CHAT_TOOL_CALL;
    if (s->last != ORTSHARD_CHAT_NOTHING && (s->last != event->kind || is_call)) puts("\n");
    if (is_call) printf("[%s ", event->name);
    if (is_faint) fputs("\033[2m", stdout);
    fwrite(event->text, 1, event->length, stdout);
    if (is_faint) fputs("\033[22m", stdout);
    if (is_call) fputs("]", stdout);
    flush_output();
    s->last = event->kind;
}

static ortshard_status show_events(struct shown *s)
{
    ortshard_chat_event event = ORTSHARD_CHAT_EVENT_INIT;
    for (;;) {
        TRY(ortshard_chat_parser_next(s->parser, &event));
        if (event.kind == ORTSHARD_CHAT_NOTHING) return ORTSHARD_OK;
        s->has_content |= event.kind == ORTSHARD_CHAT_CONTENT;
        if (!s->is_quiet) show_event(s, &event);
    }
}

/* Where the text of an answer goes. */
static ortshard_status show_text(void *user_data, const char *text, size_t length)
{
    struct shown *s = user_data;
    TRY(ortshard_chat_parser_push(s->parser, text, length));
    return show_events(s);
}

/* ---- turns ---- */

/* The prompt that `messages` make, as ids and as text. */
static ortshard_status make_prompt(const struct chat *c, const char *messages, struct ids *ids, struct buffer *text)
{
    ortshard_chat_options options = ORTSHARD_CHAT_OPTIONS_INIT;
    options.add_generation_prompt = 1;
    TRY(ortshard_tokenizer_chat_ids(c->tokenizer, messages, &options, NULL, 0, &ids->count));
    ids->data = allocate(ids->count, sizeof *ids->data);
    TRY(ortshard_tokenizer_chat_ids(c->tokenizer, messages, &options, ids->data, ids->count, &ids->count));
    size_t needed;
    TRY(ortshard_tokenizer_chat_text(c->tokenizer, messages, &options, NULL, 0, &needed));
    text->data = allocate(needed, 1);
    text->length = needed - 1, text->capacity = needed;
    return ortshard_tokenizer_chat_text(c->tokenizer, messages, &options, text->data, needed, &needed);
}

/* Sets the requests behind what they have run of this prompt already; its last token is always run. */
static ortshard_status reuse(struct chat *c, struct answer *a)
{
    size_t same = 0, most = c->reuses && a->prompt.count > 0 ? a->prompt.count - 1 : 0;
    while (same < most && same < c->ran.count && c->ran.data[same] == a->prompt.data[same]) same++;
    c->ran.count = 0;
    TRY(rewind_requests(c->pipeline, &same));
    a->reused = same;
    return ORTSHARD_OK;
}

/* Remembers what the requests have run. */
static void remember(struct chat *c, const struct answer *a)
{
    uint64_t position = 0;
    if (ortshard_request_position(c->pipeline->requests[0], &position) != ORTSHARD_OK) position = 0;
    size_t count = a->prompt.count + a->ids.count;
    c->ran.data = grow(c->ran.data, 0, count, sizeof *c->ran.data);
    if (a->prompt.count > 0) memcpy(c->ran.data, a->prompt.data, a->prompt.count * sizeof *c->ran.data);
    if (a->ids.count > 0) memcpy(c->ran.data + a->prompt.count, a->ids.data, a->ids.count * sizeof *c->ran.data);
    c->ran.count = position < count ? (size_t)position : count;
}

/* The answer to all messages, shown as it comes, and as a message. */
static ortshard_status answer_messages(struct chat *c, const char *messages, struct answer *a, struct buffer *prompt,
                                       struct buffer *message)
{
    TRY(make_prompt(c, messages, &a->prompt, prompt));
    TRY(reuse(c, a));
    struct shown shown = {.is_quiet = c->options->json || c->options->generation.logprobs > 0};
    ortshard_chat_parser_options options = ORTSHARD_CHAT_PARSER_OPTIONS_INIT;
    options.prompt = prompt->data;
    TRY(ortshard_chat_parser_create(c->tokenizer, &options, &shown.parser));
    ortshard_status status = generate(a, c->pipeline, c->options, c->tokenizer, 1, show_text, &shown);
    remember(c, a);
    if (status == ORTSHARD_OK) status = ortshard_chat_parser_finish(shown.parser);
    if (status == ORTSHARD_OK) status = show_events(&shown);
    if (status == ORTSHARD_OK) status = copy_message(shown.parser, shown.has_content, message);
    if (!shown.is_quiet && (status == ORTSHARD_OK || shown.last != ORTSHARD_CHAT_NOTHING)) print("\n", 1);
    ortshard_chat_parser_free(shown.parser);
    return status;
}

/* Why an answer is shorter than the model would have it. */
static void tell_finish(const struct chat *c, int32_t finish)
{
    if (c->options->json) return;
    if (finish == ORTSHARD_FINISH_LENGTH) fputs("generate: --max-tokens ended the answer\n", stderr);
    if (finish == ORTSHARD_FINISH_CONTEXT_FULL)
        fputs("generate: there is no room for more; --context gives more, /reset begins a new conversation\n", stderr);
}

/* One message and its answer. If it fails, or is stopped before a token came, it is as if it had not been said. */
static ortshard_status take_turn(struct chat *c, const char *text)
{
    size_t begin = c->turns.length;
    add_message(&c->turns, "user", text);
    struct buffer messages = list_messages(c), prompt = {NULL, 0, 0}, message = {NULL, 0, 0};
    struct answer a = {.finish = ORTSHARD_FINISH_NONE};
    ortshard_status status = answer_messages(c, messages.data, &a, &prompt, &message);
    if (status == ORTSHARD_OK && a.ids.count > 0) {
        add_text(&c->turns, ",");
        add_text(&c->turns, message.data);
    } else cut_text(&c->turns, begin);
    if (status == ORTSHARD_OK) {
        if (c->options->json) print_json(&a, c->pipeline, c->options, message.data, c->load_s);
        else if (!c->options->chat) print_figures(&a, c->load_s);
        tell_finish(c, a.finish);
    }
    free(messages.data);
    free(prompt.data);
    free(message.data);
    free(a.prompt.data);
    free_answer(&a);
    return status;
}

/* ---- the conversation ---- */

static const char COMMANDS[] =
    "/reset        begin a new conversation, with the system message as it is\n"
    "/system TEXT  set the system message; without TEXT there is none\n"
    "/exit         leave; so does Ctrl-D\n"
    "/help         print this\n"
    "Ctrl-C stops an answer. A line that ends with \\ goes on in the next one. A space before / sends it.\n";

/* What a line that begins with / says. Returns 0 if the conversation is over. */
static int obey(struct chat *c, const char *line)
{
    if (strcmp(line, "/exit") == 0) return 0;
    if (strcmp(line, "/reset") == 0) cut_text(&c->turns, 0);
    else if (strcmp(line, "/help") == 0) fputs(COMMANDS, stderr);
    else if (strcmp(line, "/system") == 0 || strncmp(line, "/system ", 8) == 0) {
        free(c->system);
        c->system = line[7] != '\0' ? strcpy(allocate(strlen(line + 8) + 1, 1), line + 8) : NULL;
    } else fprintf(stderr, "generate: there is no command %s; /help lists them\n", line);
    return 1;
}

/* Says a message; what fails is told, and the conversation goes on. */
static void say(struct chat *c, const char *text)
{
    interrupted = 0;
    ortshard_status status = take_turn(c, text);
    if (status != ORTSHARD_OK) tell(status, 0);
}

/* Ends the program if the model has no chat template that can be used, which its first message would tell. */
static void check_template(const struct chat *c)
{
    size_t needed;
    const char *probe = "[{\"role\":\"user\",\"content\":\"\"}]";
    ortshard_status status = ortshard_tokenizer_chat_text(c->tokenizer, probe, NULL, NULL, 0, &needed);
    if (status == ORTSHARD_ERROR_UNSUPPORTED) check(status);
}

static void converse(struct chat *c)
{
    struct lines lines = open_lines();
    check_template(c);
    catch_interrupts(0);
    if (lines.on_terminal && !c->options->json) fputs("/help lists commands.\n", stderr);
    if (c->options->prompt != NULL) say(c, c->options->prompt);
    for (int goes_on = 1; goes_on;) {
        interrupted = 0;
        char *line = read_lines(&lines);
        if (line == NULL) break;
        if (*line == '/') goes_on = obey(c, line);
        else if (*line != '\0') say(c, line);
        free(line);
    }
}

#endif
