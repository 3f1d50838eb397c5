/* A generation is a range of its steps, whose texts together are what the tokens decode to; texts and chats come as strings. */
#include "cpp.h"

#if __cplusplus >= 202002L && __has_include(<ranges>)
#include <ranges>
static_assert(std::input_iterator<ortshard::generation::iterator>);
static_assert(std::ranges::input_range<ortshard::generation &>);
#endif

static ortshard::generation_options of(std::uint32_t tokens)
{
    ortshard::generation_options options;
    options.with_engine(on_the_processor());
    options.max_new_tokens = tokens;
    options.logprobs = 3;
    return options;
}

static void generation()
{
    auto generation = ortshard::generation::open(stories(), of(40));
    const auto tokenizer = ortshard::tokenizer::open(stories());
    generation.append("Once upon a time");
    CHECK(generation.prefill(1) > 0);
    std::string text;
    std::vector<std::int64_t> ids;
    std::int32_t finish = ORTSHARD_FINISH_NONE;
    for (const auto &piece : generation) {
        CHECK(finish == ORTSHARD_FINISH_NONE && piece.best.size() == 3 && piece.logprob <= 0);
        text += piece.text;
        ids.push_back(piece.id);
        finish = piece.finish;
    }
    CHECK(finish != ORTSHARD_FINISH_NONE && ids.size() > 5);
    auto stream = ortshard::text_stream::create(tokenizer);
    std::string streamed;
    for (const std::int64_t id : ids) streamed += stream.push(id);
    streamed += stream.finish();
    CHECK(streamed == text && tokenizer.decode(ids) == text);

    /* Going on, and stopping from outside. */
    generation.append(" The end. Once");
    const auto second = generation.begin();
    CHECK(second != generation.end() && second->id >= 0);
    generation.cancel();
    for (const auto &piece : generation) finish = piece.finish;
    CHECK(finish == ORTSHARD_FINISH_CANCELLED);

    auto whole = ortshard::generation::open(stories(), of(40));
    whole.append("Once upon a time");
    CHECK(whole.text() == text);
    THROWS(INVALID_STATE, "keep_logits", whole.logits());
}

static void tokenizer()
{
    const auto tokenizer = ortshard::tokenizer::open(setting("TEST_TOKENIZER"));
    const std::string text = setting("TEST_TEXT");
    const auto ids = ids_of("TEST_IDS");
    CHECK(tokenizer.encode(text, false) == ids && tokenizer.decode(ids) == text && tokenizer.vocab_size() > 100);
    const std::vector<std::string> texts = {text, "", text};
    const auto both = tokenizer.encode(texts, ortshard::encode_options());
    CHECK(both.ids.size() == 2 * ids.size() && both.ends[0] == ids.size() && both.ends[1] == ids.size());
    const auto ranged = tokenizer.encode_with_ranges(text);
    CHECK(ranged.ids == ids && ranged.ranges.front().start == 0 && ranged.ranges.back().end == text.size());
    const auto spelling = tokenizer.id_to_token(ids[0]);
    CHECK(tokenizer.token_to_id(spelling) == ids[0] && tokenizer.token_to_id("no such token") == ORTSHARD_NO_ID);
    CHECK(!tokenizer.token_bytes(ids[0]).empty() && !tokenizer.is_special(ids[0]) && !tokenizer.is_eos(ids[0]));
    CHECK(tokenizer.eos().size() >= 2 && tokenizer.is_eos(5) && tokenizer.bos() >= ORTSHARD_NO_ID);
    /* Longer than any guess: every character a token, and more. */
    std::string long_text;
    for (int i = 0; i < 3000; i++) long_text += "\xE2\x80\xBB";
    CHECK(tokenizer.decode(tokenizer.encode(long_text, false)) == long_text);
}

static void chat()
{
    const auto tokenizer = ortshard::tokenizer::open(setting("TEST_TOKENIZER"));
    const auto prompt = tokenizer.apply_chat_template({{"user", "Hello"}});
    CHECK(prompt.find("Hello") != std::string::npos);
    const auto json = R"([{"role": "user", "content": "Hello"}])";
    ortshard::chat_options options;
    options.add_generation_prompt = 1;
    CHECK(tokenizer.chat_text(json, options) == prompt);
    CHECK(tokenizer.chat_ids(json, options) == tokenizer.encode(prompt, false));

    auto parser = ortshard::chat_parser::create(tokenizer, ortshard::chat_parser_options().with_format("qwen3"));
    parser.push("<think>So.</think>Yes.<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>");
    parser.push({});
    parser.finish();
    std::string content, reasoning, called;
    while (const auto event = parser.next()) {
        if (event->kind == ORTSHARD_CHAT_CONTENT) content += event->text;
        if (event->kind == ORTSHARD_CHAT_REASONING) reasoning += event->text;
        if (event->kind == ORTSHARD_CHAT_TOOL_CALL) called += std::string(event->name) + std::string(event->text);
    }
    CHECK(content == "Yes." && reasoning == "So." && called.substr(0, 2) == "f{");
    CHECK(parser.message().find("tool_calls") != std::string::npos);
}

static void the_machine()
{
    const auto devices = ortshard::devices();
    CHECK(!devices.empty() && devices[0].kind == ORTSHARD_DEVICE_CPU);
    ortshard::load_runtime();
    CHECK(std::string(ortshard::runtime_info().version).substr(0, 2) == "1.");
    const auto published = ortshard::model_sampler_options(stories());
    CHECK(published.struct_size == sizeof(ortshard_sampler_options));
}

int main()
{
    generation();
    tokenizer();
    chat();
    the_machine();
    return 0;
}
