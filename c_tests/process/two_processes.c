/* Two shards in two processes, which pass hidden states and ids through pipes, give the text of the whole model. */
#include <sys/wait.h>
#include <unistd.h>

#include "model.h"

enum { TOKENS = 60 };

static const char *const PROMPT = "One rainy morning, a small fox";

static const char *story_model(void)
{
    return join(setting("TEST_ROOT"), "models/stories");
}

static ortshard_request *request_for(uint32_t first, uint32_t last)
{
    ortshard_engine *engine;
    ortshard_shard *shard;
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    spec.model = story_model();
    spec.first_layer = first;
    spec.last_layer = last;
    engine = engine_on_device();
    OK(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    ortshard_request *request = request_on(shard);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
    return request;
}

static void send_all(int to, const void *data, size_t bytes)
{
    for (const char *next = data; bytes > 0;) {
        ssize_t n = write(to, next, bytes);
        CHECK(n > 0);
        next += n;
        bytes -= (size_t)n;
    }
}

/* Fills the buffer; 0 if the other side has ended. */
static int receive_all(int from, void *data, size_t bytes)
{
    for (char *next = data; bytes > 0;) {
        ssize_t n = read(from, next, bytes);
        CHECK(n >= 0);
        if (n == 0) return 0;
        next += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* The second process: takes hidden states [rows, width], gives the id that it samples from the logits. */
static int second_half(int from, int to)
{
    ortshard_request *request = request_for(2, ORTSHARD_LAST_LAYER);
    ortshard_sampler *sampler;
    OK(ortshard_sampler_create(NULL, &sampler));
    int64_t shape[2], id;
    while (receive_all(from, shape, sizeof shape)) {
        size_t bytes = (size_t)(shape[0] * shape[1]) * sizeof(float);
        void *hidden = malloc(bytes);
        CHECK(hidden != NULL && receive_all(from, hidden, bytes));
        ortshard_tensor tensor = {ORTSHARD_DTYPE_F32, 2, {shape[0], shape[1]}, hidden, bytes};
        OK(ortshard_request_infer(request, &tensor, ORTSHARD_LOGITS_LAST, &tensor));
        OK(ortshard_sampler_sample(sampler, tensor.data, tensor.byte_length / sizeof(float), &id));
        send_all(to, &id, sizeof id);
        free(hidden);
    }
    ortshard_sampler_free(sampler);
    ortshard_request_free(request);
    return 0;
}

/* Writes the prompt's continuation, which `next` finds id by id. */
static void generate(int64_t (*next)(ortshard_tensor), char *text, size_t room)
{
    ortshard_tokenizer *tokenizer;
    ortshard_text_stream *stream;
    int64_t ids[MOST];
    size_t n, length, written = 0;
    const char *piece;
    OK(ortshard_tokenizer_open(story_model(), &tokenizer));
    OK(ortshard_tokenizer_encode(tokenizer, PROMPT, 1, ids, MOST, &n));
    OK(ortshard_text_stream_create(tokenizer, 1, &stream));
    ortshard_tensor tensor = ids_tensor(ids, n);
    for (int i = 0; i < TOKENS; i++) {
        int64_t id = next(tensor);
        OK(ortshard_text_stream_push(stream, id, &piece, &length));
        CHECK(written + length < room);
        memcpy(text + written, piece, length + 1);
        written += length;
        ids[0] = id;
        tensor = ids_tensor(ids, 1);
    }
    ortshard_text_stream_free(stream);
    ortshard_tokenizer_free(tokenizer);
}

static ortshard_request *front, *whole;
static ortshard_sampler *sampler;
static int to_second, from_second;

static int64_t through_both(ortshard_tensor tensor)
{
    int64_t id;
    OK(ortshard_request_infer(front, &tensor, ORTSHARD_LOGITS_LAST, &tensor));
    CHECK(tensor.dtype == ORTSHARD_DTYPE_F32 && tensor.rank == 3);
    send_all(to_second, &tensor.shape[1], 2 * sizeof tensor.shape[1]);
    send_all(to_second, tensor.data, tensor.byte_length);
    CHECK(receive_all(from_second, &id, sizeof id));
    return id;
}

static int64_t through_one(ortshard_tensor tensor)
{
    int64_t id;
    OK(ortshard_request_infer(whole, &tensor, ORTSHARD_LOGITS_LAST, &tensor));
    OK(ortshard_sampler_sample(sampler, tensor.data, tensor.byte_length / sizeof(float), &id));
    return id;
}

int main(void)
{
    int there[2], back[2], status;
    CHECK(pipe(there) == 0 && pipe(back) == 0);
    /* Before anything is loaded: threads do not survive a fork. */
    pid_t second = fork();
    CHECK(second >= 0);
    if (second == 0) {
        close(there[1]), close(back[0]);
        return second_half(there[0], back[1]);
    }
    close(there[0]), close(back[1]);
    to_second = there[1], from_second = back[0];

    static char text[8 * TOKENS * 8], wanted[sizeof text];
    front = request_for(0, 1);
    generate(through_both, text, sizeof text);
    close(to_second);
    CHECK(waitpid(second, &status, 0) == second && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ortshard_request_free(front);

    whole = request_for(0, ORTSHARD_LAST_LAYER);
    OK(ortshard_sampler_create(NULL, &sampler));
    generate(through_one, wanted, sizeof wanted);
    CHECK(strlen(wanted) > TOKENS && strcmp(text, wanted) == 0);
    ortshard_sampler_free(sampler);
    ortshard_request_free(whole);
    close(from_second);
    return 0;
}
