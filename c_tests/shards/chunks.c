/* However a prompt is cut into calls, runs, types and buffers, the logits are the same bits. With the stock operators
 * they are as close as to the reference (tolerance in tests/suite/common/device.rs). */
#include "model.h"

static float *wanted, *got;
static size_t vocab_bytes;

static void same(const ortshard_tensor *logits)
{
    CHECK(logits->byte_length == vocab_bytes && same_in_pieces(logits->data, wanted, vocab_bytes, in_this_process() ? 1e-4F : 1e-2F));
}

int main(void)
{
    int64_t prompt[MOST];
    int32_t narrow[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    for (size_t i = 0; i < n; i++) narrow[i] = (int32_t)prompt[i];

    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_request *request = request_on(shard);
    ortshard_tensor input = ids_tensor(prompt, n), output;
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    CHECK(output.rank == 3 && output.shape[0] == 1 && output.shape[1] == 1 && output.shape[3] == 0);
    vocab_bytes = output.byte_length;
    wanted = malloc(vocab_bytes);
    got = malloc(vocab_bytes + 4);
    CHECK(wanted != NULL && got != NULL);
    memcpy(wanted, output.data, vocab_bytes);

    /* In calls of every size; only the last one needs logits. */
    for (size_t size = 1; size <= n; size += size < 4 ? 1 : 5) {
        OK(ortshard_request_truncate(request, 0));
        for (size_t done = 0; done < n; done += size) {
            size_t now = n - done < size ? n - done : size;
            int last = done + now == n;
            input = ids_tensor(prompt + done, now);
            OK(ortshard_request_infer(request, &input, last ? ORTSHARD_LOGITS_LAST : ORTSHARD_LOGITS_NONE, &output));
            if (!last) CHECK(output.data == NULL && output.byte_length == 0 && output.shape[1] == 0);
        }
        same(&output);
    }
    ortshard_request_free(request);

    /* In one call that runs in pieces of three. */
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.prefill_chunk = 3;
    options.capacity = (uint32_t)n;
    OK(ortshard_request_create(shard, &options, &request));
    input = ids_tensor(prompt, n);
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    same(&output);

    /* As int32, with a batch dimension, from memory without alignment, into a buffer without alignment. */
    static char shifted[sizeof narrow + 1];
    memcpy(shifted + 1, narrow, sizeof narrow);
    ortshard_tensor other = {ORTSHARD_DTYPE_I32, 2, {1, (int64_t)n}, shifted + 1, n * sizeof *narrow};
    OK(ortshard_request_truncate(request, 0));
    OK(ortshard_request_infer_into(request, &other, ORTSHARD_LOGITS_LAST, (char *)got + 1, vocab_bytes, &output));
    CHECK(output.data == (char *)got + 1);
    same(&output);

    /* A buffer that is too small is noticed before anything runs. */
    uint64_t position;
    OK(ortshard_request_truncate(request, 0));
    FAILS(BUFFER_TOO_SMALL, "are needed",
          ortshard_request_infer_into(request, &input, ORTSHARD_LOGITS_ALL, got, vocab_bytes, &output));
    CHECK(output.data == NULL && output.byte_length == n * vocab_bytes && output.shape[1] == (int64_t)n);
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0);
    memset(&output, 0xaa, sizeof output);
    OK(ortshard_request_infer_into(request, &input, ORTSHARD_LOGITS_ALL, NULL, 0, &output));
    CHECK(output.data == NULL && output.byte_length == n * vocab_bytes && output.shape[1] == (int64_t)n);
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0);
    OK(ortshard_request_infer_into(request, &input, ORTSHARD_LOGITS_NONE, got, 0, &output));
    OK(ortshard_request_position(request, &position));
    CHECK(position == n);

    ortshard_request_free(request);
    ortshard_shard_free(shard);
    free(wanted);
    free(got);
    return 0;
}
