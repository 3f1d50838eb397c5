/* A host that uses CUDA itself is left alone: its memory keeps what it wrote, its context stays current, and its calls
 * on another thread go on while shards come and run. Off CUDA there is nothing to be a host of, and the threads copy
 * nothing. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "model.h"

enum { WORDS = 1 << 20 };

typedef unsigned long long address;

/* What of the CUDA driver's interface is used here; every function returns 0 when all is well. */
static struct {
    int (*init)(unsigned flags);
    int (*device)(int *device, int index);
    int (*retain)(void **context, int device);
    int (*release)(int device);
    int (*set_current)(void *context);
    int (*get_current)(void **context);
    int (*allocate)(address *at, size_t bytes);
    int (*release_memory)(address at);
    int (*write)(address to, const void *from, size_t bytes);
    int (*read)(void *to, address from, size_t bytes);
} cuda;

static void *context;
static atomic_int stop;

static void *symbol(void *driver, const char *name)
{
    void *found = dlsym(driver, name);
    check_(found != NULL, name, "libcuda.so.1", 0);
    return found;
}

/* The driver, with the first context that every user of the CUDA runtime in a process shares. */
static void begin(int index)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    CHECK(driver != NULL);
    /* ISO C has no cast from an object's address to a function's; POSIX has this. */
    *(void **)&cuda.init = symbol(driver, "cuInit");
    *(void **)&cuda.device = symbol(driver, "cuDeviceGet");
    *(void **)&cuda.retain = symbol(driver, "cuDevicePrimaryCtxRetain");
    *(void **)&cuda.release = symbol(driver, "cuDevicePrimaryCtxRelease_v2");
    *(void **)&cuda.set_current = symbol(driver, "cuCtxSetCurrent");
    *(void **)&cuda.get_current = symbol(driver, "cuCtxGetCurrent");
    *(void **)&cuda.allocate = symbol(driver, "cuMemAlloc_v2");
    *(void **)&cuda.release_memory = symbol(driver, "cuMemFree_v2");
    *(void **)&cuda.write = symbol(driver, "cuMemcpyHtoD_v2");
    *(void **)&cuda.read = symbol(driver, "cuMemcpyDtoH_v2");
    int device;
    CHECK(cuda.init(0) == 0 && cuda.device(&device, index) == 0);
    CHECK(cuda.retain(&context, device) == 0 && cuda.set_current(context) == 0);
}

static void fill(uint32_t *words, uint32_t seed)
{
    for (uint32_t i = 0; i < WORDS; i++) words[i] = seed + i * UINT32_C(2654435761);
}

/* Writes to memory of its own and reads it back, until told to stop. */
static void *copies(void *rounds)
{
    uint32_t *out = malloc(WORDS * sizeof *out), *in = malloc(WORDS * sizeof *in);
    address memory;
    CHECK(out != NULL && in != NULL && cuda.set_current(context) == 0);
    CHECK(cuda.allocate(&memory, WORDS * sizeof *out) == 0);
    for (uint32_t round = 0; !stop; round++) {
        fill(out, round);
        CHECK(cuda.write(memory, out, WORDS * sizeof *out) == 0);
        CHECK(cuda.read(in, memory, WORDS * sizeof *in) == 0);
        CHECK(memcmp(in, out, WORDS * sizeof *in) == 0);
        *(uint32_t *)rounds = round + 1;
    }
    CHECK(cuda.release_memory(memory) == 0);
    free(in);
    free(out);
    return NULL;
}

int main(void)
{
    ortshard_engine_options options = on_device();
    int on_cuda = options.device == ORTSHARD_DEVICE_CUDA;
    static uint32_t wanted[WORDS], found[WORDS];
    address memory = 0;
    pthread_t thread;
    uint32_t rounds = 0;
    fill(wanted, 7);
    if (on_cuda) {
        begin((int)options.device_index);
        CHECK(cuda.allocate(&memory, sizeof wanted) == 0 && cuda.write(memory, wanted, sizeof wanted) == 0);
        CHECK(pthread_create(&thread, NULL, copies, &rounds) == 0);
    }

    int64_t prompt[MOST], golden[MOST], ids[8];
    size_t n = ids_of("TEST_PROMPT", prompt);
    ids_of("TEST_GREEDY", golden);
    for (int turn = 0; turn < 3; turn++) {
        ortshard_shard *shard = load(0, ORTSHARD_LAST_LAYER);
        ortshard_request *request = request_on(shard);
        greedy(&request, 1, prompt, n, ids, 8);
        CHECK(memcmp(ids, golden, sizeof ids) == 0);
        ortshard_request_free(request);
        ortshard_shard_free(shard);
        if (on_cuda) {
            void *current;
            CHECK(cuda.get_current(&current) == 0 && current == context);
        }
    }

    if (on_cuda) {
        stop = 1;
        CHECK(pthread_join(thread, NULL) == 0 && rounds > 0);
        CHECK(cuda.read(found, memory, sizeof found) == 0 && memcmp(found, wanted, sizeof wanted) == 0);
        CHECK(cuda.release_memory(memory) == 0 && cuda.release((int)options.device_index) == 0);
    }
    return 0;
}
