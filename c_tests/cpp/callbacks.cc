/* Callbacks are lambdas: what they throw is thrown by the call that they were for, which changes nothing, and never passes through
 * the library. */
#include "cpp.h"

#include <atomic>
#include <cstring>

struct Own : std::runtime_error {
    Own() : std::runtime_error("thrown in a callback") {}
};

template <class Call>
static bool throws_own(Call call)
{
    try {
        call();
    } catch (const Own &own) {
        return std::strcmp(own.what(), "thrown in a callback") == 0;
    }
    return false;
}

static void progress()
{
    const auto engine = ortshard::engine::create(on_the_processor());
    const ortshard::shard_spec spec(setting("TEST_MODEL"));
    CHECK(throws_own([&] { (void)engine.ensure_shard(spec, [](const ortshard_progress &) { throw Own(); }); }));
    CHECK(!engine.current_shard());
    THROWS(CANCELLED, "", engine.ensure_shard(spec, [](const ortshard_progress &) { return false; }));
    std::int32_t last = 0;
    const auto hear = [&](const ortshard_progress &now) { last = now.stage; };
    const auto shard = engine.ensure_shard(spec, hear);
    CHECK(last == ORTSHARD_STAGE_READY);
    (void)engine.ensure_shard(spec, nullptr);

    std::vector<std::string> files;
    engine.audit_files(spec, [&](const ortshard_file &file) { files.emplace_back(file.name); });
    CHECK(files.size() >= 2);
    CHECK(throws_own([&] { engine.audit_files(spec, [](const ortshard_file &) -> bool { throw Own(); }); }));
    THROWS(CANCELLED, "", engine.audit_files(spec, [](const ortshard_file &) { return false; }));
}

static void steps()
{
    ortshard::generation_options options;
    options.with_engine(on_the_processor());
    options.max_new_tokens = 6;
    auto generation = ortshard::generation::open(stories(), options);
    generation.append("Once upon a time");
    std::string text;
    CHECK(throws_own([&] { (void)generation.run([](const ortshard::step &) { throw Own(); }); }));
    CHECK(generation.step().finish == ORTSHARD_FINISH_CANCELLED);

    generation.append(" there was");
    CHECK(generation.run([&](const ortshard::step &step) { text += step.text; }) == ORTSHARD_FINISH_LENGTH);
    CHECK(!text.empty());
    generation.append(" and");
    int told = 0;
    CHECK(generation.run([&](const ortshard::step &) { return ++told < 3; }) == ORTSHARD_FINISH_CANCELLED && told == 3);
}

/* A callable that brings files lives as long as what may call it, and what it throws comes out. */
static void fetch()
{
    const std::string folder = setting("TEST_MODEL");
    std::atomic<int> calls{0};
    const auto alive = std::make_shared<int>(0);
    ortshard::engine_options options = on_the_processor();
    options.with_fetch([&calls, folder, alive](const char *, const char *, const char *file) -> std::optional<std::string> {
        calls++;
        const std::string path = folder + "/" + file;
        std::FILE *there = std::fopen(path.c_str(), "rb");
        if (there == nullptr) return std::nullopt;
        std::fclose(there);
        return path;
    });
    ortshard::shard shard;
    {
        const auto engine = ortshard::engine::create(options);
        options = ortshard::engine_options();
        const ortshard::shard_spec spec("somebody/somewhere");
        CHECK(engine.model_info(spec).layer_count == ortshard::model_info(folder).layer_count);
        CHECK(engine.model_eos(spec) == ortshard::model_eos(folder));
        CHECK(engine.boundary(spec, 0).can_cut == 1);
        shard = engine.ensure_shard(spec);
        CHECK(calls > 0 && alive.use_count() == 2);
        THROWS(NOT_FOUND, "tokenizer.json", engine.open_tokenizer(spec));
    }
    auto request = ortshard::request::create(shard);
    shard = ortshard::shard();
    CHECK(alive.use_count() == 2 && request.sample(ids_of("TEST_PROMPT")) == golden(1)[0]);
    auto generation = ortshard::generation::create({&request});
    request = ortshard::request();
    CHECK(alive.use_count() == 2);
    generation = ortshard::generation();
    CHECK(alive.use_count() == 1);

    const ortshard::shard_spec spec("somebody/somewhere");
    ortshard::engine_options throwing = on_the_processor();
    throwing.with_fetch([](const char *, const char *, const char *) -> std::optional<std::string> { throw Own(); });
    const auto engine = ortshard::engine::create(throwing);
    CHECK(throws_own([&] { (void)engine.ensure_shard(spec); }));
    CHECK(throws_own([&] { (void)engine.model_info(spec); }));
    ortshard::engine_options refusing = on_the_processor();
    refusing.with_fetch([](const char *, const char *, const char *) -> std::optional<std::string> {
        throw ortshard::error(ORTSHARD_ERROR_OFFLINE, "not today");
    });
    THROWS(OFFLINE, "not today", ortshard::engine::create(refusing).ensure_shard(spec));
    ortshard::engine_options lacking = on_the_processor();
    lacking.with_fetch([](const char *, const char *, const char *) -> std::optional<std::string> {
        throw ortshard::error(ORTSHARD_ERROR_NOT_FOUND, "not here");
    });
    THROWS(NOT_FOUND, "config.json", ortshard::engine::create(lacking).ensure_shard(spec));
}

/* A failure to load is told to the log. */
static void fail()
{
    ortshard::engine_options options = on_the_processor();
    options.memory_limit = 1;
    THROWS(OUT_OF_MEMORY, "", ortshard::engine::create(options).ensure_shard(ortshard::shard_spec(setting("TEST_MODEL"))));
}

static void log()
{
    std::atomic<int> heard{0};
    ortshard::set_log(ORTSHARD_LOG_TRACE, [&](std::int32_t, const char *, const char *message) {
        heard += *message != '\0';
        throw Own();
    });
    fail();
    const int before = heard;
    CHECK(before > 0);
    ortshard::set_log(ORTSHARD_LOG_ERROR, nullptr);
    fail();
    CHECK(heard == before);
}

int main()
{
    progress();
    steps();
    fetch();
    log();
    return 0;
}
