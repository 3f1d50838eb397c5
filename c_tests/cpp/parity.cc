/* Through the C++ header a model gives transformers' ids: whole, in shards, in frames, in a batch, and by a generation. */
#include "cpp.h"

constexpr std::size_t COUNT = 8;

static ortshard::shard load(std::uint32_t first, std::uint32_t last = ORTSHARD_LAST_LAYER)
{
    return ortshard::engine::create(on_the_processor())
        .ensure_shard(ortshard::shard_spec(setting("TEST_MODEL"), first, last));
}

/* The ids that follow the prompt, if `next` gives one after some. */
template <class Next>
static std::vector<std::int64_t> greedy(Next next)
{
    std::vector<std::int64_t> ids = ids_of("TEST_PROMPT"), made;
    while (made.size() < COUNT) {
        made.push_back(next(ids));
        ids = {made.back()};
    }
    return made;
}

using Ids = const std::vector<std::int64_t> &;

static std::int64_t largest(ortshard::span<const float> logits)
{
    std::size_t best = 0;
    for (std::size_t i = 1; i < logits.size(); i++)
        if (logits[i] > logits[best]) best = i;
    return static_cast<std::int64_t>(best);
}

static void whole(const ortshard::shard &shard)
{
    const std::size_t vocabulary = shard.info().vocab_size;
    auto by_sample = ortshard::request::create(shard);
    CHECK(greedy([&](Ids ids) { return by_sample.sample(ids); }) == golden(COUNT));

    auto by_logits = ortshard::request::create(shard);
    CHECK(greedy([&](Ids ids) { return largest(by_logits.logits(ids)); }) == golden(COUNT));
    CHECK(by_logits.position() == by_sample.position() && by_logits.capacity() >= by_logits.position());

    std::vector<float> room(vocabulary);
    auto into = ortshard::request::create(shard);
    CHECK(greedy([&](Ids ids) { return into.logits(ids, room) == vocabulary ? largest(room) : -1; }) == golden(COUNT));

    ortshard::sampler_options options;
    options.temperature = 0;
    auto sampler = ortshard::sampler::create(options);
    auto sampled = ortshard::request::create(shard);
    CHECK(greedy([&](Ids ids) { return sampled.sample(ids, &sampler); }) == golden(COUNT));

    /* Back to the prompt, in another request, and from a state. */
    const auto prompt = ids_of("TEST_PROMPT");
    sampled.truncate(prompt.size());
    auto fork = sampled.fork();
    const auto state = fork.export_state();
    auto other = ortshard::request::create(shard.share());
    other.import_state(state);
    CHECK(fork.sample(golden(1)) == golden(2)[1] && other.sample(golden(1)) == golden(2)[1]);
    other.truncate(prompt.size());
    other.import_state(fork.export_state_since(prompt.size()));
    const std::vector<std::int64_t> chosen{golden(2)[1]};
    CHECK(other.position() == fork.position() && other.sample(chosen) == golden(3)[2]);
}

static void in_shards()
{
    const std::uint32_t last = ortshard::model_info(setting("TEST_MODEL")).layer_count - 1;
    std::vector<ortshard::request> requests;
    requests.push_back(ortshard::request::create(load(0, last - 1)));
    requests.push_back(ortshard::request::create(load(last)));
    CHECK(greedy([&](Ids ids) { return ortshard::chain_sample(requests, ortshard::tensor::of_ids(ids)); }) ==
          golden(COUNT));

    for (auto &request : requests) request.truncate(0);
    CHECK(greedy([&](Ids ids) {
              return largest(ortshard::chain_infer({&requests[0], &requests[1]}, ortshard::tensor::of_ids(ids)).floats());
          }) == golden(COUNT));

    /* As a process receives them from another. */
    ortshard::request_options frames;
    frames.output = ORTSHARD_OUTPUT_FRAME;
    auto front = ortshard::request::create(load(0, last - 1), frames);
    requests[1].truncate(0);
    CHECK(greedy([&](Ids ids) {
              const auto given = front.infer(ortshard::tensor::of_ids(ids)).bytes();
              const std::vector<std::byte> sent(given.begin(), given.end());
              CHECK(ortshard::frame_size(sent) == sent.size() && ortshard::frame_info(sent).layer == last - 1);
              const auto part = ortshard::frame_part_at(sent, 0);
              CHECK(part.role == ORTSHARD_ROLE_HIDDEN_STATES && part.values.shape[1] == std::int64_t(ids.size()));
              CHECK(front.frame_pieces().size() == 2);
              return ortshard::chain_sample({&requests[1]}, ortshard::tensor::of_frame(sent));
          }) == golden(COUNT));
}

static void in_a_batch(const ortshard::shard &shard)
{
    std::vector<ortshard::request> requests;
    for (int i = 0; i < 3; i++) requests.push_back(ortshard::request::create(shard));
    const auto prompt = ids_of("TEST_PROMPT");
    std::vector<ortshard::tensor> inputs(3, ortshard::tensor::of_ids(prompt));
    const std::int64_t none[] = {-1};
    inputs[1] = ortshard::tensor::of_ids(none);
    const auto ids = ortshard::batch_sample(requests, inputs);
    CHECK(ids.size() == 3 && *ids[0] == golden(1)[0] && ids[2].value() == golden(1)[0]);
    CHECK(ids[1].status() == ORTSHARD_ERROR_OUT_OF_RANGE && ids[1].error().message().find("-1") != std::string::npos);
    THROWS(OUT_OF_RANGE, "-1", ids[1].value());

    std::vector<std::reference_wrapper<ortshard::request>> two = {requests[0], requests[2]};
    const auto next = golden(1);
    const std::vector<ortshard::tensor> again(2, ortshard::tensor::of_ids(next));
    const std::vector<std::int32_t> which = {ORTSHARD_LOGITS_LAST, ORTSHARD_LOGITS_NONE};
    const auto outputs = ortshard::batch_infer(two, again, which);
    CHECK(largest(outputs[0]->floats()) == golden(2)[1] && outputs[1]->floats().empty());
    THROWS(INVALID_ARGUMENT, "different numbers", ortshard::batch_infer(two, inputs));
    CHECK(ortshard::batch_infer(std::vector<ortshard::request>(), {}).empty());
}

static void by_generations(const ortshard::shard &shard)
{
    ortshard::sampler_options sampling;
    sampling.temperature = 0;
    ortshard::generation_options options;
    options.with_sampling(sampling);
    options.max_new_tokens = COUNT;
    options.ignore_eos = 1;
    std::vector<ortshard::generation> generations;
    for (int i = 0; i < 2; i++) {
        auto request = ortshard::request::create(shard);
        generations.push_back(ortshard::generation::create({&request}, nullptr, options));
        generations.back().append_ids(ids_of("TEST_PROMPT"));
    }
    std::vector<std::int64_t> ids;
    for (const auto &step : ortshard::step_batch(generations)) CHECK(step->id == golden(1)[0]);
    ids.push_back(golden(1)[0]);
    generations.push_back(generations[0].fork());
    generations.erase(generations.begin() + 1);
    for (auto &generation : generations) {
        auto all = ids;
        for (const auto &step : generation) all.push_back(step.id);
        CHECK(all == golden(COUNT));
    }
}

int main()
{
    const auto shard = load(0);
    whole(shard);
    in_shards();
    in_a_batch(shard);
    by_generations(shard);
    return 0;
}
