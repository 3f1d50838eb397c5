/* A call that fails throws its status, and memory that runs out its site, device and bytes; the object is as it was. A handle
 * that was moved from is refused, and a text with a NUL in it is not cut. */
#include "cpp.h"

#include <type_traits>

static void statuses()
{
    THROWS(NOT_FOUND, "no-such-folder", ortshard::model_info("/no-such-folder"));
    THROWS(NOT_FOUND, "no-such-folder", ortshard::tokenizer::open(std::string("/no-such-folder")));
    THROWS(OUT_OF_RANGE, "", ortshard::model_boundary(setting("TEST_MODEL"), 4096));
    ortshard::sampler_options bad;
    bad.temperature = -1;
    THROWS(INVALID_ARGUMENT, "temperature", ortshard::sampler::create(bad));
    try {
        ortshard::model_eos("/no-such-folder");
        CHECK(false);
    } catch (const std::runtime_error &why) {
        CHECK(std::string(why.what()) == ortshard_last_error());
    }
    CHECK(std::string(ortshard::status_name(ORTSHARD_ERROR_IO)) == "ORTSHARD_ERROR_IO" && ortshard::version_fits());
}

static void memory()
{
    const ortshard::shard_spec spec(setting("TEST_MODEL"));
    auto options = on_the_processor();
    const auto free = ortshard::engine::create(options);
    const auto estimate = free.estimate(spec, 64);
    CHECK(estimate.weight_bytes > 0 && free.stats().out_of_memory_load == 0);
    // Not all of it on one device, so on both, and not at all where nothing is free.
    const ortshard_plan_device device{estimate.total_bytes * 9 / 10, 0, 0, 1}, full{1, 0, 0, 1};
    ortshard::plan_options two({device, device});
    two.context = 64;
    two.margin = 0;
    const auto stages = free.plan(spec, two);
    CHECK(stages.size() == 2 && stages[0].first_layer == 0 && stages[1].first_layer == stages[0].last_layer + 1);
    THROWS(OUT_OF_MEMORY, "", free.plan(spec, ortshard::plan_options({full})));
    options.memory_limit = estimate.weight_bytes - 1;
    const auto engine = ortshard::engine::create(options);
    bool thrown = false;
    try {
        (void)engine.ensure_shard(spec);
    } catch (const ortshard::out_of_memory &why) {
        thrown = true;
        CHECK(why.status() == ORTSHARD_ERROR_OUT_OF_MEMORY && why.site() == ORTSHARD_OOM_LOAD);
        CHECK(why.requested_bytes() > 0 && why.requested_bytes() <= estimate.weight_bytes);
        CHECK(std::string(why.device()) == "cpu" && std::string(why.what()).find("memory_limit") != std::string::npos);
    }
    CHECK(thrown && !engine.current_shard() && engine.stats().out_of_memory_load == 1);
    THROWS(OUT_OF_MEMORY, "memory_limit", engine.ensure_shard(spec));
    const auto shard = free.ensure_shard(spec);
    CHECK(free.current_shard() && shard.info().layer_count == ortshard::model_info(setting("TEST_MODEL")).layer_count);
    free.clear();
    THROWS(STALE_SHARD, "", ortshard::request::create(shard));
}

static void handles()
{
    static_assert(!std::is_copy_constructible_v<ortshard::engine> && !std::is_copy_assignable_v<ortshard::request>);
    static_assert(std::is_nothrow_move_constructible_v<ortshard::shard> &&
                  std::is_nothrow_move_assignable_v<ortshard::generation>);
    auto first = ortshard::sampler::create();
    ortshard_sampler *raw = first.get();
    auto second = std::move(first);
    CHECK(!first && second && second.get() == raw);
    THROWS(NULL_ARGUMENT, "sampler", first.reset());
    second.reset();
    first = std::move(second);
    const std::vector<float> logits = {0, 3, 1};
    CHECK(first.sample(logits) >= 0 && !second);
    first = ortshard::sampler::create();
    auto &same = first;
    first = std::move(same);
    CHECK(first);
    /* What the C functions give is taken over. */
    raw = nullptr;
    CHECK(ortshard_sampler_create(nullptr, &raw) == ORTSHARD_OK);
    CHECK(ortshard::sampler(raw).sample(logits) >= 0);
    THROWS(NULL_ARGUMENT, "shard", ortshard::request::create(ortshard::shard()));
}

static void texts()
{
    const auto tokenizer = ortshard::tokenizer::open(setting("TEST_TOKENIZER"));
    const std::string text = setting("TEST_TEXT"), cut = text + std::string("\0more", 5);
    CHECK(tokenizer.encode(text, false) == ids_of("TEST_IDS"));
    CHECK(tokenizer.encode(std::string_view(cut).substr(0, text.size()), false) == ids_of("TEST_IDS"));
    THROWS(INVALID_ARGUMENT, "NUL", tokenizer.encode(cut));
    THROWS(INVALID_ARGUMENT, "NUL", ortshard::model_info(cut));
    THROWS(INVALID_ARGUMENT, "NUL", tokenizer.apply_chat_template({{"user", cut}}));
    THROWS(NULL_ARGUMENT, "text", tokenizer.encode(static_cast<const char *>(nullptr)));
    THROWS(INVALID_UTF8, "", tokenizer.encode("\xff"));
}

/* Options keep what they were given, in copies, too. */
static void options()
{
    ortshard::generation_options copy;
    {
        ortshard::sampler_options sampling;
        sampling.temperature = 0;
        sampling.with_banned({1, 2}).with_eos({3}).with_biases({{{4, 5}, -1.0}, {{6}, 2.0}});
        ortshard::generation_options original;
        original.with_sampling(sampling).with_stop({"a stop string that is long enough to be allocated", "b"});
        copy = original;
    }
    CHECK(copy.stop_count == 2 && std::string(copy.stop[1]) == "b" && copy.stop[0][0] == 'a');
    CHECK(copy.sampling->banned_count == 2 && copy.sampling->banned[1] == 2 && copy.sampling->eos[0] == 3);
    CHECK(copy.sampling->bias_count == 2 && copy.sampling->biases[0].ids[1] == 5 && copy.sampling->biases[1].bias > 1.5);
    ortshard::shard_spec spec("a model of a name that is long enough to be allocated", 1, 2), moved = spec;
    spec = ortshard::shard_spec("b");
    CHECK(std::string(moved.model).substr(0, 7) == "a model" && moved.first_layer == 1 && moved.last_layer == 2);
}

int main()
{
    statuses();
    memory();
    handles();
    texts();
    options();
    return 0;
}
