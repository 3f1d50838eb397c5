/* Reads bytes as a sequence of calls of the C interface, with any arguments that C allows: any number where a number
 * goes, NULL or a live object where a pointer goes, and memory as long as the call says. c_tests/process/corpus.c does the same
 * with the corpus.
 *
 * Every call must return a status that its caller can act upon; a failing one leaves a message, and what it gives is
 * empty. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Much is called for what it must not do. */
#define ORTSHARD_NODISCARD
#include "ortshard.h"

enum { SLOTS = 3, ROOM = 1 << 14, LARGEST_STRUCT = 4096, LONGEST_MESSAGE = 1 << 14 };

void fuzz_calls(const char *root, const char *scratch, const uint8_t *data, size_t size);

#define MUST(condition) must((condition) != 0, #condition, __LINE__)
#define TRY(call) judge((call), #call)

static void must(int holds, const char *what, int line)
{
    if (holds) return;
    fprintf(stderr, "calls.c:%d: fails: %s (last error: %s)\n", line, what, ortshard_last_error());
    abort();
}

static int judge(ortshard_status status, const char *call)
{
    if (status == ORTSHARD_OK) return 1;
    const char *message = ortshard_last_error();
    int fine = status != ORTSHARD_ERROR_PANIC && status != ORTSHARD_ERROR_INTERNAL;
    fine = fine && *message != '\0' && strlen(message) <= LONGEST_MESSAGE;
    for (const char *c = message; *c != '\0'; c++) fine = fine && (unsigned char)*c >= ' ';
    must(fine, call, __LINE__);
    return 0;
}

/* The input. Once it has ended it is all zeros. */
static const uint8_t *at, *end;

static uint8_t byte(void)
{
    return at < end ? *at++ : 0;
}

static uint64_t number(void)
{
    static const uint64_t edges[] = {UINT32_MAX, INT32_MAX, INT64_MAX, (uint64_t)INT64_MIN, 1ull << 31, 1ull << 40, 127, 256};
    uint64_t value = 0;
    uint8_t kind = byte();
    if (kind < 128) return kind % 16;
    if (kind < 192) return byte();
    if (kind < 224) return edges[kind % 8];
    if (kind < 240) return -(uint64_t)byte();
    for (int i = 0; i < 8; i++) value = value << 8 | byte();
    return value;
}

static int chance(int of)
{
    return byte() % of == 0;
}

static size_t up_to(size_t most)
{
    uint64_t value = number();
    return value > most ? most : (size_t)value;
}

/* Texts and paths, wrong ones too. Nothing outside the repository and the scratch folder is named. */
static const char *root_folder, *scratch_folder;

static const char *text(void)
{
    static const char *const texts[] = {"", "Hello world", "user", "\xff\xfe", "\xed\xa0\x80", "a\nb\t<s></s>", "{{ x }}", "\xf0\x9f\x98\x80"};
    uint8_t kind = byte() % 9;
    return kind < 8 ? texts[kind] : NULL;
}

static const char *path(void)
{
    static const char *const names[] = {"tests/models/mistral_window", "tests/models/qwen2_tied", "tests/models/llama_bias_sharded",
                                        "tests/models/mistral_window/model.safetensors", "tests/tokenizers/unigram",
                                        "tests", "tests/none"};
    static char joined[2][4096];
    static int turn;
    char *to = joined[turn ^= 1];
    uint8_t kind = byte() % 12;
    if (kind < 7) snprintf(to, sizeof joined[0], "%s/%s", root_folder, names[kind]);
    else if (kind < 9) snprintf(to, sizeof joined[0], "%s/file", scratch_folder);
    else if (kind == 9) return "org/name";
    else return text();
    return to;
}

/* Where a call writes to: sometimes nowhere. */
static unsigned char room[ROOM];
static size_t needed;

static void *buffer(size_t *capacity)
{
    *capacity = up_to(ROOM);
    return *capacity == 0 && chance(2) ? NULL : room;
}

static size_t *needed_or_null(void)
{
    return chance(16) ? NULL : &needed;
}

/* A struct with room for any struct_size that the library does not refuse. */
static union {
    size_t struct_size;
    unsigned char bytes[LARGEST_STRUCT];
    ortshard_engine_options engine;
    ortshard_shard_spec spec;
    ortshard_request_options request;
    ortshard_sampler_options sampler;
    ortshard_generation_options generation;
    ortshard_runtime_options runtime;
    ortshard_encode_options encoding;
    ortshard_chat_options chat;
    ortshard_chat_parser_options parser;
    ortshard_plan_options plan;
} options;

static void *sized(size_t usual)
{
    if (chance(16)) return NULL;
    options.struct_size = chance(8) ? (size_t)number() : usual;
    return &options;
}

/* Objects. */
static ortshard_engine *engines[SLOTS];
static ortshard_shard *shards[SLOTS];
static ortshard_request *requests[SLOTS];
static ortshard_sampler *samplers[SLOTS];
static ortshard_tokenizer *tokenizers[SLOTS];
static ortshard_text_stream *streams[SLOTS];
static ortshard_generation *generations[SLOTS];
static ortshard_chat_parser *parsers[SLOTS];

/* One that is always there. */
static ortshard_tokenizer *tokenizer_there;

#define SLOT(objects) (&(objects)[byte() % SLOTS])
#define ANY(objects) (*SLOT(objects))

/* Makes an object in a slot, in the place of what was there. */
#define MAKE(type, objects, call)                      \
    do {                                               \
        ortshard_##type **slot = SLOT(objects), *made; \
        made = (ortshard_##type *)room;                \
        if (TRY(call)) {                               \
            ortshard_##type##_free(*slot);             \
            *slot = made;                              \
        } else {                                       \
            MUST(made == NULL);                        \
        }                                              \
    } while (0)

static ortshard_status fetch(const char *model, const char *revision, const char *file, char *to, size_t capacity, void *data)
{
    (void)revision, (void)data;
    MUST(model != NULL && file != NULL && capacity == 4096);
    switch (byte() % 8) {
    case 0: return ORTSHARD_ERROR_NOT_FOUND;
    case 1: return (ortshard_status)number();
    case 2: memset(to, 'a', capacity); return ORTSHARD_OK;
    case 3: strcpy(to, "\xff"); return ORTSHARD_OK;
    case 4: return ORTSHARD_OK;
    default:
        snprintf(to, capacity, "%s/tests/models/mistral_window/%s", root_folder, file);
        return ORTSHARD_OK;
    }
}

static int32_t progress(const ortshard_progress *now, void *data)
{
    (void)data;
    MUST(now->stage >= ORTSHARD_STAGE_INSPECT && now->stage <= ORTSHARD_STAGE_READY);
    return chance(32);
}

static int32_t on_file(const ortshard_file *file, void *data)
{
    (void)data;
    MUST(file->name != NULL && (file->path == NULL) == (file->state == ORTSHARD_FILE_MISSING));
    return chance(32);
}

static void on_log(int32_t level, const char *target, const char *message, void *data)
{
    (void)data;
    MUST(level >= ORTSHARD_LOG_ERROR && level <= ORTSHARD_LOG_TRACE && *target != '\0' && message != NULL);
}

static const ortshard_engine_options *engine_options(void)
{
    memset(&options, 0, sizeof options);
    options.engine.device = chance(4) ? (int32_t)number() : ORTSHARD_DEVICE_CPU;
    options.engine.device_index = chance(8) ? (uint32_t)number() : 0;
    options.engine.require_device = (int32_t)number();
    options.engine.precision = chance(8) ? (int32_t)number() : byte() % 4;
    options.engine.memory_limit = chance(2) ? number() * 1000 : 0;
    options.engine.release_first = chance(2);
    options.engine.offline = 1;
    options.engine.cache_dir = options.engine.pack_cache = scratch_folder;
    options.engine.pack_cache_limit = number();
    static const int32_t kv_types[] = {ORTSHARD_DTYPE_AUTO, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_INT8};
    options.engine.kv_type = chance(8) ? (int32_t)number() : kv_types[byte() % 4];
    options.engine.fetch = chance(2) ? fetch : NULL;
    void *given = sized(sizeof options.engine);
    /* NULL or a shorter struct would let it use the network and the user's caches. */
    if (given != NULL && options.struct_size < sizeof options.engine) options.struct_size = sizeof options.engine;
    return given == NULL ? (options.struct_size = sizeof options.engine, &options.engine) : given;
}

static const ortshard_shard_spec *spec(void)
{
    memset(&options, 0, sizeof options);
    options.spec.model = path();
    options.spec.first_layer = (uint32_t)up_to(UINT32_MAX);
    options.spec.last_layer = chance(2) ? ORTSHARD_LAST_LAYER : (uint32_t)number();
    options.spec.layer_count = chance(4) ? (uint32_t)number() : 0;
    options.spec.revision = chance(4) ? text() : NULL;
    return sized(sizeof options.spec);
}

/* A tensor that is often right for some shard. Its memory lies anywhere in `values`, at any alignment. */
static ortshard_tensor tensor(void)
{
    static union { int64_t ids[ROOM / 8]; unsigned char bytes[ROOM]; } values;
    static const size_t sizes[] = {0, 4, 8, 4, 2, 2};
    ortshard_tensor made = {ORTSHARD_DTYPE_I64, 1, {1, 1, 1, 1}, NULL, 0};
    if (chance(2)) made.dtype = chance(8) ? (int32_t)number() : 1 + byte() % 5;
    int floats = made.dtype >= ORTSHARD_DTYPE_F32;
    made.rank = chance(16) ? (uint32_t)number() : (uint32_t)(1 + floats + chance(2));
    int64_t n = chance(16) ? (int64_t)number() : 1 + byte() % 12;
    for (int i = 0; i < 4; i++) made.shape[i] = chance(16) ? (int64_t)number() : 1;
    if (made.rank >= 1 && made.rank <= 4) made.shape[floats && made.rank > 1 ? made.rank - 2 : made.rank - 1] = n;
    if (floats && made.rank >= 1 && made.rank <= 4 && !chance(16)) made.shape[made.rank - 1] = 40;
    size_t offset = chance(4) ? byte() : 0;
    if (floats) {
        for (size_t i = 0; i < ROOM; i++) values.bytes[i] = (unsigned char)(i * 7 + n);
        if (chance(8)) memset(values.bytes, 0xff, ROOM);
    } else {
        for (size_t i = 0; i < 16; i++) values.ids[i] = chance(32) ? (int64_t)number() : byte() % 128;
    }
    size_t size = made.dtype >= 1 && made.dtype <= 5 ? sizes[made.dtype] : 1;
    uint64_t bytes = (uint64_t)n * size * (floats ? 40 : 1);
    if (chance(16)) bytes = number();
    made.byte_length = (size_t)bytes;
    if (!chance(32)) {
        if (bytes > ROOM - offset) made.byte_length = ROOM - offset;
        made.data = values.bytes + offset;
    }
    return made;
}

static int is_nothing(const ortshard_tensor *output)
{
    return output->data == NULL && output->dtype == 0 && output->rank == 0 && output->byte_length == 0;
}

static void infer(void)
{
    ortshard_request *request = ANY(requests);
    ortshard_tensor input = tensor(), output;
    uint64_t before = 0, after = 0, capacity = 0;
    int32_t logits = chance(16) ? (int32_t)number() : byte() % 3;
    size_t space;
    void *to = buffer(&space);
    memset(&output, 0xaa, sizeof output);
    ortshard_request_position(request, &before);
    int into = chance(4);
    if (!TRY(into ? ortshard_request_infer_into(request, &input, logits, to, space, &output)
                  : ortshard_request_infer(request, &input, logits, &output))) {
        ortshard_request_position(request, &after);
        MUST(after == before);
        MUST(request == NULL || is_nothing(&output) || (into && output.data == NULL));
        return;
    }
    TRY(ortshard_request_position(request, &after));
    TRY(ortshard_request_capacity(request, &capacity));
    if (into && to == NULL) {
        MUST(after == before && output.data == NULL);
        return;
    }
    MUST(after > before && after <= capacity);
    MUST(output.dtype == ORTSHARD_DTYPE_F32 && output.rank == 3);
    int64_t id;
    if (output.data != NULL) TRY(ortshard_sampler_sample(ANY(samplers), output.data, output.byte_length / sizeof(float), &id));
}

/* Frames of a request that gives them, as they are or with bytes changed, to whatever takes frames. */
static void frames(void)
{
    static unsigned char bytes[ROOM];
    ortshard_request *framing = NULL;
    ortshard_tensor input = tensor(), output, part;
    ortshard_piece pieces[4];
    ortshard_frame_info info = ORTSHARD_FRAME_INFO_INIT;
    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    size_t count = 0, size = 0, space;
    int32_t role;
    memset(&options, 0, sizeof options);
    options.request.output = chance(8) ? (int32_t)number() : 1 + byte() % 2;
    options.request.hidden_dtype = chance(8) ? (int32_t)number() : 3 + byte() % 3;
    options.request.refuse_beyond = chance(2);
    ortshard_request_options *given = sized(sizeof options.request);
    if (!TRY(ortshard_request_create(ANY(shards), given, &framing))) return;
    void *to = buffer(&space);
    if (chance(2)) TRY(ortshard_request_infer_into(framing, &input, 0, to, space, &output));
    else TRY(ortshard_request_infer(framing, &input, 0, &output));
    if (TRY(ortshard_request_frame_pieces(framing, pieces, up_to(4), &count)) && count <= 4) {
        for (size_t i = 0; i < count && size + pieces[i].size <= ROOM; size += pieces[i++].size)
            memcpy(bytes + size, pieces[i].data, pieces[i].size);
    }
    for (int i = byte() % 4; i > 0 && size > 0; i--) bytes[number() % size] = byte();
    if (chance(8)) size = up_to(ROOM);
    if (TRY(ortshard_frame_size(bytes, up_to(64), &count))) MUST(count > ORTSHARD_FRAME_START);
    TRY(ortshard_model_get_boundary(path(), (uint32_t)number(), &boundary));
    if (TRY(ortshard_frame_get_info(bytes, size, &info))) {
        MUST(info.part_count >= 1);
        if (TRY(ortshard_frame_get_part(bytes, size, byte() % 2, &role, &part)))
            MUST((unsigned char *)part.data >= bytes && (unsigned char *)part.data + part.byte_length <= bytes + size);
    }
    ortshard_tensor frame = {ORTSHARD_DTYPE_FRAME, 1, {(int64_t)size}, bytes, size};
    ortshard_request *request = ANY(requests);
    uint64_t before = 0, after = 0;
    ortshard_request_position(request, &before);
    int ran = TRY(ortshard_request_infer(request, &frame, byte() % 3, &output));
    ortshard_request_position(request, &after);
    MUST(after == before + (ran ? info.tokens : 0));
    ortshard_request_free(framing);
}

static void flat(void)
{
    ortshard_request *request = ANY(requests);
    static float logits[256];
    int64_t ids[8];
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < 8; i++) ids[i] = chance(32) ? (int64_t)number() : byte() % 128;
    size_t count = up_to(8), room = up_to(256);
    ortshard_request_position(request, &before);
    int ok = chance(2) ? TRY(ortshard_request_logits(request, ids, count, chance(8) ? NULL : logits, room, needed_or_null()))
                       : TRY(ortshard_request_sample(request, ids, count, ANY(samplers), chance(16) ? NULL : ids));
    ortshard_request_position(request, &after);
    MUST(ok || after == before);
}

static void sample_many(void)
{
    ortshard_request *chosen[SLOTS];
    ortshard_sampler *with[SLOTS];
    ortshard_tensor inputs[SLOTS];
    ortshard_status statuses[SLOTS];
    int64_t ids[SLOTS];
    char message[256];
    size_t count = byte() % (SLOTS + 1);
    for (size_t i = 0; i < count; i++) {
        chosen[i] = ANY(requests);
        with[i] = ANY(samplers);
        inputs[i] = tensor();
    }
    if (chance(2)) {
        TRY(ortshard_chain_sample(chosen, count, inputs, with[0] = ANY(samplers), chance(16) ? NULL : ids));
        return;
    }
    TRY(ortshard_batch_sample(chosen, inputs, chance(4) ? NULL : with, count, ids, chance(2) ? NULL : statuses));
    if (count > 0) (void)ortshard_error_message(chosen[0], message, sizeof message, needed_or_null());
}

static void infer_batch(void)
{
    ortshard_request *chosen[SLOTS];
    ortshard_tensor inputs[SLOTS], outputs[SLOTS];
    ortshard_status statuses[SLOTS] = {0};
    uint64_t before[SLOTS] = {0}, after[SLOTS] = {0};
    int32_t logits[SLOTS];
    size_t count = byte() % (SLOTS + 1);
    for (size_t i = 0; i < count; i++) {
        chosen[i] = ANY(requests);
        inputs[i] = tensor();
        logits[i] = chance(16) ? (int32_t)number() : byte() % 3;
        ortshard_request_position(chosen[i], &before[i]);
    }
    memset(outputs, 0xaa, sizeof outputs);
    int in_place = chance(2), with_logits = chance(2), with_statuses = chance(2);
    int ok = TRY(ortshard_batch_infer(chosen, inputs, with_logits ? logits : NULL, count, in_place ? inputs : outputs,
                                      with_statuses ? statuses : NULL));
    for (size_t i = 0; i < count; i++) {
        ortshard_request_position(chosen[i], &after[i]);
        MUST(!ok || after[i] > before[i]);
        MUST(!with_statuses || !ok || statuses[i] == ORTSHARD_OK);
        int refused = with_statuses && statuses[i] != ORTSHARD_OK;
        MUST(!refused || is_nothing(in_place ? &inputs[i] : &outputs[i]));
    }
    const ortshard_tensor *nothing = chance(2) ? NULL : inputs;
    TRY(ortshard_batch_infer(chance(2) ? NULL : chosen, nothing, NULL, (size_t)number() | (size_t)1 << 63, outputs, NULL));
}

static void state(void)
{
    ortshard_request *from = ANY(requests), *to = ANY(requests);
    static unsigned char bytes[1 << 18];
    uint64_t before = 0, after = 0;
    if (!TRY(ortshard_request_export_state(from, bytes, sizeof bytes, &needed))) return;
    MUST(needed <= sizeof bytes);
    size_t size = chance(8) ? up_to(needed) : needed;
    if (chance(4)) bytes[up_to(needed - 1)] ^= byte();
    ortshard_request_position(to, &before);
    if (TRY(ortshard_request_import_state(to, chance(32) ? NULL : bytes, size))) return;
    ortshard_request_position(to, &after);
    MUST(after == before);
}

static void text_calls(void)
{
    static int64_t ids[64];
    static char words[ROOM];
    ortshard_tokenizer *tokenizer = ANY(tokenizers);
    ortshard_chat_message messages[3];
    const char *piece;
    size_t size, count = byte() % 4;
    int32_t is_eos;
    int64_t id = (int64_t)number();
    switch (byte() % 9) {
    case 0: TRY(ortshard_tokenizer_encode(tokenizer, text(), (int32_t)number(), chance(8) ? NULL : ids, 0, needed_or_null())); return;
    case 1: TRY(ortshard_tokenizer_encode(tokenizer, text(), (int32_t)number(), ids, up_to(64), needed_or_null())); return;
    case 2:
        for (size_t i = 0; i < 8; i++) ids[i] = chance(8) ? (int64_t)number() : byte();
        size = up_to(8);
        TRY(ortshard_tokenizer_decode(tokenizer, ids, size, byte() % 2, words, up_to(ROOM), needed_or_null()));
        return;
    case 3: TRY(ortshard_tokenizer_eos(tokenizer, ids, up_to(64), needed_or_null())); return;
    case 4: TRY(ortshard_tokenizer_is_eos(tokenizer, id, chance(16) ? NULL : &is_eos)); return;
    case 5: TRY(ortshard_tokenizer_bos(tokenizer, chance(16) ? NULL : &id)); return;
    case 6: TRY(ortshard_tokenizer_pad(tokenizer, chance(16) ? NULL : &id)); return;
    case 7:
        for (int i = 0; i < 3; i++) messages[i] = (ortshard_chat_message){text(), text()};
        TRY(ortshard_tokenizer_apply_chat_template(tokenizer, chance(8) ? NULL : messages, count, byte() % 2, words,
                                                   up_to(ROOM), needed_or_null()));
        return;
    default:
        if (TRY(chance(4) ? ortshard_text_stream_finish(ANY(streams), &piece, &size)
                          : ortshard_text_stream_push(ANY(streams), id, &piece, &size)))
            MUST(piece[size] == '\0');
    }
}

/* Messages, tools and variables, wrong ones too. */
static const char *json(void)
{
    static const char *const texts[] = {
        "[{\"role\":\"user\",\"content\":\"Hello world</s>\"}]",
        "[{\"role\":\"assistant\",\"content\":\"a\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{}}}]}]",
        "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\"}]}]",
        "[{\"function\":{\"name\":\"f\",\"parameters\":{\"properties\":{\"x\":{\"type\":\"integer\"}}}}}]",
        "{\"enable_thinking\":false}", "[{\"role\":", "[]"};
    uint8_t kind = byte() % 9;
    return kind < 7 ? texts[kind] : text();
}

/* Parts of answers in every format. */
static const char *answer(size_t *length)
{
    static const char *const texts[] = {"<think>", "</think>", "<tool_call>", "{\"name\":\"f\",\"arguments\":{\"x\":1}}",
                                        "</tool_call>", "<function=f><parameter=x>1</parameter></function>",
                                        "[TOOL_CALLS]f[ARGS]", "<|python_tag|>", "<|channel|>commentary to=f<|message|>",
                                        "<|call|>", "<|tool_call>call:f{x:1}<tool_call|>", "words \xf0\x9f\x98\x80", "\xff", ""};
    const char *chosen = texts[byte() % 14];
    *length = chance(8) ? up_to(strlen(chosen)) : strlen(chosen);
    return chance(32) ? NULL : chosen;
}

static void judge_event(const ortshard_chat_event *event)
{
    MUST(event->kind >= ORTSHARD_CHAT_NOTHING && event->kind <= ORTSHARD_CHAT_TOOL_CALL);
    MUST((event->kind == ORTSHARD_CHAT_NOTHING) == (event->text == NULL));
    MUST((event->kind == ORTSHARD_CHAT_TOOL_CALL) == (event->name != NULL));
    if (event->text != NULL) MUST(event->text[event->length] == '\0');
}

static void chat(void)
{
    static const char *const templates[] = {"{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{{ tools }}",
                                            "{{ messages[9].content }}", "{% for", "<think>{{ documents }}</think>{{ x }}"};
    static const char *const formats[] = {"plain", "qwen3", "qwen3-coder", "llama3", "mistral", "gpt-oss", "deepseek",
                                          "gemma", "none"};
    static int64_t ids[256];
    static char words[ROOM];
    const ortshard_tokenizer *tokenizer = chance(8) ? ANY(tokenizers) : tokenizer_there;
    ortshard_chat_parser *parser = ANY(parsers);
    ortshard_chat_event event = ORTSHARD_CHAT_EVENT_INIT;
    size_t length, capacity = up_to(ROOM);
    switch (byte() % 8) {
    case 0: case 1:
        options.chat.tools = chance(2) ? json() : NULL;
        options.chat.documents = chance(4) ? json() : NULL;
        options.chat.variables = chance(4) ? json() : NULL;
        options.chat.template_name = chance(8) ? text() : NULL;
        options.chat.own_template = chance(8) ? NULL : templates[byte() % 4];
        options.chat.continue_field = chance(4) ? "content" : NULL;
        options.chat.add_generation_prompt = chance(2);
        options.chat.control_as_text = chance(2);
        if (chance(2)) TRY(ortshard_tokenizer_chat_text(tokenizer, json(), sized(sizeof options.chat), words, capacity, needed_or_null()));
        else TRY(ortshard_tokenizer_chat_ids(tokenizer, json(), sized(sizeof options.chat), ids, up_to(256), needed_or_null()));
        return;
    case 2: case 3:
        options.parser.format = chance(8) ? text() : formats[byte() % 9];
        options.parser.prompt = chance(2) ? answer(&length) : NULL;
        options.parser.tools = chance(2) ? json() : NULL;
        MAKE(chat_parser, parsers, ortshard_chat_parser_create(tokenizer, sized(sizeof options.parser), &made));
        return;
    case 4: {
        const char *part = answer(&length);
        TRY(ortshard_chat_parser_push(parser, part, part != NULL ? length : up_to(4)));
        return;
    }
    case 5:
        if (TRY(ortshard_chat_parser_next(parser, chance(16) ? NULL : &event))) judge_event(&event);
        return;
    case 6: TRY(ortshard_chat_parser_finish(parser)); return;
    default:
        if (TRY(ortshard_chat_parser_message(parser, words, capacity, needed_or_null())) && capacity > 0) MUST(*words == '{');
    }
}

/* Single tokens, and texts with more than their ids. */
static void token_calls(void)
{
    static int64_t ids[64];
    static ortshard_byte_range ranges[64];
    static char words[ROOM];
    const char *texts[] = {text(), text(), "Hello world"};
    const ortshard_tokenizer *tokenizer = chance(8) ? ANY(tokenizers) : tokenizer_there;
    int64_t id = (int64_t)number();
    int32_t is_special;
    size_t ends[3], capacity = up_to(64);
    options.encoding.add_special = chance(2);
    options.encoding.special_as_text = chance(2);
    ortshard_encode_options *given = sized(sizeof options.encoding);
    switch (byte() % 6) {
    case 0: TRY(ortshard_tokenizer_encode_texts(tokenizer, texts, byte() % 4, given, ids, capacity, needed_or_null(), chance(4) ? NULL : ends)); return;
    case 1: TRY(ortshard_tokenizer_encode_with_ranges(tokenizer, texts[0], given, ids, ranges, capacity, needed_or_null())); return;
    case 2: TRY(ortshard_tokenizer_token_to_id(tokenizer, texts[0], chance(16) ? NULL : &id)); return;
    case 3: TRY(ortshard_tokenizer_id_to_token(tokenizer, id, words, up_to(ROOM), needed_or_null())); return;
    case 4: TRY(ortshard_tokenizer_token_bytes(tokenizer, id, words, up_to(ROOM), needed_or_null())); return;
    default: TRY(ortshard_tokenizer_is_special(tokenizer, id, chance(16) ? NULL : &is_special));
    }
}

static void look(void)
{
    union {
        size_t struct_size;
        unsigned char bytes[LARGEST_STRUCT];
        ortshard_model_info model;
        ortshard_shard_info shard;
        ortshard_engine_stats counters;
        ortshard_engine_estimate estimate;
        ortshard_device_info device;
        ortshard_runtime_info runtime;
        ortshard_oom oom;
    } seen;
    static const size_t sizes[] = {sizeof seen.model, sizeof seen.shard, sizeof seen.counters, sizeof seen.estimate,
                                   sizeof seen.device, sizeof seen.runtime, sizeof seen.oom, sizeof seen.model};
    uint8_t kind = byte() % 8;
    memset(&seen, 0xaa, sizeof seen);
    seen.struct_size = chance(8) ? (size_t)number() : sizes[kind];
    const ortshard_engine *engine = ANY(engines);
    switch (kind) {
    case 0: TRY(ortshard_model_get_info(path(), &seen.model)); return;
    case 1: TRY(ortshard_shard_get_info(ANY(shards), &seen.shard)); return;
    case 2: TRY(ortshard_engine_get_stats(engine, &seen.counters)); return;
    case 3: TRY(ortshard_engine_get_estimate(engine, spec(), (uint32_t)number(), (uint32_t)number(), &seen.estimate)); return;
    case 4: TRY(ortshard_device_get_info((uint32_t)number(), &seen.device)); return;
    case 5: TRY(ortshard_runtime_get_info(&seen.runtime)); return;
    case 6: TRY(ortshard_error_get_oom(chance(2) ? NULL : ANY(requests), &seen.oom)); return;
    default: TRY(ortshard_engine_get_model_info(engine, spec(), progress, NULL, &seen.model));
    }
}

static void plan(void)
{
    static ortshard_plan_device devices[65];
    ortshard_plan_stage stages[65];
    size_t count = chance(16) ? up_to(65) : (size_t)(1 + byte() % 3), capacity = up_to(65);
    for (size_t i = 0; i < count; i++) {
        unsigned char *number_at = (unsigned char *)&devices[i].bandwidth;
        devices[i].free_memory = chance(4) ? number() : 1000 * (uint64_t)byte();
        devices[i].hop_seconds = byte();
        devices[i].bandwidth = byte();
        devices[i].is_required = chance(8);
        if (chance(8)) for (size_t k = 0; k < 2 * sizeof(double); k++) number_at[k] = byte();
    }
    /* The spec lies where other options do. */
    ortshard_shard_spec wanted;
    const ortshard_shard_spec *given = spec();
    if (given != NULL) wanted = options.spec;
    memset(&options, 0, sizeof options);
    options.plan.context = (uint32_t)number();
    options.plan.requests = (uint32_t)number();
    options.plan.margin = chance(4) ? byte() - 1.0 : byte() / 256.0;
    options.plan.keep_order = chance(4);
    options.plan.devices = chance(16) ? NULL : devices;
    options.plan.device_count = count;
    const ortshard_plan_options *with = sized(sizeof options.plan);
    if (!TRY(ortshard_engine_plan(ANY(engines), given == NULL ? NULL : &wanted, with, chance(8) ? NULL : stages, capacity,
                                  needed_or_null())))
        return;
    MUST(needed >= 1 && needed <= count);
}

static void initialise(void)
{
    size_t size = chance(2) ? up_to(LARGEST_STRUCT) : (size_t)number();
    void *place = chance(8) ? NULL : (void *)&options;
    switch (byte() % 11) {
    case 0: TRY(ortshard_engine_options_init(place, size)); return;
    case 1: TRY(ortshard_shard_spec_init(place, size)); return;
    case 2: TRY(ortshard_request_options_init(place, size)); return;
    case 3: TRY(ortshard_sampler_options_init(place, size)); return;
    case 4: TRY(ortshard_generation_options_init(place, size)); return;
    case 5: TRY(ortshard_step_init(place, size)); return;
    case 6: TRY(ortshard_encode_options_init(place, size)); return;
    case 7: TRY(ortshard_chat_options_init(place, size)); return;
    case 8: TRY(ortshard_chat_parser_options_init(place, size)); return;
    case 9: TRY(ortshard_chat_event_init(place, size)); return;
    default: TRY(ortshard_runtime_options_init(place, size));
    }
}

static void judge_step(const ortshard_step *step)
{
    MUST(step->id >= ORTSHARD_NO_ID && step->text[step->text_length] == '\0');
    MUST(step->finish >= ORTSHARD_FINISH_NONE && step->finish <= ORTSHARD_FINISH_CANCELLED);
    for (size_t i = 0; i < step->best_count; i++) MUST(step->best[i].text[step->best[i].text_length] == '\0');
}

static int32_t on_step(const ortshard_step *step, void *data)
{
    (void)data;
    judge_step(step);
    return chance(8);
}

static void generate(void)
{
    static const char *const stops[] = {"a", "the end", "e", ""};
    static ortshard_sampler_options sampling;
    ortshard_step steps[SLOTS] = {ORTSHARD_STEP_INIT, ORTSHARD_STEP_INIT, ORTSHARD_STEP_INIT};
    ortshard_generation *generation = ANY(generations), *all[SLOTS] = {ANY(generations), ANY(generations), ANY(generations)};
    int64_t ids[64] = {byte(), byte(), byte(), (int64_t)number()};
    float logits[64] = {0};
    size_t left;
    int32_t finish;
    switch (byte() % 11) {
    case 0: case 1: {
        ortshard_request *chosen[SLOTS] = {ANY(requests), ANY(requests), ANY(requests)};
        const ortshard_bias biases[] = {{ids, 1, -1}, {ids + 1, 2, 2}};
        sampling = (ortshard_sampler_options)ORTSHARD_SAMPLER_OPTIONS_INIT;
        sampling.temperature = (float)(byte() % 3);
        sampling.top_k = (uint32_t)number();
        sampling.top_p = (float)byte() / 128;
        sampling.typical_p = (float)byte() / 128;
        sampling.repetition_penalty = (float)(byte() % 4);
        sampling.no_repeat_ngram = byte() % 4;
        sampling.penalty_window = (uint32_t)number();
        sampling.biases = biases;
        sampling.bias_count = byte() % 3;
        sampling.forced = ids;
        sampling.forced_count = byte() % 3;
        options.generation.sampling = chance(2) ? NULL : &sampling;
        options.generation.stop = stops;
        options.generation.stop_count = byte() % 5;
        options.generation.include_stop = chance(2);
        options.generation.ignore_eos = chance(2);
        options.generation.max_new_tokens = (uint32_t)number();
        options.generation.logprobs = byte() % 4;
        options.generation.keep_logits = chance(4);
        if (options.generation.stop_count > 4) options.generation.stop_count = 0;
        if (chance(4)) {
            MAKE(generation, generations, ortshard_generation_create_remote((uint32_t)up_to(64), (uint32_t)up_to(64),
                                                                            byte() % 8, chance(2) ? NULL : ANY(tokenizers),
                                                                            sized(sizeof options.generation), &made));
            return;
        }
        MAKE(generation, generations, ortshard_generation_create(chance(16) ? NULL : chosen, 1 + byte() % 2,
                                                                 chance(2) ? NULL : ANY(tokenizers),
                                                                 sized(sizeof options.generation), &made));
        return;
    }
    case 2: TRY(ortshard_generation_append_text(generation, chance(16) ? NULL : "the end", byte() % 2)); return;
    case 3: TRY(ortshard_generation_append_ids(generation, chance(16) ? NULL : ids, up_to(4))); return;
    case 4: TRY(ortshard_generation_prefill(generation, (size_t)number(), chance(16) ? NULL : &left)); return;
    case 5: case 6:
        if (TRY(ortshard_generation_step(generation, chance(16) ? NULL : steps))) judge_step(steps);
        return;
    case 7:
        if (TRY(ortshard_generation_step_batch(chance(16) ? NULL : all, 1 + byte() % SLOTS, steps, NULL))) judge_step(steps);
        return;
    case 8: TRY(ortshard_generation_run(generation, chance(16) ? NULL : on_step, NULL, chance(2) ? NULL : &finish)); return;
    case 9:
        TRY(ortshard_generation_pending(generation, ids, up_to(4), needed_or_null()));
        if (TRY(ortshard_generation_step_with(generation, chance(2) ? NULL : ids, chance(16) ? NULL : logits, up_to(chance(2) ? 4 : 64), steps)))
            judge_step(steps);
        return;
    default:
        if (chance(4)) TRY(ortshard_generation_candidates(generation, needed_or_null()));
        else if (chance(2)) TRY(ortshard_generation_cancel(generation));
        else TRY(ortshard_generation_logits(generation, logits, up_to(64), needed_or_null()));
    }
}

static void call(void)
{
    int64_t ids[8];
    size_t capacity;
    uint64_t freed;
    void *to;
    memset(&options, 0, sizeof options);
    switch (byte() % 36) {
    case 0: MAKE(engine, engines, ortshard_engine_create(engine_options(), &made)); return;
    case 1: MAKE(shard, shards, ortshard_engine_ensure_shard(ANY(engines), spec(), chance(2) ? progress : NULL, NULL, &made)); return;
    case 2: MAKE(shard, shards, ortshard_engine_load_checkpoint(ANY(engines), path(), chance(2) ? progress : NULL, NULL, &made)); return;
    case 3: {
        ortshard_shard *current;
        if (TRY(ortshard_engine_current_shard(ANY(engines), &current))) ortshard_shard_free(current);
        return;
    }
    case 4: TRY(ortshard_engine_clear(ANY(engines))); return;
    case 5: {
        char file[4096];
        snprintf(file, sizeof file, "%s/%s", scratch_folder, chance(4) ? "none/file" : "file");
        if (chance(2)) TRY(ortshard_engine_save_checkpoint(ANY(engines), file));
        else TRY(ortshard_shard_export_onnx(ANY(shards), file));
        return;
    }
    case 6: TRY(ortshard_engine_audit_files(ANY(engines), spec(), chance(8) ? NULL : on_file, NULL)); return;
    case 7: {
        ortshard_shard *shard = ANY(shards);
        if (TRY(ortshard_shard_retain(shard))) ortshard_shard_free(shard);
        return;
    }
    case 8: case 9: case 10:
        options.request.capacity = (uint32_t)number();
        options.request.prefill_chunk = (uint32_t)number();
        options.request.no_cache = chance(4);
        MAKE(request, requests, ortshard_request_create(ANY(shards), sized(sizeof options.request), &made));
        return;
    case 11: MAKE(request, requests, ortshard_request_fork(ANY(requests), &made)); return;
    case 12: TRY(ortshard_request_truncate(ANY(requests), number())); return;
    case 13: TRY(ortshard_request_cancel(ANY(requests))); return;
    case 14: to = buffer(&capacity); TRY(ortshard_request_export_state(ANY(requests), to, capacity, needed_or_null())); return;
    case 15: state(); return;
    case 16:
        options.sampler.top_k = (uint32_t)number();
        options.sampler.seed = number();
        for (size_t i = 0; i < sizeof(float); i++) ((unsigned char *)&options.sampler.temperature)[i] = byte();
        MAKE(sampler, samplers, ortshard_sampler_create(sized(sizeof options.sampler), &made));
        return;
    case 17: TRY(ortshard_sampler_reset(ANY(samplers))); return;
    case 18: {
        float logits[64];
        for (size_t i = 0; i < sizeof logits; i++) ((unsigned char *)logits)[i] = byte();
        TRY(ortshard_sampler_sample(ANY(samplers), chance(16) ? NULL : logits, up_to(64), chance(16) ? NULL : ids));
        return;
    }
    case 19: MAKE(tokenizer, tokenizers, ortshard_tokenizer_open(path(), &made)); return;
    case 20: MAKE(text_stream, streams, ortshard_text_stream_create(ANY(tokenizers), byte() % 2, &made)); return;
    case 21:
        if (chance(2)) chat();
        else if (chance(3)) token_calls();
        else text_calls();
        return;
    case 22: look(); return;
    case 23: initialise(); return;
    case 24:
        if (chance(2)) TRY(ortshard_model_eos(path(), ids, up_to(8), needed_or_null()));
        else TRY(ortshard_engine_model_eos(ANY(engines), spec(), progress, NULL, ids, up_to(8), needed_or_null()));
        return;
    case 25: TRY(ortshard_log_set_callback((int32_t)number(), chance(4) ? NULL : on_log, NULL)); return;
    case 26:
        options.runtime.library = chance(2) ? path() : NULL;
        options.runtime.threads = (uint32_t)number();
        TRY(ortshard_runtime_load(sized(sizeof options.runtime)));
        return;
    case 27: MUST(ortshard_status_name((ortshard_status)number()) != NULL); return;
    case 28: infer_batch(); return;
    case 29: MAKE(tokenizer, tokenizers, ortshard_engine_open_tokenizer(ANY(engines), spec(), progress, NULL, &made)); return;
    case 31: flat(); return;
    case 32: sample_many(); return;
    case 33: frames(); return;
    case 34: generate(); return;
    case 35: plan(); return;
    case 30: TRY(ortshard_engine_clear_pack_cache(ANY(engines), chance(16) ? NULL : &freed)); return;
    default: infer();
    }
}

static ortshard_shard *load(ortshard_engine *engine, const char *model, uint32_t first, uint32_t last)
{
    char folder[4096];
    ortshard_shard_spec wanted = ORTSHARD_SHARD_SPEC_INIT;
    ortshard_shard *shard;
    snprintf(folder, sizeof folder, "%s/tests/models/%s", root_folder, model);
    wanted.model = folder;
    wanted.first_layer = first;
    wanted.last_layer = last;
    MUST(ortshard_engine_ensure_shard(engine, &wanted, NULL, NULL, &shard) == ORTSHARD_OK);
    return shard;
}

#define FREE(type, objects)                                        \
    for (int i = 0; i < SLOTS; (objects)[i++] = NULL) ortshard_##type##_free((objects)[i])

void fuzz_calls(const char *root, const char *scratch, const uint8_t *data, size_t size)
{
    /* Shards are loaded once: each input begins with references to them. */
    static ortshard_shard *ready[SLOTS];
    root_folder = root, scratch_folder = scratch, at = data, end = data + size;
    if (tokenizer_there == NULL) {
        char file[4096];
        ortshard_engine_options offline = ORTSHARD_ENGINE_OPTIONS_INIT;
        ortshard_engine *engine;
        offline.offline = 1;
        MUST(ortshard_engine_create(&offline, &engine) == ORTSHARD_OK);
        ready[0] = load(engine, "mistral_window", 0, ORTSHARD_LAST_LAYER);
        ready[1] = load(engine, "mistral_window", 0, 1);
        ready[2] = load(engine, "mistral_window", 2, 2);
        ortshard_engine_free(engine);
        snprintf(file, sizeof file, "%s/tests/tokenizers/unigram", root);
        MUST(ortshard_tokenizer_open(file, &tokenizer_there) == ORTSHARD_OK);
    }
    for (int i = 0; i < SLOTS; i++) {
        MUST(ortshard_shard_retain(shards[i] = ready[i]) == ORTSHARD_OK);
        if (i != 1) MUST(ortshard_request_create(shards[i], NULL, &requests[i]) == ORTSHARD_OK);
    }
    MUST(ortshard_request_fork(requests[0], &requests[1]) == ORTSHARD_OK);
    MUST(ortshard_sampler_create(NULL, &samplers[0]) == ORTSHARD_OK);
    MUST(ortshard_text_stream_create(tokenizer_there, 1, &streams[0]) == ORTSHARD_OK);

    for (int calls = 0; at < end && calls < 64; calls++) call();

    ortshard_log_set_callback(ORTSHARD_LOG_ERROR, NULL, NULL);
    FREE(generation, generations);
    FREE(chat_parser, parsers);
    FREE(text_stream, streams);
    FREE(tokenizer, tokenizers);
    FREE(sampler, samplers);
    FREE(engine, engines);
    FREE(shard, shards);
    FREE(request, requests);
}
