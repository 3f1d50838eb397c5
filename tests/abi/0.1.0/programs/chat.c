/* A chat as JSON becomes text and ids, an answer becomes events and a message, and tokens are taken apart. */
#include "check.h"
#include "model.h"

static const char TEMPLATE[] =
    "{{ tools | length if tools else 'no' }} tools{% if not think | default(true) %}, no thoughts{% endif %} "
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

static void chats(const ortshard_tokenizer *tokenizer)
{
    char text[4096];
    size_t needed = 0, plain = 0;
    int64_t ids[MOST];
    ortshard_chat_options options = ORTSHARD_CHAT_OPTIONS_INIT;

    const char *hi = "[{\"role\": \"user\", \"content\": \"Hi\"}]";
    OK(ortshard_tokenizer_chat_text(tokenizer, hi, NULL, text, sizeof text, &needed));
    CHECK(strcmp(text, "<user>Hi") == 0 && needed == 9);

    options.own_template = TEMPLATE;
    options.tools = "[{\"type\": \"function\"}]";
    options.variables = "{\"think\": false}";
    options.add_generation_prompt = 1;
    const char *messages = "[{\"role\": \"user\", \"content\": \"a <|eot|> b\"},"
                           " {\"role\": \"assistant\", \"content\": \"\","
                           " \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1.0}}}]}]";
    OK(ortshard_tokenizer_chat_text(tokenizer, messages, &options, text, sizeof text, &needed));
    CHECK(strcmp(text, "1 tools, no thoughts "
                       "<user>a <|eot|> b<|eot|><assistant>f{\"x\": 1.0}<|eot|><assistant>") == 0);

    /* The template's two, and the user's only where it is not text. */
    int64_t eot = 0;
    OK(ortshard_tokenizer_token_to_id(tokenizer, "<|eot|>", &eot));
    for (int as_text = 0; as_text < 2; as_text++) {
        options.control_as_text = as_text;
        OK(ortshard_tokenizer_chat_ids(tokenizer, messages, &options, ids, MOST, &needed));
        size_t count = 0;
        for (size_t i = 0; i < needed; i++) count += ids[i] == eot;
        CHECK(count == (as_text ? 2u : 3u) && (!as_text || needed > plain));
        plain = needed;
    }

    options.continue_field = "content";
    FAILS(INVALID_ARGUMENT, "continue_field",
          ortshard_tokenizer_chat_text(tokenizer, messages, &options, text, sizeof text, &needed));
    options.add_generation_prompt = 0;
    OK(ortshard_tokenizer_chat_text(tokenizer, "[{\"role\": \"assistant\", \"content\": \"I am\"}]", &options, text,
                                    sizeof text, &needed));
    CHECK(strcmp(text, "1 tools, no thoughts <assistant>I am") == 0);
    const char *number = "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": 1}]}]";
    FAILS(INVALID_ARGUMENT, "/messages/0/content/0/text",
          ortshard_tokenizer_chat_text(tokenizer, number, NULL, text, sizeof text, &needed));
    const char *image = "[{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]";
    FAILS(UNSUPPORTED, "/messages/0/content/0/type",
          ortshard_tokenizer_chat_text(tokenizer, image, NULL, text, sizeof text, &needed));
    options = (ortshard_chat_options)ORTSHARD_CHAT_OPTIONS_INIT;
    options.template_name = "rag";
    FAILS(NOT_FOUND, "`rag`", ortshard_tokenizer_chat_text(tokenizer, messages, &options, text, sizeof text, &needed));
}

static void answers(const ortshard_tokenizer *tokenizer)
{
    ortshard_chat_parser *parser;
    ortshard_chat_parser_options options = ORTSHARD_CHAT_PARSER_OPTIONS_INIT;
    options.format = "nobody's";
    FAILS(INVALID_ARGUMENT, "qwen3-coder", ortshard_chat_parser_create(tokenizer, &options, &parser));
    options.format = "qwen3";
    options.prompt = "<|im_start|>assistant\n<think>\n";
    OK(ortshard_chat_parser_create(tokenizer, &options, &parser));

    const char *answer = "so\n</think>\n\nI look.\n"
                         "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"\xc3\xa9\"}}\n</tool_call>";
    char content[64] = "", reasoning[64] = "", text[512];
    int calls = 0;
    size_t needed;
    for (const char *at = answer; *at != '\0';) {
        size_t length = (unsigned char)*at >= 0xC0 ? 2 : 1;
        OK(ortshard_chat_parser_push(parser, at, length));
        at += length;
        if (*at == '\0') OK(ortshard_chat_parser_finish(parser));
        ortshard_chat_event event = ORTSHARD_CHAT_EVENT_INIT;
        for (;;) {
            OK(ortshard_chat_parser_next(parser, &event));
            if (event.kind == ORTSHARD_CHAT_NOTHING) break;
            CHECK(event.text[event.length] == '\0');
            if (event.kind == ORTSHARD_CHAT_CONTENT) strcat(content, event.text);
            else if (event.kind == ORTSHARD_CHAT_REASONING) strcat(reasoning, event.text);
            else {
                CHECK(event.kind == ORTSHARD_CHAT_TOOL_CALL && strcmp(event.name, "f") == 0 && event.id == NULL);
                CHECK(strcmp(event.text, "{\"x\": \"\xc3\xa9\"}") == 0);
                calls++;
            }
        }
        CHECK(event.text == NULL && event.name == NULL && event.length == 0);
    }
    CHECK(strcmp(content, "I look.") == 0 && strcmp(reasoning, "so") == 0 && calls == 1);
    FAILS(INVALID_UTF8, "byte 1", ortshard_chat_parser_push(parser, "a\xff", 2));
    OK(ortshard_chat_parser_message(parser, text, sizeof text, &needed));
    CHECK(strcmp(text, "{\"role\": \"assistant\", \"reasoning_content\": \"so\", \"content\": \"I look.\", "
                       "\"tool_calls\": [{\"type\": \"function\", "
                       "\"function\": {\"name\": \"f\", \"arguments\": {\"x\": \"\xc3\xa9\"}}}]}") == 0);
    ortshard_chat_parser_free(parser);
}

static void tokens(const ortshard_tokenizer *tokenizer)
{
    int64_t ids[MOST], id = 0;
    size_t needed = 0, ends[2];
    int32_t special = -1;
    char text[64];
    unsigned char bytes[64];
    const char *texts[] = {"Hello world", "<|eot|>"};
    ortshard_encode_options options = ORTSHARD_ENCODE_OPTIONS_INIT;

    OK(ortshard_tokenizer_encode_texts(tokenizer, texts, 2, NULL, ids, MOST, &needed, ends));
    CHECK(ends[1] == needed && needed == ends[0] + 1);
    OK(ortshard_tokenizer_token_to_id(tokenizer, "<|eot|>", &id));
    CHECK(ids[ends[0]] == id);
    options.special_as_text = 1;
    OK(ortshard_tokenizer_encode_texts(tokenizer, texts, 2, &options, NULL, 0, &needed, NULL));
    CHECK(needed > ends[1]);

    ortshard_byte_range ranges[MOST];
    OK(ortshard_tokenizer_encode_with_ranges(tokenizer, texts[0], NULL, ids, ranges, MOST, &needed));
    CHECK(needed == ends[0] && ranges[0].start == 0 && ranges[needed - 1].end == strlen(texts[0]));
    size_t length = 0;
    for (size_t i = 0; i < needed; i++) {
        OK(ortshard_tokenizer_token_bytes(tokenizer, ids[i], bytes, sizeof bytes, &length));
        CHECK(memcmp(bytes, texts[0] + ranges[i].start, length) == 0 && length == ranges[i].end - ranges[i].start);
    }

    OK(ortshard_tokenizer_id_to_token(tokenizer, id, text, sizeof text, &needed));
    CHECK(strcmp(text, "<|eot|>") == 0 && needed == 8);
    OK(ortshard_tokenizer_is_special(tokenizer, id, &special));
    CHECK(special == 1);
    OK(ortshard_tokenizer_is_special(tokenizer, 0, &special));
    CHECK(special == 0);
    OK(ortshard_tokenizer_token_to_id(tokenizer, "no such token", &id));
    CHECK(id == ORTSHARD_NO_ID);
    FAILS(OUT_OF_RANGE, "id 99999", ortshard_tokenizer_id_to_token(tokenizer, 99999, text, sizeof text, &needed));
    FAILS(OUT_OF_RANGE, "id -1", ortshard_tokenizer_token_bytes(tokenizer, -1, bytes, sizeof bytes, &needed));
}

int main(void)
{
    ortshard_tokenizer *tokenizer;
    OK(ortshard_tokenizer_open(setting("TEST_TOKENIZER"), &tokenizer));
    chats(tokenizer);
    answers(tokenizer);
    tokens(tokenizer);
    ortshard_tokenizer_free(tokenizer);
    return 0;
}
