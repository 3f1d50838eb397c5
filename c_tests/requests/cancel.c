/* A cancelled call returns CANCELLED, changes nothing, and the next one works; a second call on a busy request is
 * refused. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "model.h"

static ortshard_request *request;
static atomic_int running;

static int32_t stop_at_weights(const ortshard_progress *progress, void *seen)
{
    CHECK(progress->struct_size == sizeof *progress);
    *(int32_t *)seen = progress->stage;
    return progress->stage == ORTSHARD_STAGE_WEIGHTS;
}

static int32_t go_on(const ortshard_progress *progress, void *last)
{
    ortshard_progress *before = last;
    CHECK(progress->stage >= before->stage);
    if (progress->stage == before->stage) CHECK(progress->bytes_done >= before->bytes_done);
    CHECK(progress->tensors_done <= progress->tensors_total || progress->tensors_total == 0);
    *before = *progress;
    return 0;
}

/* Runs the prompt again and again until it is cancelled. */
static void *run(void *cancelled)
{
    int64_t prompt[MOST];
    ortshard_tensor input = ids_tensor(prompt, ids_of("TEST_PROMPT", prompt)), output;
    ortshard_status status;
    do {
        status = ortshard_request_truncate(request, 0);
        running = 1;
        if (status == ORTSHARD_OK) status = ortshard_request_infer(request, &input, ORTSHARD_LOGITS_ALL, &output);
    } while (status == ORTSHARD_OK || status == ORTSHARD_ERROR_INVALID_STATE); /* the other thread may be in a call */
    CHECK(status == ORTSHARD_ERROR_CANCELLED);
    *(int *)cancelled = 1;
    return NULL;
}

/* In a batch a request cancels its own part; in a chain it cancels the call, which clears the others, too. */
static void together(ortshard_shard *shard, int64_t *prompt, size_t n)
{
    ortshard_request *both[2] = {request_on(shard), request_on(shard)};
    ortshard_tensor inputs[2] = {ids_tensor(prompt, n), ids_tensor(prompt, n)}, outputs[2];
    ortshard_status statuses[2];
    OK(ortshard_request_cancel(both[1]));
    FAILS(CANCELLED, "requests[1]", ortshard_batch_infer(both, inputs, NULL, 2, outputs, statuses));
    CHECK(statuses[0] == ORTSHARD_OK && statuses[1] == ORTSHARD_ERROR_CANCELLED);
    OK(ortshard_request_cancel(both[0]));
    OK(ortshard_request_clear_cancel(both[0]));
    OK(ortshard_batch_infer(both, inputs, NULL, 2, outputs, NULL));
    OK(ortshard_request_truncate(both[0], 0));
    OK(ortshard_request_cancel(both[0]));
    OK(ortshard_request_cancel(both[1])); /* not in the call */
    FAILS(CANCELLED, "cancelled", ortshard_chain_infer(both, 1, inputs, 0, outputs));
    OK(ortshard_request_clear_cancel(both[1]));
    OK(ortshard_chain_infer(both, 1, inputs, 0, outputs));
    ortshard_request_free(both[0]);
    ortshard_request_free(both[1]);
}

/* A stop button that is pressed and taken back while batches run: no request fails for another's sake. */
static void *press(void *both)
{
    ortshard_request **requests = both;
    while (running) {
        OK(ortshard_request_cancel(requests[1]));
        OK(ortshard_request_clear_cancel(requests[1]));
        nanosleep(&(struct timespec){0, 1000}, NULL);
    }
    return NULL;
}

static void pressed(ortshard_shard *shard, int64_t *prompt, size_t n)
{
    ortshard_request *both[2] = {request_on(shard), request_on(shard)};
    ortshard_tensor inputs[2] = {ids_tensor(prompt, n), ids_tensor(prompt, n)}, outputs[2];
    ortshard_status statuses[2];
    pthread_t thread;
    running = 1;
    CHECK(pthread_create(&thread, NULL, press, both) == 0);
    for (int i = 0; i < 400; i++) {
        EITHER_WAY(ortshard_batch_infer(both, inputs, NULL, 2, outputs, statuses));
        CHECK(statuses[0] == ORTSHARD_OK);
        CHECK(statuses[1] == ORTSHARD_OK || statuses[1] == ORTSHARD_ERROR_CANCELLED);
        for (int k = 0; k < 2; k++) OK(ortshard_request_truncate(both[k], 0));
    }
    running = 0;
    CHECK(pthread_join(thread, NULL) == 0);
    OK(ortshard_batch_infer(both, inputs, NULL, 2, outputs, statuses));
    ortshard_request_free(both[0]);
    ortshard_request_free(both[1]);
}

static ortshard_generation *generation;

static void *stop(void *nanoseconds)
{
    nanosleep(&(struct timespec){0, *(long *)nanoseconds}, NULL);
    OK(ortshard_generation_cancel(generation));
    return NULL;
}

/* A generation that another thread cancels, sooner or later, says so in a step, and goes on behind what it has given. */
static void stopped(ortshard_shard *shard, const int64_t *prompt, size_t n)
{
    int64_t golden[MOST];
    size_t most = ids_of("TEST_GREEDY", golden);
    ortshard_sampler_options sampling = ORTSHARD_SAMPLER_OPTIONS_INIT;
    ortshard_generation_options options = ORTSHARD_GENERATION_OPTIONS_INIT;
    sampling.temperature = 0;
    options.sampling = &sampling;
    options.ignore_eos = 1;
    options.max_new_tokens = (uint32_t)most;
    for (long wait = 0; wait < 4000000; wait += 100000) {
        ortshard_request *pulled = request_on(shard);
        OK(ortshard_generation_create(&pulled, 1, NULL, &options, &generation));
        OK(ortshard_generation_append_ids(generation, prompt, n));
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, stop, &wait) == 0);
        ortshard_step step = ORTSHARD_STEP_INIT;
        size_t given = 0;
        while (step.finish == ORTSHARD_FINISH_NONE) {
            OK(ortshard_generation_step(generation, &step));
            CHECK(step.id == ORTSHARD_NO_ID || step.id == golden[given]);
            given += step.id != ORTSHARD_NO_ID;
        }
        CHECK(pthread_join(thread, NULL) == 0);
        if (step.finish == ORTSHARD_FINISH_CANCELLED) {
            OK(ortshard_generation_append_ids(generation, NULL, 0));
            OK(ortshard_generation_step(generation, &step));
            CHECK(step.id == golden[given]);
        } else CHECK(step.finish == ORTSHARD_FINISH_LENGTH && given == most);
        ortshard_generation_free(generation);
        ortshard_request_free(pulled);
    }
}

int main(void)
{
    /* While loading. */
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    int32_t stage = 0;
    spec.model = setting("TEST_MODEL");
    engine = engine_on_device();
    FAILS(CANCELLED, "cancelled", ortshard_engine_ensure_shard(engine, &spec, stop_at_weights, &stage, &shard));
    CHECK(shard == NULL && stage == ORTSHARD_STAGE_WEIGHTS);
    OK(ortshard_engine_current_shard(engine, &shard));
    CHECK(shard == NULL);
    ortshard_progress last = {0, 0, 0, 0, 0, 0};
    OK(ortshard_engine_ensure_shard(engine, &spec, go_on, &last, &shard));
    CHECK(last.stage == ORTSHARD_STAGE_READY && last.bytes_done == last.bytes_total && last.bytes_total > 0);
    CHECK(last.tensors_done == last.tensors_total && last.tensors_total > 0);

    /* Before a run: it is the next one that is cancelled, once. */
    int64_t prompt[MOST], golden[MOST], ids[4];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    uint64_t position;
    ortshard_tensor input = ids_tensor(prompt, n), output;
    request = request_on(shard);
    OK(ortshard_request_cancel(request));
    FAILS(CANCELLED, "cancelled", ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_position(request, &position));
    CHECK(position == 0 && output.data == NULL);

    /* Nothing but the call that it cancels, or taking it back, ends a cancellation: not a refused call, not truncating. */
    OK(ortshard_request_cancel(request));
    FAILS(INVALID_ARGUMENT, "logits is 9", ortshard_request_infer(request, &input, 9, &output));
    OK(ortshard_request_truncate(request, 0));
    FAILS(CANCELLED, "cancelled", ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_clear_cancel(request)); /* there is none */
    OK(ortshard_request_cancel(request));
    OK(ortshard_request_clear_cancel(request));
    OK(ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output));
    OK(ortshard_request_truncate(request, 0));
    together(shard, prompt, n);
    pressed(shard, prompt, n);
    stopped(shard, prompt, n);

    /* During runs, while another thread looks on. */
    int cancelled = 0;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, &cancelled) == 0);
    while (!running) continue;
    for (int i = 0; i < 1000; i++) {
        OK(ortshard_request_position(request, &position));
        CHECK(position == 0 || position == n);
        ortshard_status status = ortshard_request_truncate(request, 0);
        CHECK(status == ORTSHARD_OK || status == ORTSHARD_ERROR_INVALID_STATE);
        if (status == ORTSHARD_ERROR_INVALID_STATE) CHECK(strstr(ortshard_last_error(), "in use") != NULL);
    }
    OK(ortshard_request_cancel(request));
    CHECK(pthread_join(thread, NULL) == 0 && cancelled);

    OK(ortshard_request_truncate(request, 0));
    greedy(&request, 1, prompt, n, ids, 4);
    CHECK(memcmp(ids, golden, sizeof ids) == 0);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return 0;
}
