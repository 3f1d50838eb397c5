/* Without exceptions (-fno-exceptions) functions return a value or a failure with the same facts, and ranges end at one. */
#include "cpp.h"

#ifndef ORTSHARD_NO_EXCEPTIONS
#error "compiled with exceptions"
#endif

int main()
{
    const auto missing = ortshard::model_info("/no-such-folder");
    CHECK(!missing && !missing.has_value() && missing.status() == ORTSHARD_ERROR_NOT_FOUND);
    CHECK(missing.error().message().find("no-such-folder") != std::string::npos && !missing.error().oom());

    const ortshard::shard_spec spec(setting("TEST_MODEL"));
    auto options = on_the_processor();
    const auto engine = ortshard::engine::create(options);
    CHECK(engine && engine.status() == ORTSHARD_OK);
    options.memory_limit = engine->estimate(spec, 64).value().weight_bytes - 1;
    const auto tight = ortshard::engine::create(options);
    const auto none = tight->ensure_shard(spec);
    CHECK(!none && none.error().oom() && none.error().oom()->site == ORTSHARD_OOM_LOAD);

    auto shard = engine->ensure_shard(spec, [](const ortshard_progress &) { return true; });
    auto request = ortshard::request::create(*shard);
    CHECK(request->sample(ids_of("TEST_PROMPT")).value() == golden(1)[0]);
    CHECK(request->truncate(0));
    CHECK(request->truncate(7).status() == ORTSHARD_ERROR_OUT_OF_RANGE);
    const auto moved = std::move(*request);
    CHECK(request->sample(ids_of("TEST_PROMPT")).status() == ORTSHARD_ERROR_NULL_ARGUMENT);

    /* A text is not cut at a NUL. */
    const auto tokenizer = ortshard::tokenizer::open(setting("TEST_TOKENIZER"));
    CHECK(tokenizer->encode(std::string("a\0b", 3)).status() == ORTSHARD_ERROR_NULL_ARGUMENT);

    auto generation = ortshard::generation::open(stories());
    std::size_t count = 0;
    /* There is no prompt yet. */
    for (const auto &piece : *generation) {
        count++;
        CHECK(!piece && piece.status() == ORTSHARD_ERROR_INVALID_STATE);
    }
    CHECK(count == 1 && generation->append("Once upon a time"));
    std::string text;
    for (const auto &piece : *generation) text += piece->text;
    CHECK(text.size() > 10);
    return 0;
}
