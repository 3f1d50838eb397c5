/* Shards run as one model in one call, the next token comes without logits, and hidden states travel in half as many
 * bytes. */
#include "model.h"

enum { STEPS = 4 };

static ortshard_sampler *sampler_of(float temperature)
{
    ortshard_sampler_options options = ORTSHARD_SAMPLER_OPTIONS_INIT;
    options.temperature = temperature;
    options.top_k = 5;
    options.seed = 3;
    ortshard_sampler *sampler;
    OK(ortshard_sampler_create(&options, &sampler));
    return sampler;
}

/* One call for all shards gives the golden ids; so does the call that chooses them, and the one for many requests. */
static void golden_ids(ortshard_shard *front, ortshard_shard *back, ortshard_shard *whole)
{
    int64_t prompt[MOST], golden[MOST], id, next, ids[2];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    ortshard_request *chain[2] = {request_on(front), request_on(back)}, *one = request_on(whole);
    ortshard_request *many[2] = {request_on(whole), request_on(whole)};
    ortshard_sampler *greedy = sampler_of(0), *samplers[2] = {sampler_of(0), sampler_of(0)};
    ortshard_tensor tensor = ids_tensor(prompt, n), alone = tensor, inputs[2] = {tensor, tensor};
    ortshard_status statuses[2];
    for (int step = 0; step < STEPS; step++) {
        OK(ortshard_chain_infer(chain, 2, &tensor, ORTSHARD_LOGITS_LAST, &tensor)); /* input and output in one struct */
        OK(ortshard_sampler_sample(greedy, tensor.data, tensor.byte_length / sizeof(float), &id));
        CHECK(id == golden[step]);
        tensor = ids_tensor(&id, 1);

        OK(ortshard_chain_sample(&one, 1, &alone, greedy, &next)); /* the input may be the id before */
        CHECK(next == golden[step]);
        alone = ids_tensor(&next, 1);

        OK(ortshard_batch_sample(many, inputs, samplers, 2, ids, statuses));
        for (int i = 0; i < 2; i++) {
            CHECK(statuses[i] == ORTSHARD_OK && ids[i] == golden[step]);
            inputs[i] = ids_tensor(&ids[i], 1);
        }
    }
    for (int i = 0; i < 2; i++) {
        ortshard_request_free(chain[i]);
        ortshard_request_free(many[i]);
        ortshard_sampler_free(samplers[i]);
    }
    ortshard_request_free(one);
    ortshard_sampler_free(greedy);
}

/* What is refused leaves ids, positions and samplers alone. */
static void failures(ortshard_shard *front, ortshard_shard *back, ortshard_shard *whole)
{
    int64_t prompt[MOST], id = -7, ids[2] = {-7, -7};
    size_t n = ids_of("TEST_PROMPT", prompt);
    uint64_t position;
    ortshard_request *chain[2] = {request_on(front), request_on(back)}, *backwards[2] = {chain[1], chain[0]};
    ortshard_request *twice[2] = {request_on(whole), NULL};
    ortshard_sampler *sampler = sampler_of(1), *samplers[2] = {sampler, sampler};
    ortshard_tensor input = ids_tensor(prompt, n), inputs[2] = {input, input}, output;
    ortshard_status statuses[2];
    twice[1] = twice[0];

    FAILS(INVALID_ARGUMENT, "no requests", ortshard_chain_infer(chain, 0, &input, 0, &output));
    FAILS(NULL_ARGUMENT, "requests", ortshard_chain_infer(NULL, 2, &input, 0, &output));
    FAILS(INVALID_ARGUMENT, "do not follow", ortshard_chain_infer(backwards, 2, &input, 0, &output));
    CHECK(output.data == NULL && output.dtype == 0);
    FAILS(INVALID_STATE, "requests[1]", ortshard_chain_infer(twice, 2, &input, 0, &output));
    FAILS(INVALID_ARGUMENT, "gives no logits", ortshard_chain_sample(chain, 1, &input, sampler, &id));
    prompt[n - 1] = -1;
    FAILS(OUT_OF_RANGE, "-1", ortshard_chain_sample(chain, 2, &input, sampler, &id));
    FAILS(OUT_OF_RANGE, "requests[0]", ortshard_batch_sample(twice, inputs, samplers, 1, ids, statuses));
    FAILS(OUT_OF_RANGE, "requests[0]", ortshard_batch_sample(twice, inputs, samplers, 2, ids, statuses));
    CHECK(statuses[0] == ORTSHARD_ERROR_OUT_OF_RANGE && statuses[1] == ORTSHARD_ERROR_INVALID_STATE);
    FAILS(NULL_ARGUMENT, "ids", ortshard_batch_sample(twice, inputs, samplers, 2, NULL, statuses));
    OK(ortshard_batch_sample(NULL, NULL, NULL, 0, NULL, NULL));
    CHECK(id == -7 && ids[0] == -7 && ids[1] == -7);
    for (int i = 0; i < 2; i++) {
        OK(ortshard_request_position(chain[i], &position));
        CHECK(position == 0);
    }
    /* Cancelled through its last request, the whole chain is. */
    prompt[n - 1] = 1;
    OK(ortshard_request_cancel(chain[1]));
    CHECK(ortshard_chain_infer(chain, 2, &input, 0, &output) == ORTSHARD_ERROR_CANCELLED);
    OK(ortshard_chain_infer(chain, 2, &input, 0, &output));
    ortshard_request_free(chain[0]);
    ortshard_request_free(chain[1]);
    ortshard_request_free(twice[0]);
    ortshard_sampler_free(sampler);
}

/* Rounded hidden states are the float ones rounded, and forks give what their original does. */
static void rounded(ortshard_shard *front, int32_t dtype, unsigned bits)
{
    int64_t prompt[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.hidden_dtype = dtype;
    ortshard_request *wide = request_on(front), *narrow, *fork;
    OK(ortshard_request_create(front, &options, &narrow));
    OK(ortshard_request_fork(narrow, &fork));
    ortshard_tensor input = ids_tensor(prompt, n), full, half, copied;
    OK(ortshard_request_infer(wide, &input, 0, &full));
    OK(ortshard_request_infer(narrow, &input, 0, &half));
    CHECK(half.dtype == dtype && half.rank == 3 && half.shape[1] == full.shape[1] && half.shape[2] == full.shape[2]);
    CHECK(2 * half.byte_length == full.byte_length);
    const float *values = full.data;
    const uint16_t *stored = half.data;
    for (size_t i = 0; i < half.byte_length / 2; i++) {
        /* Sign, exponent and `bits` of the fraction, as a double. */
        int exponent_bits = 15 - (int)bits;
        int bias = (1 << (exponent_bits - 1)) - 1;
        int exponent = (stored[i] >> bits) & ((1 << exponent_bits) - 1);
        double fraction = (double)(stored[i] & ((1 << bits) - 1)) / (double)(1 << bits);
        double value = exponent == 0 ? fraction : 1 + fraction;
        for (int e = (exponent == 0 ? 1 : exponent) - bias; e > 0; e--) value *= 2;
        for (int e = (exponent == 0 ? 1 : exponent) - bias; e < 0; e++) value /= 2;
        if (stored[i] >> 15) value = -value;
        double off = value - (double)values[i], size = values[i] < 0 ? -(double)values[i] : (double)values[i];
        CHECK((off < 0 ? -off : off) <= size / (double)(2 << bits) + 1e-7);
    }
    void *buffer = malloc(half.byte_length);
    CHECK(buffer != NULL);
    FAILS(BUFFER_TOO_SMALL, "needed", ortshard_request_infer_into(fork, &input, 0, buffer, half.byte_length - 1, &copied));
    CHECK(copied.byte_length == half.byte_length && copied.data == NULL && copied.dtype == dtype);
    OK(ortshard_request_infer_into(fork, &input, 0, buffer, half.byte_length, &copied));
    CHECK(copied.data == buffer && memcmp(buffer, half.data, half.byte_length) == 0);
    free(buffer);
    options.hidden_dtype = ORTSHARD_DTYPE_I32;
    ortshard_request *none;
    FAILS(INVALID_ARGUMENT, "hidden_dtype is ", ortshard_request_create(front, &options, &none));
    ortshard_request_free(wide);
    ortshard_request_free(narrow);
    ortshard_request_free(fork);
}

/* Nothing is rounded between the requests of a chain, whatever their hidden_dtype: it gives the bits of the whole model. */
static void unrounded(ortshard_shard *front, ortshard_shard *back, ortshard_shard *whole)
{
    int64_t prompt[MOST];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.hidden_dtype = ORTSHARD_DTYPE_BF16;
    ortshard_request *chain[2], *one = request_on(whole);
    OK(ortshard_request_create(front, &options, &chain[0]));
    OK(ortshard_request_create(back, &options, &chain[1]));
    ortshard_tensor input = ids_tensor(prompt, n), wanted, logits, hidden;
    OK(ortshard_request_infer(one, &input, ORTSHARD_LOGITS_ALL, &wanted));
    OK(ortshard_chain_infer(chain, 2, &input, ORTSHARD_LOGITS_ALL, &logits));
    CHECK(same_in_pieces(wanted.data, logits.data, wanted.byte_length, 0));
    /* One after another they are, and it shows. */
    for (int i = 0; i < 2; i++) OK(ortshard_request_truncate(chain[i], 0));
    OK(ortshard_request_infer(chain[0], &input, 0, &hidden));
    OK(ortshard_request_infer(chain[1], &hidden, ORTSHARD_LOGITS_ALL, &logits));
    CHECK(hidden.dtype == ORTSHARD_DTYPE_BF16);
    CHECK(!native_operators() || memcmp(wanted.data, logits.data, wanted.byte_length) != 0);
    for (int i = 0; i < 2; i++) ortshard_request_free(chain[i]);
    ortshard_request_free(one);
}

int main(void)
{
    ortshard_shard *front = load(0, 0), *back = load(1, ORTSHARD_LAST_LAYER), *whole = load(0, ORTSHARD_LAST_LAYER);
    golden_ids(front, back, whole);
    failures(front, back, whole);
    unrounded(front, back, whole);
    rounded(front, ORTSHARD_DTYPE_F16, 10);
    rounded(front, ORTSHARD_DTYPE_BF16, 7);
    ortshard_shard_free(front);
    ortshard_shard_free(back);
    ortshard_shard_free(whole);
    return 0;
}
