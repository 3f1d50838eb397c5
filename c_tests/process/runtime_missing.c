/* A library that cannot be used is named with the reason, and afterwards a good one loads. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static ortshard_status load(const char *library)
{
    ortshard_runtime_options options = ORTSHARD_RUNTIME_OPTIONS_INIT;
    options.library = library;
    options.threads = 2;
    return ortshard_runtime_load(&options);
}

int main(void)
{
    ortshard_runtime_info runtime = ORTSHARD_RUNTIME_INFO_INIT;
    FAILS(INVALID_STATE, "no ONNX Runtime", ortshard_runtime_get_info(&runtime));
    CHECK(runtime.version == NULL);

    FAILS(ONNXRUNTIME_NOT_FOUND, "/nonexistent/libonnxruntime.so", load("/nonexistent/libonnxruntime.so"));
    FAILS(ONNXRUNTIME_NOT_FOUND, "Cargo.toml", load(join(setting("TEST_ROOT"), "Cargo.toml")));
    FAILS(ONNXRUNTIME_NOT_FOUND, "OrtGetApiBase", load(setting("TEST_OTHER_LIBRARY")));
    FAILS(INVALID_ARGUMENT, "options->library is empty", load(""));
    /* What would wait to be opened is not opened. */
    const char *fifo = join(setting("TEST_FOLDER"), "libfifo.so");
    (void)unlink(fifo);
    CHECK(mkfifo(fifo, 0600) == 0);
    FAILS(ONNXRUNTIME_NOT_FOUND, "no regular file", load(fifo));
    FAILS(ONNXRUNTIME_NOT_FOUND, "no regular file", load("/dev/null"));
    FAILS(ONNXRUNTIME_NOT_FOUND, "holds no libonnxruntime", load(setting("TEST_FOLDER")));
    FAILS(ONNXRUNTIME_NOT_FOUND, "no-such-onnxruntime.so", load("no-such-onnxruntime.so")); /* looked for by the system */
    FAILS(INVALID_STATE, "no ONNX Runtime", ortshard_runtime_get_info(&runtime));

    /* A folder like that of Python's package, and a file in it that is none. */
    const char *folder = join(setting("TEST_FOLDER"), "capi");
    const char *older = join(folder, "libonnxruntime.so.1.22.0"), *newer = join(folder, "libonnxruntime.so.1.31.1");
    (void)mkdir(folder, 0700);
    (void)unlink(older);
    (void)unlink(newer);
    CHECK(symlink(join(setting("TEST_ROOT"), "Cargo.toml"), older) == 0);
    FAILS(ONNXRUNTIME_NOT_FOUND, "libonnxruntime.so.1.22.0", load(folder));
    CHECK(symlink(setting("ORTSHARD_ONNXRUNTIME"), newer) == 0);
    OK(load(folder));
    OK(load(folder));
    OK(ortshard_runtime_get_info(&runtime));
    CHECK(strncmp(runtime.version, "1.", 2) == 0 && strstr(runtime.path, "onnxruntime") != NULL);
    CHECK(runtime.threads == 2);

    /* There is one in a process: the same again is fine, another is not. */
    OK(load(setting("ORTSHARD_ONNXRUNTIME")));
    OK(ortshard_runtime_load(NULL));
    FAILS(INVALID_STATE, "already", load("/nonexistent/libonnxruntime.so"));
    ortshard_runtime_options options = ORTSHARD_RUNTIME_OPTIONS_INIT;
    options.threads = 3;
    FAILS(INVALID_STATE, "2 threads", ortshard_runtime_load(&options));
    return 0;
}
