/* Generates text with a language model, cut into as many shards as you like, or talks with it.
 *
 *     generate --model models/stories --prompt "Once upon a time" --shards 3
 *     generate --model Qwen/Qwen3-0.6B --chat
 *
 * The parts, each of which uses those before it: generate_output.h (errors, progress, JSON), generate_options.h (the
 * command line), generate_model.h (the pipeline of shards), generate_answer.h (one answer, token by token),
 * generate_lines.h (what people type) and generate_chat.h (conversations).
 */
#define _XOPEN_SOURCE 700 /* clock_gettime, getline, getrusage, isatty, sigaction */

#include <fcntl.h>

#include "generate_chat.h"

/* All of the standard input. */
static char *read_input(void)
{
    struct buffer all = {NULL, 0, 0};
    int is_read = read_all(stdin, &all);
    if (interrupted) fail(INTERRUPTED, "interrupted", "");
    if (!is_read) fail(FAILED, "cannot read the standard input: ", strerror(errno));
    if (strlen(all.data) != all.length) fail(FAILED, "the standard input has a NUL character", "");
    return all.data;
}

/* How many tokens there is to be room for, so that `max_tokens` fit behind the prompt. */
static uint64_t capacity(const struct options *o, size_t prompt, uint32_t max_positions)
{
    uint64_t most = o->request.capacity > 0 ? o->request.capacity : max_positions;
    if (prompt == 0) fail(FAILED, "the prompt has no tokens", "");
    if (prompt > most) {
        char counts[96];
        snprintf(counts, sizeof counts, "the prompt has %zu tokens, %s at most %" PRIu64, prompt,
                 o->request.capacity > 0 ? "--context allows" : "the model takes", most);
        fail(FAILED, counts, "");
    }
    /* The last token that is generated does not go through the model any more. */
    uint64_t needed = prompt + (uint64_t)(o->max_tokens > 0 ? o->max_tokens - 1 : 0);
    if (needed <= most) return needed;
    if (!o->json)
        fprintf(stderr, "generate: stops after %" PRIu64 " tokens, since there is room for %" PRIu64 "\n",
                most - prompt + 1, most);
    return most;
}

/* The text after one prompt. */
static void continue_prompt(const struct options *o, struct pipeline *p, const ortshard_tokenizer *tokenizer,
                            uint32_t max_positions, double begin)
{
    struct answer a = {.prompt = o->prompt_ids};
    if (o->prompt != NULL) a.prompt = encode(tokenizer, o->prompt);
    load(p, o, capacity(o, a.prompt.count, max_positions));
    double load_s = seconds() - begin;
    check(generate(&a, p, o, tokenizer, 0, NULL, NULL));
    if (o->json) print_json(&a, p, o, NULL, load_s);
    else {
        if (o->generation.logprobs == 0) print("\n", 1);
        print_figures(&a, load_s);
    }
    if (o->prompt != NULL) free(a.prompt.data);
    free_answer(&a);
}

/* The answer to one message, or a conversation. */
static void answer(const struct options *o, struct pipeline *p, const ortshard_tokenizer *tokenizer, double begin)
{
    load(p, o, o->request.capacity);
    struct chat chat = open_chat(o, p, tokenizer, seconds() - begin);
    if (o->chat) converse(&chat);
    else check(take_turn(&chat, o->prompt));
    close_chat(&chat);
}

int main(int argc, char **argv)
{
    /* The first file that is opened would take its place. */
    if (fcntl(STDOUT_FILENO, F_GETFD) == -1) fail(FAILED, "cannot write the output: ", strerror(errno));
    struct options o = parse_options(argc, argv);
    catch_interrupts((int)SA_RESETHAND);
    char *input = o.from_stdin ? read_input() : NULL;
    if (input != NULL) o.prompt = input;

    double begin = seconds();
    if (!o.json) check(ortshard_log_set_callback(ORTSHARD_LOG_WARNING, on_message, NULL));
    ortshard_runtime_options runtime = ORTSHARD_RUNTIME_OPTIONS_INIT;
    runtime.threads = o.threads;
    check(ortshard_runtime_load(&runtime));
    ortshard_engine *engine;
    check(ortshard_engine_create(&o.engine, &engine));

    ortshard_model_info model = ORTSHARD_MODEL_INFO_INIT;
    check(ortshard_engine_get_model_info(engine, &o.model, on_progress, "model", &model));
    wipe_progress();
    if (o.published_sampling) {
        ortshard_sampler_options published = ORTSHARD_SAMPLER_OPTIONS_INIT;
        check(ortshard_engine_get_sampler_options(engine, &o.model, on_progress, "sampling", &published));
        adopt_sampling(&o, published);
    }
    struct pipeline p = cut(engine, &o, model.layer_count);
    p.stages[0].engine = engine;
    ortshard_tokenizer *tokenizer = open_tokenizer(engine, &o);
    if (o.chat && !is_given(&o, "--max-tokens")) o.max_tokens = 0;
    if (o.chat || o.system != NULL) answer(&o, &p, tokenizer, begin);
    else continue_prompt(&o, &p, tokenizer, model.max_positions, begin);

    ortshard_tokenizer_free(tokenizer);
    release(&p);
    free_options(&o);
    free(input);
    return interrupted && !o.chat ? INTERRUPTED : 0;
}
