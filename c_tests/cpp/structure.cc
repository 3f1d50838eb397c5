/* Texts keep to a grammar, by a generation and by a loop of one's own; generations go on in forks and from states. */
#include "cpp.h"

/* Whether it matches [a-z ]{5,9}[0-9]. */
static bool matches(const std::string &text)
{
    const std::size_t letters = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz ");
    return letters >= 5 && letters <= 9 && letters + 1 == text.size() && text[letters] >= '0' && text[letters] <= '9';
}

static std::string rest(ortshard::generation &generation)
{
    std::string text;
    for (const auto &piece : generation) text += piece.text;
    return text;
}

static void by_generations(const ortshard::shard &shard, const ortshard::tokenizer &tokenizer)
{
    const auto compiled = ortshard::constraint::create(tokenizer, ORTSHARD_GRAMMAR_REGEX, "[a-z ]{5,9}[0-9]");
    const auto begin = [&](bool by_constraint, std::uint64_t seed) {
        ortshard::sampler_options sampling;
        sampling.seed = seed;
        ortshard::generation_options options;
        options.with_sampling(sampling);
        if (by_constraint) options.constraint = compiled.get();
        else options.with_grammar(ORTSHARD_GRAMMAR_REGEX, "[a-z ]{5,9}[0-9]");
        auto request = ortshard::request::create(shard);
        return ortshard::generation::create({&request}, &tokenizer, options);
    };
    for (std::uint64_t seed = 0; seed < 3; seed++) {
        auto generation = begin(true, seed), other = begin(false, seed);
        generation.append("Once upon a time");
        std::string text(generation.step().text);
        auto fork = generation.fork();
        other.import_state(generation.export_state());
        text += rest(generation);
        CHECK(matches(text));
        /* The same seed gives the same text, wherever it goes on. */
        const std::string forked = rest(fork);
        CHECK(text.size() > forked.size() && text.substr(text.size() - forked.size()) == forked && forked == rest(other));
    }
    THROWS(MALFORMED, "state", begin(true, 0).import_state(ortshard::bytes("state", 5)));
}

static void by_hand(const ortshard::shard &shard, const ortshard::tokenizer &tokenizer)
{
    const auto start = ortshard::constraint::create(tokenizer, ORTSHARD_GRAMMAR_JSON_SCHEMA, "{\"enum\": [\"red\", \"green\"]}");
    auto constraint = start.clone();
    auto request = ortshard::request::create(shard);
    auto sampler = ortshard::sampler::create();
    std::vector<std::int64_t> ids = tokenizer.encode("Once"), made;
    for (;;) {
        auto logits = request.logits(ids);
        const auto known = constraint.known_ids();
        constraint.mask(logits);
        ids = {known.empty() ? sampler.sample(logits) : known[0]};
        CHECK(logits[static_cast<std::size_t>(ids[0])] > -1e30f);
        constraint.advance(ids[0]);
        if (tokenizer.is_eos(ids[0])) break;
        made.push_back(ids[0]);
    }
    const std::string text = tokenizer.decode(made);
    CHECK(text == "\"red\"" || text == "\"green\"");
    THROWS(INVALID_ARGUMENT, "has ended", constraint.advance(made[0]));
    THROWS(INVALID_ARGUMENT, "unclosed group", ortshard::constraint::create(tokenizer, ORTSHARD_GRAMMAR_REGEX, "("));
}

int main()
{
    const auto shard = ortshard::engine::create(on_the_processor()).ensure_shard(ortshard::shard_spec(stories()));
    const auto tokenizer = ortshard::tokenizer::open(stories());
    by_generations(shard, tokenizer);
    by_hand(shard, tokenizer);
    return 0;
}
