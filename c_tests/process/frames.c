/* Two shards in two processes pass frames, of one part or several, through a pipe, and through a socket that breaks midway, and give
 * the ids of the whole model: what is lost, repeated, cut or flipped on the way is refused, and the text goes on. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model.h"

enum { TOKENS = 12, LARGEST = 1 << 24, PIECES = 8 };

/* What the second process says: where it is, at first; then, of each frame, how the call ended, and the next id. */
struct answer {
    int64_t id;
    uint64_t position;
    int64_t status;
};

static int send_all(int to, const void *data, size_t bytes)
{
    for (const char *next = data; bytes > 0;) {
        ssize_t n = write(to, next, bytes);
        if (n <= 0) return 0;
        next += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* Fills the buffer; 0 if the other side has gone. */
static int receive_all(int from, void *data, size_t bytes)
{
    for (char *next = data; bytes > 0;) {
        ssize_t n = read(from, next, bytes);
        if (n <= 0) return 0;
        next += n;
        bytes -= (size_t)n;
    }
    return 1;
}

/* A frame from the other side, in memory in which its parts are not copied; NULL if that has gone. */
static void *receive_frame(int from, size_t *size)
{
    unsigned char start[ORTSHARD_FRAME_START];
    if (!receive_all(from, start, sizeof start)) return NULL;
    OK(ortshard_frame_size(start, sizeof start, size));
    CHECK(*size <= LARGEST);
    unsigned char *frame = aligned_alloc(64, (*size + 63) / 64 * 64);
    CHECK(frame != NULL);
    memcpy(frame, start, sizeof start);
    if (receive_all(from, frame + sizeof start, *size - sizeof start)) return frame;
    free(frame);
    return NULL;
}

static ortshard_tensor frame_tensor(void *frame, size_t size)
{
    ortshard_tensor tensor = {ORTSHARD_DTYPE_FRAME, 1, {(int64_t)size}, frame, size};
    return tensor;
}

/* The second process: answers frames until the other side has gone. */
static void serve(ortshard_request *request, int from, int to)
{
    struct answer answer = {-1, 0, ORTSHARD_OK};
    size_t size;
    OK(ortshard_request_position(request, &answer.position));
    if (!send_all(to, &answer, sizeof answer)) return;
    for (void *frame; (frame = receive_frame(from, &size)) != NULL; free(frame)) {
        ortshard_tensor tensor = frame_tensor(frame, size);
        answer.id = -1;
        answer.status = ortshard_chain_sample(&request, 1, &tensor, NULL, &answer.id);
        CHECK((answer.status == ORTSHARD_OK) == (answer.id >= 0));
        OK(ortshard_request_position(request, &answer.position));
        if (!send_all(to, &answer, sizeof answer)) {
            free(frame);
            return;
        }
    }
}

static ortshard_request *request_for(uint32_t first, uint32_t last, int32_t output)
{
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    ortshard_request *request;
    ortshard_shard *shard = load(first, last);
    options.output = output;
    OK(ortshard_request_create(shard, &options, &request));
    ortshard_shard_free(shard);
    return request;
}

static struct answer answer_from(int from)
{
    struct answer answer;
    CHECK(receive_all(from, &answer, sizeof answer));
    return answer;
}

/* What the next shard takes, as its boundary's description says it. */
static void described(const void *frame, size_t size, uint32_t layer, uint64_t position, uint64_t tokens)
{
    ortshard_frame_info info = ORTSHARD_FRAME_INFO_INIT;
    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    OK(ortshard_model_get_boundary(setting("TEST_MODEL"), layer, &boundary));
    OK(ortshard_frame_get_info(frame, size, &info));
    CHECK(info.layer == layer && info.position == position && info.tokens == tokens);
    CHECK(info.part_count == boundary.part_count && strcmp(info.model, boundary.model) == 0);
    CHECK(info.precision == ORTSHARD_PRECISION_EXACT && boundary.can_cut == 1 && boundary.reason[0] == '\0');
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < info.part_count; i++) {
        ortshard_tensor part;
        int32_t role;
        OK(ortshard_frame_get_part(frame, size, i, &role, &part));
        uint64_t width = role == ORTSHARD_ROLE_HIDDEN_STATES ? boundary.hidden_states_width
            : role == ORTSHARD_ROLE_STREAMS                  ? boundary.streams_width
                                                             : boundary.per_layer_inputs_width;
        CHECK(part.dtype == ORTSHARD_DTYPE_F32 && part.rank == 3 && part.shape[1] == (int64_t)tokens);
        CHECK(part.shape[2] == (int64_t)width && ((const char *)part.data - (const char *)frame) % 64 == 0);
        bytes += part.byte_length;
    }
    CHECK(bytes == tokens * boundary.f32_bytes_per_token && bytes == 2 * tokens * boundary.bf16_bytes_per_token);
    CHECK(info.part_count > 1 || size == boundary.header_bytes + bytes);
}

/* The second processes, and how they are reached: each by a way of its own. */
static pid_t piped_to, listening;
static int to_piped, from_piped;
static struct sockaddr_un place = {.sun_family = AF_UNIX};

static void start_piped(uint32_t cut)
{
    int there[2], back[2];
    CHECK(pipe(there) == 0 && pipe(back) == 0);
    CHECK((piped_to = fork()) >= 0);
    if (piped_to == 0) {
        close(there[1]), close(back[0]);
        ortshard_request *request = request_for(cut + 1, ORTSHARD_LAST_LAYER, ORTSHARD_OUTPUT_TENSOR);
        serve(request, there[0], back[1]);
        ortshard_request_free(request);
        exit(0);
    }
    close(there[0]), close(back[1]);
    to_piped = there[1], from_piped = back[0];
}

/* Takes connection after connection, until `tokens` have been run. */
static void start_listening(uint32_t cut, uint64_t tokens)
{
    CHECK(snprintf(place.sun_path, sizeof place.sun_path, "/tmp/ortshard-frames-%ld", (long)getpid()) > 0);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&place, sizeof place) == 0 && listen(listener, 4) == 0);
    CHECK((listening = fork()) >= 0);
    if (listening == 0) {
        close(to_piped), close(from_piped);
        ortshard_request *request = request_for(cut + 1, ORTSHARD_LAST_LAYER, ORTSHARD_OUTPUT_TENSOR);
        for (uint64_t position = 0; position < tokens;) {
            int connection = accept(listener, NULL, NULL);
            CHECK(connection >= 0);
            serve(request, connection, connection);
            close(connection);
            OK(ortshard_request_position(request, &position));
        }
        ortshard_request_free(request);
        exit(0);
    }
    close(listener);
}

static void ended_well(pid_t process)
{
    int status;
    CHECK(waitpid(process, &status, 0) == process && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Through a pipe, in pieces that are not copied. */
static void through_a_pipe(uint32_t cut, int64_t *prompt, size_t n, int64_t ids[TOKENS])
{
    ortshard_request *front = request_for(0, cut, ORTSHARD_OUTPUT_PIECES);
    ortshard_tensor input = ids_tensor(prompt, n), output;
    CHECK(answer_from(from_piped).position == 0);
    ortshard_piece pieces[PIECES];
    size_t count;
    FAILS(INVALID_STATE, "run it first", ortshard_request_frame_pieces(front, pieces, PIECES, &count));
    for (int i = 0; i < TOKENS; i++) {
        OK(ortshard_request_infer(front, &input, ORTSHARD_LOGITS_LAST, &output));
        CHECK(output.dtype == ORTSHARD_DTYPE_FRAME && output.data == NULL && output.rank == 1);
        OK(ortshard_request_frame_pieces(front, NULL, 0, &count));
        CHECK(count >= 2 && count <= PIECES);
        FAILS(BUFFER_TOO_SMALL, "needed", ortshard_request_frame_pieces(front, pieces, count - 1, &count));
        OK(ortshard_request_frame_pieces(front, pieces, PIECES, &count));
        struct iovec vectors[PIECES];
        size_t bytes = 0;
        for (size_t k = 0; k < count; k++) {
            vectors[k].iov_base = (void *)(uintptr_t)pieces[k].data;
            vectors[k].iov_len = pieces[k].size;
            bytes += pieces[k].size;
        }
        CHECK(bytes == output.byte_length && bytes < 60000); /* what a pipe takes at once */
        CHECK(writev(to_piped, vectors, (int)count) == (ssize_t)bytes);
        struct answer answer = answer_from(from_piped);
        CHECK(answer.status == ORTSHARD_OK && answer.position == n + (size_t)i);
        ids[i] = answer.id;
        input = ids_tensor(&ids[i], 1);
    }
    ortshard_request_free(front);
    close(to_piped);
    ended_well(piped_to);
    close(from_piped);
}

static int connected(uint64_t position)
{
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connection >= 0 && connect(connection, (const struct sockaddr *)&place, sizeof place) == 0);
    CHECK(answer_from(connection).position == position);
    return connection;
}

/* Through a socket that breaks in the middle of a frame; the text goes on where the second process is. */
static void through_a_socket(uint32_t cut, int64_t *prompt, size_t n, int64_t ids[TOKENS])
{
    ortshard_request *front = request_for(0, cut, ORTSHARD_OUTPUT_FRAME);
    ortshard_tensor input = ids_tensor(prompt, n), frame;
    unsigned char *before = NULL;
    size_t before_size = 0;
    uint64_t position = 0;
    int to = connected(position);
    for (int i = 0; i < TOKENS; i++) {
        OK(ortshard_request_infer(front, &input, ORTSHARD_LOGITS_LAST, &frame));
        CHECK(frame.dtype == ORTSHARD_DTYPE_FRAME && frame.byte_length == (size_t)frame.shape[0]);
        described(frame.data, frame.byte_length, cut, position, i == 0 ? n : 1);
        if (i == 4) {
            /* The connection breaks in the middle of a frame, of which nothing was run. */
            CHECK(send_all(to, frame.data, frame.byte_length / 2));
            close(to);
            to = connected(position);
        }
        if (i == 6) {
            /* The frame arrives, but the answer does not: what was run is not run again. */
            CHECK(send_all(to, frame.data, frame.byte_length));
            struct answer lost = answer_from(to);
            CHECK(lost.status == ORTSHARD_OK);
            close(to);
            to = connected(position + 1);
            CHECK(send_all(to, frame.data, frame.byte_length));
            struct answer repeated = answer_from(to);
            CHECK(repeated.status == ORTSHARD_ERROR_INVALID_STATE && repeated.position == position + 1);
            ids[i] = lost.id;
        } else {
            if (i == 8) {
                /* An older one, and a flipped one. */
                CHECK(send_all(to, before, before_size));
                struct answer older = answer_from(to);
                CHECK(older.status == ORTSHARD_ERROR_INVALID_STATE && older.position == position);
                unsigned char *flipped = malloc(frame.byte_length);
                CHECK(flipped != NULL);
                memcpy(flipped, frame.data, frame.byte_length);
                flipped[frame.byte_length - 3] ^= 16;
                CHECK(send_all(to, flipped, frame.byte_length));
                struct answer damaged = answer_from(to);
                CHECK(damaged.status == ORTSHARD_ERROR_MALFORMED && damaged.position == position);
                free(flipped);
            }
            CHECK(send_all(to, frame.data, frame.byte_length));
            struct answer answer = answer_from(to);
            CHECK(answer.status == ORTSHARD_OK);
            ids[i] = answer.id;
        }
        position += i == 0 ? n : 1;
        before = realloc(before, before_size = frame.byte_length);
        CHECK(before != NULL);
        memcpy(before, frame.data, before_size);
        input = ids_tensor(&ids[i], 1);
    }
    free(before);
    close(to);
    ortshard_request_free(front);
    ended_well(listening);
    unlink(place.sun_path);
}

/* In one process: what is refused, by name, and an output that goes where the caller wants it. */
static void in_one_process(uint32_t cut, int64_t *prompt, size_t n)
{
    ortshard_request *front = request_for(0, cut, ORTSHARD_OUTPUT_FRAME);
    ortshard_request *back = request_for(cut + 1, ORTSHARD_LAST_LAYER, ORTSHARD_OUTPUT_FRAME);
    ortshard_tensor input = ids_tensor(prompt, n), frame, logits, copy;
    OK(ortshard_request_infer_into(front, &input, 0, NULL, 0, &frame));
    size_t size = frame.byte_length;
    char *buffer = malloc(size + 1);
    CHECK(buffer != NULL && frame.dtype == ORTSHARD_DTYPE_FRAME && frame.data == NULL);
    FAILS(BUFFER_TOO_SMALL, "needed", ortshard_request_infer_into(front, &input, 0, buffer, size - 1, &frame));
    /* At any address. */
    OK(ortshard_request_infer_into(front, &input, 0, buffer + 1, size, &copy));
    CHECK(copy.data == buffer + 1 && copy.byte_length == size);
    OK(ortshard_request_infer(back, &copy, ORTSHARD_LOGITS_LAST, &logits));
    CHECK(logits.dtype == ORTSHARD_DTYPE_F32 && logits.rank == 3);
    FAILS(INVALID_STATE, "it has been run already", ortshard_request_infer(back, &copy, ORTSHARD_LOGITS_LAST, &logits));
    CHECK(logits.data == NULL);
    OK(ortshard_request_truncate(back, 0));
    buffer[size] ^= 1;
    FAILS(MALFORMED, "damaged", ortshard_request_infer(back, &copy, ORTSHARD_LOGITS_LAST, &logits));
    buffer[size] ^= 1;
    FAILS(INVALID_ARGUMENT, "takes token ids", ortshard_request_infer(front, &copy, ORTSHARD_LOGITS_LAST, &logits));
    copy.byte_length--;
    FAILS(INVALID_ARGUMENT, "byte_length", ortshard_request_infer(back, &copy, ORTSHARD_LOGITS_LAST, &logits));
    copy.shape[0]--;
    FAILS(MALFORMED, "it is cut", ortshard_request_infer(back, &copy, ORTSHARD_LOGITS_LAST, &logits));
    ortshard_tensor part;
    FAILS(OUT_OF_RANGE, "index is 9", ortshard_frame_get_part(buffer + 1, size, 9, NULL, &part));
    ortshard_boundary boundary = ORTSHARD_BOUNDARY_INIT;
    FAILS(OUT_OF_RANGE, "has no other behind it", ortshard_model_get_boundary(setting("TEST_MODEL"), layers() - 1, &boundary));

    ortshard_engine *engine = engine_on_device();
    ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
    ortshard_boundary same = ORTSHARD_BOUNDARY_INIT;
    spec.model = setting("TEST_MODEL");
    OK(ortshard_model_get_boundary(spec.model, cut, &boundary));
    OK(ortshard_engine_get_boundary(engine, &spec, cut, NULL, NULL, &same));
    CHECK(memcmp(&same, &boundary, sizeof same) == 0);
    ortshard_engine_free(engine);

    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    ortshard_shard *shard = load(0, cut);
    ortshard_request *none;
    options.output = 3;
    FAILS(INVALID_ARGUMENT, "output is 3", ortshard_request_create(shard, &options, &none));
    options.output = ORTSHARD_OUTPUT_FRAME;
    options.per_layer_dtype = ORTSHARD_DTYPE_I64;
    FAILS(INVALID_ARGUMENT, "per_layer_dtype is 2", ortshard_request_create(shard, &options, &none));
    ortshard_shard_free(shard);
    free(buffer);
    ortshard_request_free(front);
    ortshard_request_free(back);
}

/* Frames go in and out of batches and chains, too. */
static void many_at_once(uint32_t cut, int64_t *prompt, size_t n, int64_t first_id)
{
    ortshard_request *fronts[2], *backs[2];
    ortshard_tensor tensors[2];
    ortshard_status statuses[2];
    int64_t ids[2];
    for (int i = 0; i < 2; i++) {
        fronts[i] = request_for(0, cut, ORTSHARD_OUTPUT_FRAME);
        backs[i] = request_for(cut + 1, ORTSHARD_LAST_LAYER, ORTSHARD_OUTPUT_FRAME);
    }
    /* Requests of a batch are on one shard. */
    for (int i = 0; i < 2; i++) ortshard_request_free(i == 0 ? fronts[1] : backs[1]);
    OK(ortshard_request_fork(fronts[0], &fronts[1]));
    OK(ortshard_request_fork(backs[0], &backs[1]));
    tensors[0] = ids_tensor(prompt, n);
    tensors[1] = ids_tensor(prompt, 1);
    OK(ortshard_batch_infer(fronts, tensors, NULL, 2, tensors, statuses));
    CHECK(tensors[0].dtype == ORTSHARD_DTYPE_FRAME && tensors[1].dtype == ORTSHARD_DTYPE_FRAME);
    described(tensors[0].data, tensors[0].byte_length, cut, 0, n);
    described(tensors[1].data, tensors[1].byte_length, cut, 0, 1);
    OK(ortshard_batch_sample(backs, tensors, NULL, 2, ids, statuses));
    CHECK(ids[0] == first_id);
    /* One that is refused leaves the other to go on. */
    OK(ortshard_request_truncate(backs[1], 0));
    CHECK(ortshard_batch_sample(backs, tensors, NULL, 2, ids, statuses) == ORTSHARD_ERROR_INVALID_STATE);
    CHECK(statuses[0] == ORTSHARD_ERROR_INVALID_STATE && statuses[1] == ORTSHARD_OK);
    for (int i = 0; i < 2; i++) {
        ortshard_request_free(fronts[i]);
        ortshard_request_free(backs[i]);
    }
}

/* What a type cannot hold is refused where that is wanted, in every call, and nothing has been run then. */
static void beyond(void)
{
    if (layers() < 3 || boundary_behind(1).part_count > 1) return;
    ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
    options.output = ORTSHARD_OUTPUT_FRAME;
    options.hidden_dtype = ORTSHARD_DTYPE_F16;
    options.refuse_beyond = 1;
    ortshard_shard *middle = load(1, 1);
    ortshard_shard_info info = ORTSHARD_SHARD_INFO_INIT;
    ortshard_request *request;
    ortshard_status status;
    OK(ortshard_shard_get_info(middle, &info));
    CHECK(info.input_parts == 1 && info.output_parts == 1);
    size_t count = 2 * (size_t)info.hidden_size;
    float *states = malloc(count * sizeof *states);
    CHECK(states != NULL);
    for (size_t i = 0; i < count; i++) states[i] = i < count / 2 ? 0.5f : -1e6f;
    ortshard_tensor input = {ORTSHARD_DTYPE_F32, 2, {2, info.hidden_size}, states, count * sizeof *states}, output;
    for (int output_kind = ORTSHARD_OUTPUT_TENSOR; output_kind <= ORTSHARD_OUTPUT_PIECES; output_kind++) {
        uint64_t position;
        options.output = output_kind;
        OK(ortshard_request_create(middle, &options, &request));
        FAILS(OUT_OF_RANGE, "in row 1", ortshard_request_infer(request, &input, 0, &output));
        CHECK(output.data == NULL);
        FAILS(OUT_OF_RANGE, "float16", ortshard_chain_infer(&request, 1, &input, 0, &output));
        FAILS(OUT_OF_RANGE, "hidden_states", ortshard_batch_infer(&request, &input, NULL, 1, &output, &status));
        OK(ortshard_request_position(request, &position));
        CHECK(status == ORTSHARD_ERROR_OUT_OF_RANGE && position == 0);
        /* One row of them is as any other. */
        input.shape[0] = 1;
        input.byte_length /= 2;
        OK(ortshard_chain_infer(&request, 1, &input, 0, &output));
        CHECK(output.dtype == (output_kind == ORTSHARD_OUTPUT_TENSOR ? ORTSHARD_DTYPE_F16 : ORTSHARD_DTYPE_FRAME));
        input.shape[0] = 2;
        input.byte_length *= 2;
        ortshard_request_free(request);
    }
    free(states);
    ortshard_shard_free(middle);
}

/* The model's folder is the argument, or that of all tests. */
int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) CHECK(setenv("TEST_MODEL", argv[1], 1) == 0);
    int64_t prompt[MOST], piped[TOKENS], sent[TOKENS], wanted[TOKENS];
    size_t n = ids_of("TEST_PROMPT", prompt);
    uint32_t cut = 0;
    /* Before anything is loaded: threads do not survive a fork. */
    start_piped(cut);
    start_listening(cut, n + TOKENS - 1);
    through_a_pipe(cut, prompt, n, piped);
    through_a_socket(cut, prompt, n, sent);

    ortshard_request *whole = request_for(0, ORTSHARD_LAST_LAYER, ORTSHARD_OUTPUT_FRAME);
    greedy(&whole, 1, prompt, n, wanted, TOKENS);
    ortshard_request_free(whole);
    CHECK(memcmp(piped, wanted, sizeof wanted) == 0);
    CHECK(memcmp(sent, wanted, sizeof wanted) == 0);
    in_one_process(cut, prompt, n);
    many_at_once(cut, prompt, n, wanted[0]);
    beyond();
    return 0;
}
