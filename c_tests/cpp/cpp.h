/* What every C++ test here uses: checks that end the program, and the model and its answers. */
#ifndef CPP_H
#define CPP_H

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "ortshard.hpp"

#define CHECK(...) check_(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

inline void check_(bool holds, const char *what, const char *file, int line)
{
    if (holds) return;
    std::fprintf(stderr, "%s:%d: fails: %s (last error: %s)\n", file, line, what, ortshard_last_error());
    std::exit(1);
}

#ifndef ORTSHARD_NO_EXCEPTIONS
/* The call throws an ortshard::error with ORTSHARD_ERROR_<name>, whose message mentions `text`. */
#define THROWS(name, text, ...)                                                              \
    do {                                                                                     \
        bool thrown_ = false;                                                                \
        try {                                                                                \
            (void)(__VA_ARGS__);                                                             \
        } catch (const ortshard::error &why) {                                               \
            thrown_ = true;                                                                  \
            check_(why.status() == ORTSHARD_ERROR_##name, why.what(), __FILE__, __LINE__);   \
            check_(std::string(why.what()).find(text) != std::string::npos, why.what(), __FILE__, __LINE__); \
        }                                                                                    \
        check_(thrown_, #__VA_ARGS__ " throws", __FILE__, __LINE__);                         \
    } while (0)
#endif

inline std::string setting(const char *name)
{
    const char *value = std::getenv(name);
    check_(value != nullptr, name, "environment", 0);
    return value;
}

/* Comma-separated numbers from the environment. */
inline std::vector<std::int64_t> ids_of(const char *name)
{
    std::vector<std::int64_t> ids;
    const std::string text = setting(name);
    for (const char *at = text.c_str(); *at != '\0';) {
        char *end = nullptr;
        ids.push_back(std::strtoll(at, &end, 10));
        at = *end == ',' ? end + 1 : end;
    }
    return ids;
}

/* The first `count` ids that the model gives by itself. */
inline std::vector<std::int64_t> golden(std::size_t count)
{
    std::vector<std::int64_t> ids = ids_of("TEST_GREEDY");
    check_(ids.size() > count, "TEST_GREEDY is long enough", __FILE__, __LINE__);
    ids.resize(count);
    return ids;
}

inline ortshard::engine_options on_the_processor()
{
    ortshard::engine_options options;
    options.device = ORTSHARD_DEVICE_CPU;
    return options;
}

/* The demo model, which has a tokenizer and a text to tell. */
inline std::string stories() { return setting("TEST_ROOT") + "/models/stories"; }

#endif
