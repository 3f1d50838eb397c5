/*
 * ortshard - run any contiguous range of a language model's layers on ONNX Runtime
 *
 * A model is a folder as Hugging Face publishes it: config.json, safetensors and, for text, tokenizer.json. A SHARD is
 * a range of its layers, the last one included. The shard at layer 0 takes token ids, the one at the last layer gives
 * logits, and between shards travel hidden states: floats that a program may also send to another process or machine,
 * as frames, which say whose they are.
 * However a model is cut, it computes the same bits as the whole.
 *
 * A COMPLETE PROGRAM
 *
 * Continues a sequence of token ids by 20 more:
 *
 *     #include <inttypes.h>
 *     #include <stdio.h>
 *     #include "ortshard.h"
 *
 *     int main(int argc, char **argv)
 *     {
 *         ortshard_engine *engine = NULL;
 *         ortshard_shard *shard = NULL;
 *         ortshard_request *request = NULL;
 *         ortshard_sampler *sampler = NULL;
 *         ortshard_shard_spec spec = ORTSHARD_SHARD_SPEC_INIT;  // all layers
 *         spec.model = argc > 1 ? argv[1] : ".";
 *
 *         int failed = ortshard_engine_create(NULL, &engine)
 *             || ortshard_engine_ensure_shard(engine, &spec, NULL, NULL, &shard)
 *             || ortshard_request_create(shard, NULL, &request)
 *             || ortshard_sampler_create(NULL, &sampler);
 *         int64_t ids[3] = {1, 15, 27};
 *         size_t count = 3;
 *         for (int i = 0; i < 20 && !failed; i++, count = 1) {
 *             failed = ortshard_request_sample(request, ids, count, sampler, ids);
 *             if (!failed) printf("%" PRId64 " ", ids[0]);
 *         }
 *         if (failed) fprintf(stderr, "%s\n", ortshard_last_error());
 *
 *         ortshard_sampler_free(sampler);
 *         ortshard_request_free(request);
 *         ortshard_shard_free(shard);
 *         ortshard_engine_free(engine);
 *         return failed;
 *     }
 *
 * With text: Generation, below, and examples/generate.c. With several shards: examples/two_shards.c.
 *
 * CONTENTS (before each name ortshard_; without the functions that initialise structs)
 *
@CONTENTS@
 *
 * CONVENTIONS
 *
 *   Names       The object comes first: ortshard_request_infer() is a request's. ..._get_x() fills a struct
 *               ortshard_..._x; a function of any other name gives numbers, texts or handles. `count` is a number of
 *               elements, `size` a number of bytes, `capacity` the room there is, of elements or, where they are chars
 *               or void, of bytes.
 *   Errors      Functions that can fail return an ortshard_status: 0 (ORTSHARD_OK) or an ORTSHARD_ERROR_*, shortened to
 *               its last part in the lists of errors below. ortshard_last_error() then tells this thread, and
 *               ortshard_error_message() any other, what went wrong. A call that fails has done nothing: its outputs
 *               are NULL or zero or were not written, and its object is as it was before. One thing only is gone: the
 *               output that a request gave last, after a run of it that failed.
 *
 *               Any function may return these, which the lists do not repeat: NULL_ARGUMENT; INVALID_ARGUMENT for a
 *               handle of another kind or that was freed, a struct_size that is none, a value that is none of the
 *               constants, or a count of more values than memory can hold; INVALID_UTF8; VERSION_MISMATCH;
 *               INVALID_STATE where the object is in use by another call or by a generation, where the call comes
 *               from a callback of a call that it would wait for, or when the process ends; INTERNAL; PANIC.
 *   Arguments   The object comes first, then inputs, then outputs. Every pointer is checked for NULL, every constant
 *               for being one, and every handle for being of the right kind and not freed. `int32_t` switches are off
 *               at 0 and on at anything else.
 *   Constants   Are enums, and where they are passed int32_t, so that their size is no compiler's choice. Values never
 *               change.
 *   Ownership   What a function gives through `ortshard_x **` is freed with ortshard_x_free(). The order does not
 *               matter, and NULL is ignored. What you pass in is read during the call only, but for callbacks that are
 *               called later and their `user_data`: each says how long it must live.
 *   Threads     A function that takes `const ortshard_x *` may be called on one object from many threads at once. One
 *               that takes `ortshard_x *` needs the object for itself; a second call at the same time returns
 *               INVALID_STATE. Different objects never disturb each other. What is freed while a call on it runs goes
 *               when the call ends. 256 KiB of stack are enough for any call.
 *   Strings     UTF-8 and NUL-terminated, in and out. A buffer's capacity and `*needed` count the NUL.
 *   Arrays out  Come as (buffer, capacity, *needed). `*needed` tells the size of the whole answer; if the capacity is
 *               less, nothing is written and the status is BUFFER_TOO_SMALL. To ask for the size: NULL and 0, which is
 *               OK.
 *   Structs     Those that may grow begin with struct_size. Initialise them with their ..._INIT, or ..._init() in
 *               languages without macros: that sets it and the defaults, and the library then knows which fields the
 *               program was compiled with. NULL options are the defaults. Structs to be filled need struct_size, too.
 *   Callbacks   End in `void *user_data`, which is passed on as it is.
 *   Crashes     A bug in the library that would crash comes back as ORTSHARD_ERROR_PANIC instead.
 *   Exit        exit() may be called at any time, also from callbacks and while other threads are in calls. Once a
 *               handler of this library runs, calls that need ONNX Runtime return INVALID_STATE, and runs and loads in
 *               progress are stopped (they return CANCELLED or INVALID_STATE); it waits for them for up to 10 seconds.
 *               Static destructors and handlers of atexit() may use this library, and free its objects, under the same
 *               rule. Only while another thread is in the call that loads ONNX Runtime, the first that needs it, the
 *               process must not end: call ortshard_runtime_load() before starting threads.
 *   Bindings    Programs that read headers take this one as it is (bindgen, ctypesgen, cgo), or (cffi, LuaJIT) as
 *               `cpp -P -DORTSHARD_DECLARATIONS_ONLY ortshard.h` leaves it: declarations and nothing else.
 *               ortshard.json beside it has constants, structs with the places of their fields, and functions.
 *   ABI         docs/abi.md says what will not change. A program compiled with this header runs with every later
 *               library of the same ORTSHARD_ABI_VERSION.
 *
 * WHAT MUST NOT BE DONE
 *
 *   - Leaving a callback by longjmp() or a C++ exception: the first leaves the call's locks held, the second ends the
 *     process. (A thread that is cancelled with pthread_cancel() in a call ends after the call.)
 *   - Using what a handle lent longer than its function says: output->data until the request's next run, a stream's
 *     text until the stream's next call, what a step gives until the generation's next call, and nothing after the
 *     handle was freed.
 *   - Giving a function a pointer that is no handle, or memory that is shorter than its size says.
 *   - Changing or cutting files of a model that is in use. Replacing them by rename() is fine.
 *   - Linking against a fully static C library (-static): ONNX Runtime is loaded with dlopen().
 *
 * Nothing is hidden: no network, no telemetry, no fall-back to another device without a word in the log, no truncation.
 */

#ifndef ORTSHARD_H
#define ORTSHARD_H

#ifdef ORTSHARD_DECLARATIONS_ONLY
#define ORTSHARD_API
#define ORTSHARD_NODISCARD
#else
#include <stddef.h>
#include <stdint.h>

/* Where functions come from. Define ORTSHARD_STATIC to link the static library on Windows. */
#ifndef ORTSHARD_API
#if defined(_WIN32) && !defined(ORTSHARD_STATIC)
#define ORTSHARD_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define ORTSHARD_API __attribute__((__visibility__("default")))
#else
#define ORTSHARD_API
#endif
#endif

/* A status that nobody looks at is a warning. Define ORTSHARD_NODISCARD as nothing to have none. */
#ifndef ORTSHARD_NODISCARD
#if (defined(__cplusplus) && __cplusplus >= 201703L) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define ORTSHARD_NODISCARD [[nodiscard]]
#elif defined(__GNUC__)
#define ORTSHARD_NODISCARD __attribute__((__warn_unused_result__))
#else
#define ORTSHARD_NODISCARD
#endif
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif
