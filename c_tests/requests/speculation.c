/* Tokens that are tried and dropped again, as speculation does it, leave nothing: the logits of those that stay are the
 * bits of a request that never saw others. With the stock operators they are as close as to the reference. */
#include "model.h"

enum { TRIED = 5 };

int main(void)
{
    int64_t prompt[MOST], tried[TRIED];
    size_t n = ids_of("TEST_PROMPT", prompt), position = 0;
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_request *request = request_on(shard);
    ortshard_tensor input = ids_tensor(prompt, n), output;
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_ALL, &output));
    size_t row = output.byte_length / n;
    char *wanted = malloc(output.byte_length);
    CHECK(wanted != NULL);
    memcpy(wanted, output.data, output.byte_length);
    OK(ortshard_request_truncate(request, 0));

    for (size_t round = 0; position < n; round++) {
        size_t count = n - position < TRIED ? n - position : TRIED, right = round % count + 1;
        for (size_t i = 0; i < count; i++) tried[i] = prompt[(position + i + (i >= right)) % n];
        input = ids_tensor(tried, count);
        OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_ALL, &output));
        CHECK(output.byte_length == count * row);
        float tolerance = in_this_process() ? 1e-4F : 1e-2F;
        CHECK(same_in_pieces(output.data, wanted + position * row, right * row, tolerance));
        position += right;
        OK(ortshard_request_truncate(request, position));
        uint64_t now = 0;
        OK(ortshard_request_position(request, &now));
        CHECK(now == position);
    }
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    free(wanted);
    return 0;
}
