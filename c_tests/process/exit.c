/* A process ends as it should, and soon, while other threads are in calls, from callbacks, and in handlers that run at
 * exit. Without arguments the program runs itself in each way, many times, at other moments. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "model.h"

enum { LONGEST_S = 5 };

static atomic_int busy;
static ortshard_engine *engine;
static ortshard_request *request;
static ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;
static int64_t ids[64];

static ortshard_engine *create(int stock)
{
    ortshard_engine_options options = on_device();
    if (stock) options.stock_operators = 1;
    ortshard_engine *created;
    OK(ortshard_engine_create(&options, &created));
    return created;
}

/* A shard of `engine`. Older releases of ONNX Runtime cannot run one in stock operators: then there is nothing to see. */
static ortshard_shard *loaded(void)
{
    ortshard_shard *shard;
    ortshard_status status = ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard);
    if (status == ORTSHARD_ERROR_UNSUPPORTED) exit(0);
    CHECK(status == ORTSHARD_OK);
    return shard;
}

/* Whether a call went well, or is refused as calls are once the process ends. */
static int as_at_the_end(ortshard_status status)
{
    int is = status == ORTSHARD_OK || status == ORTSHARD_ERROR_CANCELLED || status == ORTSHARD_ERROR_INVALID_STATE;
    if (!is) fprintf(stderr, "%s: %s\n", ortshard_status_name(status), ortshard_last_error());
    if (!is) _exit(1);
    return status == ORTSHARD_OK;
}

static void *infer(void *nothing)
{
    ortshard_tensor prompt = ids_tensor(ids, 64), one = ids_tensor(ids, 1), output;
    for (;; busy++) {
        OK(ortshard_request_truncate(request, 0));
        as_at_the_end(ortshard_request_infer(request, &prompt, ORTSHARD_LOGITS_ALL, &output));
        as_at_the_end(ortshard_request_infer(request, &one, ORTSHARD_LOGITS_LAST, &output));
    }
    return nothing;
}

static void *load_and_clear(void *stock)
{
    ortshard_engine *own = create(*(int *)stock);
    for (;; busy++) {
        ortshard_shard *shard;
        ortshard_request *on = NULL;
        if (as_at_the_end(ortshard_engine_ensure_shard(own, &spec, NULL, NULL, &shard)))
            as_at_the_end(ortshard_request_create(shard, NULL, &on));
        ortshard_request_free(on);
        ortshard_shard_free(shard);
        as_at_the_end(ortshard_engine_clear(own));
    }
    return NULL;
}

static void start(void *(*work)(void *), void *argument)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, work, argument) == 0);
}

static void nap(long microseconds)
{
    nanosleep(&(struct timespec){microseconds / 1000000, microseconds % 1000000 * 1000}, NULL);
}

static void wait_until_busy(void)
{
    while (busy < 2) nap(100);
}

/* What a static object of C++ does when it is destroyed: registered before the library is loaded, it comes after its end. */
static void use_at_exit(void)
{
    ortshard_tensor input = ids_tensor(ids, 2), output;
    ortshard_shard *shard = NULL;
    ortshard_engine *another;
    if (engine == NULL) engine = create(1);
    as_at_the_end(ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard));
    if (request == NULL && shard != NULL) as_at_the_end(ortshard_request_create(shard, NULL, &request));
    if (request != NULL) as_at_the_end(ortshard_request_infer(request, &input, 0, &output));
    if (as_at_the_end(ortshard_engine_create(NULL, &another))) ortshard_engine_free(another);
    ortshard_request_free(request);
    ortshard_shard_free(shard);
    ortshard_engine_free(engine);
}

static void use_at_exit_after(void)
{
    ortshard_tensor input = ids_tensor(ids, 2), output;
    as_at_the_end(ortshard_request_infer(request, &input, 0, &output));
}

static int32_t exit_at(const ortshard_progress *progress, void *stage)
{
    if (progress->stage == *(int *)stage) exit(0);
    return 0;
}

static void exit_in_message(int32_t level, const char *target, const char *message, void *user_data)
{
    (void)level, (void)target, (void)message, (void)user_data;
    static atomic_flag left = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&left)) exit(0); /* C allows one call of it */
}

/* Another copy of the library, unloaded in the middle of things. */
static void unload(long delay)
{
    void *library = dlopen(setting("TEST_OTHER_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    ortshard_status (*create_engine)(const ortshard_engine_options *, ortshard_engine **);
    ortshard_status (*ensure)(const ortshard_engine *, const ortshard_shard_spec *, ortshard_progress_callback, void *,
                              ortshard_shard **);
    *(void **)&create_engine = dlsym(library, "ortshard_engine_create");
    *(void **)&ensure = dlsym(library, "ortshard_engine_ensure_shard");
    CHECK(create_engine != NULL && ensure != NULL);
    ortshard_engine_options options = on_device();
    ortshard_shard *shard;
    options.stock_operators = 1;
    OK(create_engine(&options, &engine));
    CHECK(as_at_the_end(ensure(engine, &spec, NULL, NULL, &shard)));
    CHECK(dlclose(library) == 0);
    nap(delay);
}

static int run(const char *way, long delay)
{
    static int stock = 1, own = 0;
    for (int i = 0; i < 64; i++) ids[i] = 1 + i % 8;
    if (strcmp(way, "first-at-exit") != 0 && strcmp(way, "at-exit") != 0 && strcmp(way, "unload") != 0)
        OK(ortshard_runtime_load(NULL));
    if (strcmp(way, "unload") == 0) {
        unload(delay);
    } else if (strcmp(way, "first-at-exit") == 0) {
        atexit(use_at_exit);
    } else if (strcmp(way, "at-exit") == 0) {
        atexit(use_at_exit);
        engine = create(1);
        request = request_on(loaded());
        atexit(use_at_exit_after);
    } else if (strcmp(way, "progress") == 0) {
        int stage = 1 + (int)(delay / 100 % 6);
        ortshard_shard *shard;
        start(load_and_clear, &stock);
        engine = create(1);
        OK(ortshard_engine_ensure_shard(engine, &spec, exit_at, &stage, &shard)); /* Stage 4 does not come. */
    } else if (strcmp(way, "message") == 0) {
        start(load_and_clear, &stock);
        wait_until_busy();
        engine = create(1);
        ortshard_shard_spec missing = ORTSHARD_SHARD_SPEC_INIT;
        missing.model = "/nonexistent";
        OK(ortshard_log_set_callback(ORTSHARD_LOG_DEBUG, exit_in_message, NULL));
        ortshard_shard *shard;
        EITHER_WAY(ortshard_engine_ensure_shard(engine, &missing, NULL, NULL, &shard));
        CHECK(!"the callback has ended the process");
    } else if (strcmp(way, "load") == 0 || strcmp(way, "loads") == 0) {
        start(load_and_clear, &stock);
        if (strcmp(way, "loads") == 0) start(load_and_clear, &own);
        if (delay % 3 != 0) wait_until_busy();
        nap(delay);
    } else {
        engine = create(strcmp(way, "infer") == 0 || strcmp(way, "fork") == 0);
        request = request_on(loaded());
        start(infer, NULL);
        wait_until_busy();
        nap(delay);
        if (strcmp(way, "fork") == 0) {
            int status;
            pid_t child = fork();
            if (child == 0) exit(0);
            CHECK(waitpid(child, &status, 0) == child && status == 0);
        }
    }
    exit(0);
}

int main(int argc, char **argv)
{
    static const char *const WAYS[] = {"infer",   "own-operators", "load",     "loads",   "at-exit", "first-at-exit",
                                       "unload",  "progress",      "message",  "fork"};
    spec.model = setting("TEST_MODEL");
    if (argc > 2) return run(argv[1], strtol(argv[2], NULL, 10));

    /* What the end leaves to the system are no leaks. */
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    const char *exits = getenv("TEST_EXITS");
    int times = exits != NULL ? atoi(exits) : 2;
    for (size_t way = 0; way < sizeof WAYS / sizeof *WAYS; way++) {
        for (int i = 0; i < times; i++) {
            char delay[32];
            int status;
            time_t begin = time(NULL);
            snprintf(delay, sizeof delay, "%d", i * 137 % 20000);
            pid_t child = fork();
            if (child == 0) {
                execl(argv[0], argv[0], WAYS[way], delay, (char *)NULL);
                _exit(9);
            }
            CHECK(child > 0 && waitpid(child, &status, 0) == child);
            if (status == 0 && time(NULL) - begin <= LONGEST_S) continue;
            fprintf(stderr, "%s %s: status %x after %ld s\n", WAYS[way], delay, status, (long)(time(NULL) - begin));
            return 1;
        }
    }
    return 0;
}
