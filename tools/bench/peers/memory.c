/* How fast threads together read memory, as a limit for engines that read all weights for each token: each walks eight
 * parts of its share of the mapped weight file side by side, since a processor reads several streams faster than one.
 * It reads the file's own pages because on some machines the speed depends on where in memory pages lie. */

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 8, STEP = 32, MAX_THREADS = 1024 };

typedef struct {
    const uint64_t *words;
    size_t stream; /* words of each of the streams */
    double seconds;
    double bytes;
    uint64_t sum;
    pthread_barrier_t *start;
} reader;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static uint64_t read_once(const uint64_t *words, size_t stream)
{
    uint64_t sums[STEP] = {0}, sum = 0;
    for (size_t at = 0; at < stream; at += STEP)
        for (size_t s = 0; s < STREAMS; s++)
            for (size_t i = 0; i < STEP; i++)
                sums[i] += words[s * stream + at + i];
    for (size_t i = 0; i < STEP; i++)
        sum += sums[i];
    return sum;
}

static void *run(void *argument)
{
    reader *r = argument;
    r->sum = read_once(r->words, r->stream); /* maps the pages */
    pthread_barrier_wait(r->start);
    double begin = now(), end = begin;
    while (end - begin < r->seconds) {
        r->sum += read_once(r->words, r->stream);
        r->bytes += (double)(STREAMS * r->stream * sizeof *r->words);
        end = now();
    }
    r->seconds = end - begin;
    return NULL;
}

/* Bytes per second that `threads` threads together read from the file at `path`, in about `seconds`; 0 if it cannot be
 * mapped, is too small, or for too many threads. */
double read_bandwidth(const char *path, int threads, double seconds)
{
    static reader readers[MAX_THREADS];
    static pthread_t handles[MAX_THREADS];
    struct stat info;
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info) || threads < 1 || threads > MAX_THREADS)
        return 0;
    const uint64_t *words = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, file, 0);
    size_t steps = (size_t)info.st_size / sizeof *words / (size_t)threads / STREAMS / STEP;
    if (words == MAP_FAILED || steps == 0)
        return 0;
    /* An odd number: streams that lie a power of two apart would fight for the same lines of the caches. */
    size_t stream = (steps - (steps % 2 == 0)) * STEP;

    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        const uint64_t *share = words + (size_t)i * STREAMS * stream;
        readers[i] = (reader){.words = share, .stream = stream, .seconds = seconds, .start = &start};
        if (pthread_create(&handles[i], NULL, run, &readers[i]))
            exit(1); /* the others wait for it */
    }
    double total = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(handles[i], NULL);
        total += readers[i].bytes / readers[i].seconds;
    }
    pthread_barrier_destroy(&start);
    munmap((void *)words, (size_t)info.st_size);
    close(file);
    return total;
}
