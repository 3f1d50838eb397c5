/* The sampler is greedy or seeded as asked, and refuses what is no logits. */
#include <math.h>

#include "check.h"

enum { N = 1000 };

static float logits[N];

static int64_t draw(ortshard_sampler *sampler)
{
    int64_t id = -1;
    OK(ortshard_sampler_sample(sampler, logits, N, &id));
    CHECK(id >= 0 && id < N);
    return id;
}

int main(void)
{
    for (int i = 0; i < N; i++) logits[i] = (float)((i * 37) % 101) / 25.0f;
    ortshard_sampler *sampler, *twin;

    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = 0;
    OK(ortshard_sampler_create(&options, &sampler));
    CHECK(draw(sampler) == 30); /* 30 * 37 = 1110 = 100 (mod 101), for the first time */
    ortshard_sampler_free(sampler);

    /* NULL means the documented defaults, and the same seed gives the same draws, also after a reset. */
    ortshard_sampler_options defaults = ORTSHARD_SAMPLER_OPTIONS_INIT;
    CHECK(defaults.temperature == 0.6f && defaults.top_k == 35 && defaults.seed == 1234);
    OK(ortshard_sampler_create(NULL, &sampler));
    OK(ortshard_sampler_create(&defaults, &twin));
    int64_t first[16], different = 0;
    for (int i = 0; i < 16; i++) {
        first[i] = draw(sampler);
        CHECK(draw(twin) == first[i]);
        different += first[i] != first[0];
    }
    CHECK(different > 0);
    OK(ortshard_sampler_reset(sampler));
    for (int i = 0; i < 16; i++) CHECK(draw(sampler) == first[i]);

    /* A failed call does not move the random stream. */
    OK(ortshard_sampler_reset(sampler));
    int64_t id = -7;
    float bad[3] = {0, NAN, 0}, masked[2] = {-INFINITY, -INFINITY};
    FAILS(INVALID_ARGUMENT, "logits[1]", ortshard_sampler_sample(sampler, bad, 3, &id));
    FAILS(INVALID_ARGUMENT, "minus infinity", ortshard_sampler_sample(sampler, masked, 2, &id));
    FAILS(INVALID_ARGUMENT, "empty", ortshard_sampler_sample(sampler, bad, 0, &id));
    CHECK(id == -7 && draw(sampler) == first[0]);

    /* Logits may lie anywhere in memory. */
    static char bytes[sizeof logits + 1];
    memcpy(bytes + 1, logits, sizeof logits);
    OK(ortshard_sampler_reset(sampler));
    OK(ortshard_sampler_sample(sampler, (const float *)(const void *)(bytes + 1), N, &id));
    CHECK(id == first[0]);
    ortshard_sampler_free(sampler);
    ortshard_sampler_free(twin);

    options.temperature = -1;
    FAILS(INVALID_ARGUMENT, "temperature", ortshard_sampler_create(&options, &sampler));
    CHECK(sampler == NULL);
    options.temperature = NAN;
    FAILS(INVALID_ARGUMENT, "temperature", ortshard_sampler_create(&options, &sampler));
    return 0;
}
