/* A request's state can be copied, kept as bytes, and put into another request; what does not belong is refused. */
#include "model.h"

int main(void)
{
    int64_t prompt[MOST], id = 7;
    size_t n = ids_of("TEST_PROMPT", prompt), needed, vocab_bytes;
    ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
    ortshard_request *request = request_on(shard), *fork, *fresh;
    ortshard_tensor input = ids_tensor(prompt, n), next = ids_tensor(&id, 1), output;
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_NONE, &output));

    OK(ortshard_request_fork(request, &fork));
    OK(ortshard_request_export_state(request, NULL, 0, &needed));
    char *state = malloc(needed);
    CHECK(state != NULL);
    FAILS(BUFFER_TOO_SMALL, "are needed", ortshard_request_export_state(request, state, needed - 1, &needed));
    OK(ortshard_request_export_state(request, state, needed, &needed));

    OK(ortshard_request_infer(request, &next, ORTSHARD_LOGITS_LAST, &output));
    vocab_bytes = output.byte_length;
    float *wanted = malloc(vocab_bytes);
    CHECK(wanted != NULL);
    memcpy(wanted, output.data, vocab_bytes);

    /* What runs nothing leaves a request's last output where it is. */
    uint64_t position;
    OK(ortshard_request_fork(request, &fresh));
    ortshard_request_free(fresh);
    OK(ortshard_request_truncate(request, n));
    OK(ortshard_request_export_state(request, state, needed, &needed));
    OK(ortshard_request_position(request, &position));
    CHECK(position == n);
    CHECK(memcmp(output.data, wanted, vocab_bytes) == 0);

    fresh = request_on(shard);
    OK(ortshard_request_import_state(fresh, state, needed));
    ortshard_request *both[] = {fork, fresh};
    for (int i = 0; i < 2; i++) {
        OK(ortshard_request_position(both[i], &position));
        CHECK(position == n);
        OK(ortshard_request_infer(both[i], &next, ORTSHARD_LOGITS_LAST, &output));
        CHECK(output.byte_length == vocab_bytes && memcmp(output.data, wanted, vocab_bytes) == 0);
    }

    /* What one has gained since a position another takes there, and nowhere else. */
    size_t gained;
    FAILS(OUT_OF_RANGE, "since", ortshard_request_export_state_since(fork, n + 2, NULL, 0, &gained));
    OK(ortshard_request_export_state_since(fork, n, NULL, 0, &gained));
    CHECK(gained < needed);
    char *part = malloc(gained);
    CHECK(part != NULL);
    FAILS(BUFFER_TOO_SMALL, "are needed", ortshard_request_export_state_since(fork, n, part, gained - 1, &gained));
    OK(ortshard_request_export_state_since(fork, n, part, gained, &gained));
    FAILS(INVALID_ARGUMENT, "since position", ortshard_request_import_state(fresh, part, gained));
    OK(ortshard_request_truncate(fresh, n));
    OK(ortshard_request_import_state(fresh, part, gained));
    for (int i = 0; i < 2; i++) {
        OK(ortshard_request_position(both[i], &position));
        CHECK(position == n + 1);
        OK(ortshard_request_infer(both[i], &next, ORTSHARD_LOGITS_LAST, &output));
        if (i == 0)
            memcpy(wanted, output.data, vocab_bytes);
        CHECK(memcmp(output.data, wanted, vocab_bytes) == 0);
    }
    free(part);

    /* Damaged, cut, too long for the request, of other layers. */
    OK(ortshard_request_truncate(fresh, 1));
    state[needed / 2] ^= 1;
    FAILS(MALFORMED, "hash", ortshard_request_import_state(fresh, state, needed));
    state[needed / 2] ^= 1;
    FAILS(MALFORMED, "state", ortshard_request_import_state(fresh, state, needed - 1));
    FAILS(MALFORMED, "too few", ortshard_request_import_state(fresh, state, 0));
    OK(ortshard_request_position(fresh, &position));
    CHECK(position == 1);
    ortshard_request_free(fresh);
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.capacity = 2;
    OK(ortshard_request_create(shard, &options, &fresh));
    FAILS(CONTEXT_FULL, "capacity", ortshard_request_import_state(fresh, state, needed));
    ortshard_request_free(fresh);
    ortshard_shard *first = load(0, 0);
    fresh = request_on(first);
    FAILS(INVALID_ARGUMENT, "another model", ortshard_request_import_state(fresh, state, needed));

    free(wanted);
    free(state);
    ortshard_request_free(fresh);
    ortshard_request_free(fork);
    ortshard_request_free(request);
    ortshard_shard_free(first);
    ortshard_shard_free(shard);
    return 0;
}
