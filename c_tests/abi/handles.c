/* A handle of another kind, a freed one, or memory that is no handle is INVALID_ARGUMENT with the parameter's name, in
 * every function. tests/suite/c/mod.rs makes calls.h from the header: a line for each function and each handle that it
 * takes, so none can be left out. */
#include "model.h"

enum kind { ENGINE, SHARD, REQUEST, SAMPLER, TOKENIZER, STREAM, PARSER, GENERATION, CONSTRAINT, KINDS };

static const char *const NAMES[KINDS] = {"engine",      "shard",       "request",    "sampler",   "tokenizer",
                                         "text stream", "chat parser", "generation", "constraint"};

static void *live[KINDS], *freed[KINDS], *bad;

/* What the calls take besides. */
static int64_t ids[4] = {1, 1, 1, 1}, scratch[64];
static ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
static ortshard_chat_message message = {"user", "x"};
static ortshard_tensor input, output;

static void forget_error(void)
{
    EITHER_WAY(ortshard_model_get_info(NULL, NULL));
}

static int32_t audit(const ortshard_file *file, void *user_data)
{
    (void)file, (void)user_data;
    return 0;
}

static ortshard_step step = ORTSHARD_STEP_INIT;

static int32_t hear(const ortshard_step *given, void *user_data)
{
    (void)given, (void)user_data;
    return 1;
}

struct call {
    const char *name;
    enum kind kind;
    const char *parameter;
    ortshard_status (*call)(void);
};

#include "calls.h"

static void make(void **handles)
{
    ortshard_engine *engine = engine_on_device();
    ortshard_shard *shard;
    ortshard_tokenizer *tokenizer;
    ortshard_sampler *sampler;
    ortshard_text_stream *stream;
    ortshard_chat_parser *parser;
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    OK(ortshard_sampler_create(NULL, &sampler));
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    OK(ortshard_text_stream_create(tokenizer, 0, &stream));
    OK(ortshard_chat_parser_create(tokenizer, NULL, &parser));
    /* It has its request to itself. */
    ortshard_request *pulled = request_on(shard);
    ortshard_generation *generation;
    OK(ortshard_generation_create(&pulled, 1, tokenizer, NULL, &generation));
    ortshard_request_free(pulled);
    ortshard_constraint *constraint;
    OK(ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_REGEX, "[a-z]*", NULL, 0, &constraint));
    void *made[KINDS] = {engine, shard,  request_on(shard), sampler,   tokenizer,
                         stream, parser, generation,        constraint};
    memcpy(handles, made, sizeof made);
}

static void release(void **handles)
{
    ortshard_engine_free(handles[ENGINE]);
    ortshard_shard_free(handles[SHARD]);
    ortshard_request_free(handles[REQUEST]);
    ortshard_sampler_free(handles[SAMPLER]);
    ortshard_tokenizer_free(handles[TOKENIZER]);
    ortshard_text_stream_free(handles[STREAM]);
    ortshard_chat_parser_free(handles[PARSER]);
    ortshard_generation_free(handles[GENERATION]);
    ortshard_constraint_free(handles[CONSTRAINT]);
}

static void refuses(const struct call *call, void *handle, const char *words_of_it)
{
    char wanted[128];
    bad = handle;
    snprintf(wanted, sizeof wanted, "%s is %s", call->parameter, words_of_it);
    ortshard_status status = call->call();
    if (status == ORTSHARD_ERROR_INVALID_ARGUMENT && strstr(ortshard_last_error(), wanted) != NULL) return;
    fprintf(stderr, "%s: %s (%s), not \"%s\"\n", call->name, ortshard_status_name(status), ortshard_last_error(), wanted);
    exit(1);
}

int main(void)
{
    spec.model = setting("TEST_MODEL");
    input = ids_tensor(ids, 1);
    make(live);
    make(freed);
    release(freed);
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        for (int kind = 0; kind < KINDS; kind++) {
            char words_of_it[64];
            if (kind == (int)CALLS[i].kind) continue;
            snprintf(words_of_it, sizeof words_of_it, "a handle of kind %s, not %s", NAMES[kind], NAMES[CALLS[i].kind]);
            refuses(&CALLS[i], live[kind], words_of_it);
            refuses(&CALLS[i], freed[kind], "a handle that was freed");
        }
        refuses(&CALLS[i], freed[CALLS[i].kind], "a handle that was freed");
        refuses(&CALLS[i], scratch + 8, "no handle of this library");
    }

    /* Freed again and again while others are made: only the new ones work, and none is freed by it. */
    for (int i = 0; i < 3000; i++) {
        ortshard_sampler *sampler;
        OK(ortshard_sampler_create(NULL, &sampler));
        CHECK(sampler != freed[SAMPLER]);
        release(freed);
        float logit = 0;
        OK(ortshard_sampler_sample(sampler, &logit, 1, ids));
        ortshard_sampler_free(sampler);
    }

    /* All that were refused are as they were. */
    uint64_t position;
    OK(ortshard_request_position(live[REQUEST], &position));
    CHECK(position == 0);
    ids[0] = 1;
    OK(ortshard_request_infer(live[REQUEST], &input, ORTSHARD_LOGITS_LAST, &output));
    release(live);
    return 0;
}
