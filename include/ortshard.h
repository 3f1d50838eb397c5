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
 *   Version                version abi_version
 *   Statuses               status_name
 *   Error messages         last_error error_message error_get_oom
 *   Objects
 *   Constants of many functions
 *   Engine and shard spec  engine_create engine_free engine_ensure_shard engine_current_shard engine_clear
 *                          engine_clear_pack_cache
 *   Shard                  shard_retain shard_free shard_get_info shard_export_onnx
 *   Tensor
 *   Request                request_create request_free request_logits request_sample request_infer request_infer_into
 *                          request_position request_capacity request_truncate request_cancel request_clear_cancel
 *   Sampler                sampler_create sampler_free sampler_accept sampler_sample sampler_reset
 *   Tokenizer              tokenizer_open tokenizer_free tokenizer_encode tokenizer_decode tokenizer_vocab_size
 *                          tokenizer_bos tokenizer_pad tokenizer_eos tokenizer_is_eos tokenizer_encode_texts
 *                          tokenizer_encode_with_ranges tokenizer_token_to_id tokenizer_id_to_token
 *                          tokenizer_token_bytes tokenizer_is_special
 *   Text stream            text_stream_create text_stream_free text_stream_push text_stream_finish
 *   Chat                   tokenizer_apply_chat_template tokenizer_chat_text tokenizer_chat_ids
 *   Chat parser            chat_parser_create chat_parser_free chat_parser_push chat_parser_finish chat_parser_next
 *                          chat_parser_message
 *   Constraint             constraint_create constraint_free constraint_clone constraint_mask constraint_advance
 *                          constraint_known_ids
 *   Generation             generation_create generation_open generation_free generation_append_text
 *                          generation_append_ids generation_logits generation_cancel generation_prefill
 *                          generation_step generation_step_batch generation_run generation_create_remote
 *                          generation_pending generation_candidates generation_step_with generation_fork
 *                          generation_export_state generation_import_state
 *   Chain                  chain_infer chain_sample
 *   Batch                  batch_infer batch_sample
 *   Frame                  frame_size frame_get_info frame_get_part request_frame_pieces
 *   Model folders          model_get_info model_eos model_get_sampler_options
 *   Models of specs        engine_get_model_info engine_model_eos engine_get_sampler_options engine_open_tokenizer
 *   Boundary               model_get_boundary engine_get_boundary
 *   Request state          request_fork request_export_state request_export_state_since request_import_state
 *   Checkpoints            engine_load_checkpoint engine_save_checkpoint
 *   Memory estimate        engine_get_estimate
 *   Plan                   engine_plan
 *   Files of a shard       engine_audit_files
 *   Counters               engine_get_stats
 *   ONNX Runtime           runtime_load runtime_get_info
 *   Devices                device_count device_get_info
 *   Log                    log_set_callback
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

/* ==================================================================================================================
 * Version
 *
 * The library's version and the ABI's are two numbers. A program compiled with this header works with every later
 * library of the same ABI version. A cautious program checks once, at start:
 *
 *     if (ortshard_abi_version() != ORTSHARD_ABI_VERSION) { ... wrong library ... }
 * ================================================================================================================== */

/** The library version of this header: the first number of 1.2.3. */
#define ORTSHARD_VERSION_MAJOR 0

/** The second number of 1.2.3. */
#define ORTSHARD_VERSION_MINOR 1

/** The third number of 1.2.3. */
#define ORTSHARD_VERSION_PATCH 0

/** The ABI version of this header. It changes only if a program compiled before could no longer work. */
#define ORTSHARD_ABI_VERSION 0

/**
 * The version of the library that is running, such as "0.1.0".
 *
 * Never NULL, never to be freed. Threads: any.
 */
ORTSHARD_API
const char *ortshard_version(void);

/** The ABI version of the library that is running. Threads: any. */
ORTSHARD_API
uint32_t ortshard_abi_version(void);

/* ==================================================================================================================
 * Statuses
 *
 * Almost every function returns one. Zero is success; the hundreds group the errors. A value never changes its
 * meaning and is never used again; new ones may appear, so treat an unknown value as an error of its group.
 * ================================================================================================================== */

/** The outcome of a call: ORTSHARD_OK or one of ORTSHARD_ERROR_*. */
typedef int32_t ortshard_status;

/** What an ortshard_status can be. */
enum ortshard_status_code {
    /** The call did what it says. */
    ORTSHARD_OK = 0,
    /** A pointer that must not be NULL is NULL. The message names the parameter. */
    ORTSHARD_ERROR_NULL_ARGUMENT = 101,
    /** An argument or option has a value that is not allowed. */
    ORTSHARD_ERROR_INVALID_ARGUMENT = 102,
    /** A string is not UTF-8. */
    ORTSHARD_ERROR_INVALID_UTF8 = 103,
    /** An index, token id, layer or position lies outside its range. */
    ORTSHARD_ERROR_OUT_OF_RANGE = 104,
    /** A buffer cannot hold the answer. Nothing was written to it; the size it needs was. */
    ORTSHARD_ERROR_BUFFER_TOO_SMALL = 105,
    /** A struct uses a field that this version of the library does not know. */
    ORTSHARD_ERROR_VERSION_MISMATCH = 106,
    /** A file, folder or tensor does not exist. */
    ORTSHARD_ERROR_NOT_FOUND = 201,
    /** Reading, writing or mapping a file failed. */
    ORTSHARD_ERROR_IO = 202,
    /** A file's content breaks its own format or contradicts another file. */
    ORTSHARD_ERROR_MALFORMED = 203,
    /** The input is well formed, but this library cannot run it. */
    ORTSHARD_ERROR_UNSUPPORTED = 204,
    /** The network would be needed, and is not to be used. */
    ORTSHARD_ERROR_OFFLINE = 205,
    /** A file does not have the hash it should. */
    ORTSHARD_ERROR_HASH_MISMATCH = 206,
    /** The call does not fit the object's present state; also: the object is in use by another thread right now. */
    ORTSHARD_ERROR_INVALID_STATE = 301,
    /** The shard behind this request was replaced or cleared. */
    ORTSHARD_ERROR_STALE_SHARD = 302,
    /** The tokens do not fit into the rest of the request's capacity. */
    ORTSHARD_ERROR_CONTEXT_FULL = 303,
    /** The work was cancelled, by ortshard_request_cancel() or by a callback that did not return 0. */
    ORTSHARD_ERROR_CANCELLED = 304,
    /** No usable ONNX Runtime library was found. The message lists what was tried. */
    ORTSHARD_ERROR_ONNXRUNTIME_NOT_FOUND = 401,
    /** ONNX Runtime reported a failure that is none of the others. */
    ORTSHARD_ERROR_ONNXRUNTIME = 402,
    /** Memory ran out; ortshard_error_get_oom() says where. The object is as it was before the call. */
    ORTSHARD_ERROR_OUT_OF_MEMORY = 403,
    /** The device asked for does not exist or cannot be used here. */
    ORTSHARD_ERROR_DEVICE_UNAVAILABLE = 404,
    /** A broken invariant of this library: a bug, please report it. */
    ORTSHARD_ERROR_INTERNAL = 901,
    /** This library crashed inside the call: a bug, please report it. The process goes on; free the object. */
    ORTSHARD_ERROR_PANIC = 902
};

/**
 * The name of a status, such as "ORTSHARD_ERROR_IO"; "unknown status" for a value that is none.
 *
 * Never NULL, never to be freed. Threads: any.
 */
ORTSHARD_API
const char *ortshard_status_name(ortshard_status status);

/* ==================================================================================================================
 * Error messages
 *
 * Messages are for people; they may change, statuses do not. There are two ways to the message of a call that failed:
 *
 *     on the thread that made the call     ortshard_last_error(), or object NULL
 *     on any thread                        ortshard_error_message(object, ...), by the object that the call was on
 *
 * The first is all that C, C++ and Python need, where a call and what follows it stay on one thread. Where a language
 * moves work between threads, such as Node's asynchronous calls and Go's goroutines, its binding takes the second:
 * every object keeps the message of the last call on it that failed, whichever thread made that call. A call on
 * several requests leaves it on each of them; in a batch, on those that failed. Of calls at the same time on one
 * object the last to fail is remembered.
 *
 * Functions that are on no object yet, ortshard_engine_create(), _sampler_create(), _tokenizer_open(), _runtime_load()
 * and those of model folders, have the first way only: a binding calls them, and ortshard_last_error() after them,
 * without giving the thread up in between (in Go, between runtime.LockOSThread() and its counterpart).
 * ================================================================================================================== */

/** Where memory ran out. */
enum ortshard_oom_site {
    /** While a shard was loaded. */
    ORTSHARD_OOM_LOAD = 1,
    /** While a request's KV cache was reserved. */
    ORTSHARD_OOM_KV = 2,
    /** In the middle of a run. */
    ORTSHARD_OOM_RUN = 3
};

/** Where memory ran out, and how much was asked for. */
typedef struct ortshard_oom {
    /** Set to sizeof(ortshard_oom) before the call, for instance by ORTSHARD_OOM_INIT. */
    size_t struct_size;
    /** Which allocation failed: an ORTSHARD_OOM_* constant, of which lists of errors name the last part as the site. */
    int32_t site;
    /** The device whose memory ran out, such as "cpu". */
    char device[28];
    /** Bytes that were asked for; 0 where the failing allocator does not say. */
    uint64_t requested_bytes;
} ortshard_oom;

/** Initialises an ortshard_oom. */
#define ORTSHARD_OOM_INIT { sizeof(ortshard_oom), 0, "", 0 }

/** What ORTSHARD_OOM_INIT does, for languages without macros: `struct_size` is sizeof *oom. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_oom_init(ortshard_oom *oom, size_t struct_size);

/**
 * What went wrong in this thread's last failing call, with every cause below it, as one line of UTF-8.
 *
 * Never NULL; "" if no call of this thread has failed. The text lives until the thread's next failing call; copy it
 * to keep it.
 */
ORTSHARD_API
const char *ortshard_last_error(void);

/**
 * What went wrong in the last failing call on `object`, a handle of any kind; with NULL, in this thread's last failing
 * call. "" if there was none.
 *
 * Writes the text of ortshard_last_error() and a final NUL to `buffer`, which has room for `capacity` bytes, and their
 * number, NUL included, to `*needed`. NULL and 0 ask for the number. Leaves all messages as they are, whatever it
 * returns.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written. Threads: any, also during a call on the object.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_error_message(const void *object, char *buffer, size_t capacity, size_t *needed);

/**
 * Where memory ran out in the last failing call on `object`, or with NULL in this thread's last failing call, if that
 * returned ORTSHARD_ERROR_OUT_OF_MEMORY. Leaves all messages as they are, whatever it returns.
 *
 * Errors: INVALID_STATE if that call failed for another reason. Threads: any, also during a call on the object.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_error_get_oom(const void *object, ortshard_oom *oom);

/* ==================================================================================================================
 * Objects
 *
 * Everything is reached through these handles. Free each one that a function gave you, in any order: what is still
 * needed by another object stays alive until that is freed too. An object that is freed while a call on it is running,
 * also from a callback of that call, goes when the call ends.
 *
 * A handle of another kind, and one that was freed, is ORTSHARD_ERROR_INVALID_ARGUMENT in every function; freeing it
 * does nothing but leave the error and a message in the log. A freed handle is known as such for thousands of handles
 * after it, not for ever: set it to NULL.
 * ================================================================================================================== */

/**
 * Holds at most one shard of a model and replaces it safely.
 *
 * Functions: _create, _free, _ensure_shard, _current_shard, _clear, _clear_pack_cache, _get_stats, _get_model_info,
 * _get_sampler_options, _get_boundary, _model_eos, _open_tokenizer, _audit_files, _get_estimate, _plan,
 * _load_checkpoint, _save_checkpoint.
 */
typedef struct ortshard_engine ortshard_engine;

/**
 * A loaded range of layers. Immutable; any number of requests and threads share it.
 *
 * References are counted: each one that a function gives you, and each that you retain, is freed once.
 *
 * Functions: _retain, _free, _get_info, _export_onnx; ortshard_request_create().
 */
typedef struct ortshard_shard ortshard_shard;

/**
 * A sequence of tokens on a shard: a KV cache and a position in it.
 *
 * Functions: _create, _free, _logits, _sample, _infer, _infer_into, _position, _capacity, _truncate, _cancel,
 * _clear_cancel, _frame_pieces, _fork, _export_state, _export_state_since, _import_state; ortshard_chain_infer() and
 * ortshard_chain_sample() for many shards in a row, ortshard_batch_infer() and ortshard_batch_sample() for many
 * requests at once; ortshard_generation_create().
 */
typedef struct ortshard_request ortshard_request;

/**
 * A rule and a random stream that choose the next token from logits. Needs no model.
 *
 * Functions: _create, _free, _accept, _sample, _reset; ortshard_request_sample(), ortshard_chain_sample(),
 * ortshard_batch_sample().
 */
typedef struct ortshard_sampler ortshard_sampler;

/**
 * Text to token ids and back. Immutable; needs no weights and no shard.
 *
 * Functions: _open, _free, _encode, _encode_texts, _encode_with_ranges, _decode, _vocab_size, _bos, _pad, _eos,
 * _is_eos, _token_to_id, _id_to_token, _token_bytes, _is_special, _apply_chat_template, _chat_text, _chat_ids;
 * ortshard_text_stream_create(), ortshard_constraint_create(), ortshard_chat_parser_create(),
 * ortshard_generation_create(), ortshard_generation_create_remote().
 */
typedef struct ortshard_tokenizer ortshard_tokenizer;

/**
 * Decodes token by token and gives text in whole characters.
 *
 * Functions: _create, _free, _push, _finish.
 */
typedef struct ortshard_text_stream ortshard_text_stream;

/**
 * Parses a model's answer while it is written: content, reasoning and tool calls.
 *
 * Functions: _create, _free, _push, _finish, _next, _message.
 */
typedef struct ortshard_chat_parser ortshard_chat_parser;

/**
 * A text in progress on a whole model, pulled token by token.
 *
 * Functions: _create, _open, _free, _append_text, _append_ids, _prefill, _step, _step_batch, _run, _logits, _cancel,
 * _create_remote, _pending, _candidates, _step_with, _fork, _export_state, _import_state.
 */
typedef struct ortshard_generation ortshard_generation;

/**
 * A grammar, and how far a text has come in it: which tokens may come next.
 *
 * Functions: _create, _free, _clone, _mask, _advance, _known_ids.
 */
typedef struct ortshard_constraint ortshard_constraint;

/* ==================================================================================================================
 * Constants of many functions
 *
 * Constants are enums with values that never change. Parameters and fields that take one are int32_t, whose size no
 * compiler chooses. A value that is none of the constants that a function knows is INVALID_ARGUMENT.
 * ================================================================================================================== */

/** What the elements of tensors, KV caches and weights are. A type has one number, wherever it is named. */
enum ortshard_dtype {
    /** None said: what the option, or the device, takes by itself. */
    ORTSHARD_DTYPE_AUTO = 0,
    /** int32_t. Token ids. */
    ORTSHARD_DTYPE_I32 = 1,
    /** int64_t. Token ids. */
    ORTSHARD_DTYPE_I64 = 2,
    /** float. Hidden states, logits, KV caches and weights. */
    ORTSHARD_DTYPE_F32 = 3,
    /** IEEE half precision. Hidden states, KV caches and weights. */
    ORTSHARD_DTYPE_F16 = 4,
    /** bfloat16. Hidden states and weights. */
    ORTSHARD_DTYPE_BF16 = 5,
    /** 8 bits a value, with scales. KV caches and weights; no tensor of a call. */
    ORTSHARD_DTYPE_INT8 = 16,
    /** 4 bits a value, with scales. Weights; no tensor of a call. */
    ORTSHARD_DTYPE_INT4 = 17,
    /** Four-bit floats (E2M1) with a scale for each 32, as GPT-OSS is published in. Weights; no tensor of a call. */
    ORTSHARD_DTYPE_MXFP4 = 18,
    /**
     * Eight-bit floats (E4M3) with a scale for each block, as DeepSeek V3 is published in. Of weights, never of a
     * tensor that a call takes or gives.
     */
    ORTSHARD_DTYPE_FP8 = 19,
    /** No elements, but the bytes of a frame (ortshard_request_options's `output`). */
    ORTSHARD_DTYPE_FRAME = 32
};

/** Where shards run. */
enum ortshard_device_kind {
    /**
     * The device that the environment's ORTSHARD_DEVICE names ("cpu", "cuda", "cuda:1" or "coreml"); without it,
     * the first NVIDIA GPU that can be used, else the processor.
     */
    ORTSHARD_DEVICE_AUTO = 0,
    /** The processor. */
    ORTSHARD_DEVICE_CPU = 1,
    /** An NVIDIA GPU. */
    ORTSHARD_DEVICE_CUDA = 2,
    /** Apple's Core ML. It takes the linear layers and little else of a model, so it is never chosen by itself. */
    ORTSHARD_DEVICE_COREML = 3
};

/** How weights are kept. */
enum ortshard_precision {
    /** The best for the device; on the processor, ORTSHARD_PRECISION_EXACT. */
    ORTSHARD_PRECISION_AUTO = 0,
    /**
     * The checkpoint's own bf16, fp16 or f32 weights, in float32 arithmetic; on CUDA in that of their own type,
     * f32 in bf16.
     */
    ORTSHARD_PRECISION_EXACT = 1,
    /** 8 bits a weight, one scale for 128 of a row: nearly exact. */
    ORTSHARD_PRECISION_INT8 = 2,
    /** 4 bits a weight, one scale for 128 of a row: the fastest and smallest. */
    ORTSHARD_PRECISION_INT4 = 3,
    /** 4 bits a weight, one scale for 32 of a row: closer to exact, a tenth slower. */
    ORTSHARD_PRECISION_INT4_FINE = 4
};

/* ==================================================================================================================
 * Engine and shard spec
 *
 * A model is a folder, or a name. Files of a model that is a name come from the hub's cache and, if they are missing
 * there, from the hub; or, with a fetch callback, from wherever the host program keeps them.
 *
 * An engine keeps one shard resident and replaces it as a transaction. Programs that run several shards in one
 * process use one engine for each.
 * ================================================================================================================== */

/**
 * Brings one file of a model here and writes its local path, NUL-terminated UTF-8, to `path`, which has room for
 * `capacity` bytes (4096). `revision` may be NULL.
 *
 * Returns ORTSHARD_OK; ORTSHARD_ERROR_NOT_FOUND if the model has no such file; or another status for a failure, which
 * the loading function then returns. Called from any thread that loads, from several at once. It must return normally
 * (no longjmp, no C++ exception), and must not free engines, shards or requests; loading, running and clearing return
 * INVALID_STATE from there. The file must stay as it is while the model is in use.
 *
 * A shard keeps the callback, since it may be loaded again. So what `user_data` points to must live until the engine,
 * all references to its shards and all requests on these are freed.
 */
typedef ortshard_status (*ortshard_fetch_callback)(const char *model,
                                                   const char *revision,
                                                   const char *file,
                                                   char *path,
                                                   size_t capacity,
                                                   void *user_data);

/** How an engine runs shards. All zero but struct_size: the defaults. */
typedef struct ortshard_engine_options {
    /** sizeof(ortshard_engine_options). */
    size_t struct_size;
    /** Where shards run: an ORTSHARD_DEVICE_* constant. */
    int32_t device;
    /** Which device of that kind, from 0. */
    uint32_t device_index;
    /**
     * Not 0: a device that is not there, or that cannot run a shard, is an error. 0: the processor takes its place,
     * and the log and the shard's description say so.
     */
    int32_t require_device;
    /** How weights are kept: an ORTSHARD_PRECISION_* constant. */
    int32_t precision;
    /**
     * Bytes that the engine's weights, KV caches, outputs and runs may take together. 0: no limit.
     *
     * What does not fit is OUT_OF_MEMORY before it is used. Under a limit the runs of a shard go one at a time, in
     * pieces of as many tokens as fit.
     */
    uint64_t memory_limit;
    /**
     * Not 0: another shard is loaded in place of the present one instead of beside it, for when both do not fit.
     *
     * The present one's memory is given back first. If the new one fails, it is loaded again and its requests go on
     * as if nothing had been; if the new one succeeds, they are stale.
     */
    int32_t release_first;
    /**
     * Not 0: no socket is opened; what is neither a folder nor in the cache is OFFLINE. Also by the environment's
     * HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.
     */
    int32_t offline;
    /**
     * The hub's cache, as UTF-8. NULL: as the environment says (HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME,
     * XDG_CACHE_HOME, with `~` and variables in them replaced), else ~/.cache/huggingface/hub.
     */
    const char *cache_dir;
    /** Brings the files of models that are no folders, instead of the hub. NULL: the hub and its cache. */
    ortshard_fetch_callback fetch;
    /** Passed on to `fetch`, which says how long it must live. */
    void *fetch_user_data;
    /**
     * The folder where quantised shards are kept between loads, as UTF-8. NULL: the environment's ORTSHARD_CACHE, else
     * $XDG_CACHE_HOME/ortshard, else ~/.cache/ortshard. Empty: none, weights are quantised into memory at each load.
     * Its files may be deleted at any time.
     */
    const char *pack_cache;
    /** Bytes that the folder may take; the shards not used for longest make room. 0: 64 GiB. */
    uint64_t pack_cache_limit;
    /**
     * Not 0: shards on the processor run in stock operators, those that ONNX Runtime brings, as they do on other
     * devices, instead of this library's native ones. A reference to compare with: slower, with a copy of the weights,
     * exact ones as float32, and with results that differ in the last bits. Needs ONNX Runtime 1.24, and KV caches in
     * float32.
     */
    int32_t stock_operators;
    /**
     * What the KV caches of requests hold: ORTSHARD_DTYPE_AUTO (or 0), _F32, _F16 or _INT8. AUTO is what the device
     * computes in: float32 on the processor; on CUDA the checkpoint's own type, bfloat16 where that is float32.
     *
     * _F16 takes half the memory of _F32. A value beyond 65504 in magnitude, the largest there is, becomes that;
     * infinities and NaNs stay what they are. _INT8 is 8 bits, and one float32 scale for each head's key or value of
     * one token: little more than a quarter of the memory. A row with a value that is not finite becomes NaNs. Both
     * are for native operators only, and on CUDA _F32 is refused too: UNSUPPORTED.
     */
    int32_t kv_type;
    /**
     * Requests whose KV caches are made side by side where shards run in stock operators (on CUDA), so that
     * ortshard_batch_infer() runs their next tokens together. Their memory is taken at once, for requests of one
     * capacity. 0: 1. Native operators run any requests together.
     */
    uint32_t batch_slots;
    /**
     * Not 0: decode steps on CUDA are launched operator by operator instead of captured as a CUDA graph and replayed.
     * For hosts that use CUDA from other threads meanwhile: while a request's first step is captured, CUDA refuses
     * their allocations.
     */
    int32_t no_graph_capture;
} ortshard_engine_options;

/** Initialises an ortshard_engine_options. */
#define ORTSHARD_ENGINE_OPTIONS_INIT \
    { sizeof(ortshard_engine_options), 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0, 0 }

/** What ORTSHARD_ENGINE_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_options_init(ortshard_engine_options *options, size_t struct_size);

/** A layer that stands for another. */
enum {
    /** In ortshard_shard_spec: the model's last layer. */
    ORTSHARD_LAST_LAYER = 2147483647
};

/**
 * Which layers of which model. Start from ORTSHARD_SHARD_SPEC_INIT: the layers are taken as they stand, zero is
 * layer 0.
 */
typedef struct ortshard_shard_spec {
    /** sizeof(ortshard_shard_spec). */
    size_t struct_size;
    /** The model's folder or its name on the hub (`name` or `org/name`), as UTF-8. Read during the call only. */
    const char *model;
    /** Branch, tag or commit of a model on the hub. NULL: "main". */
    const char *revision;
    /** The first layer, from 0. */
    uint32_t first_layer;
    /** The last layer, INCLUSIVE: 0 and 3 are four layers. ORTSHARD_LAST_LAYER: the model's last. */
    uint32_t last_layer;
    /** Layers of the whole model, to check that the right model is there: another number is an error. 0: no check. */
    uint32_t layer_count;
} ortshard_shard_spec;

/** Initialises an ortshard_shard_spec. */
#define ORTSHARD_SHARD_SPEC_INIT { sizeof(ortshard_shard_spec), NULL, NULL, 0, ORTSHARD_LAST_LAYER, 0 }

/** What ORTSHARD_SHARD_SPEC_INIT does, for languages without macros: `struct_size` is sizeof *spec. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_shard_spec_init(ortshard_shard_spec *spec, size_t struct_size);

/** The steps of loading, in order. */
enum ortshard_stage {
    /** Reading config.json. */
    ORTSHARD_STAGE_INSPECT = 1,
    /** Finding the files that hold the shard's tensors, and bringing those that are not here. */
    ORTSHARD_STAGE_FETCH = 2,
    /** Mapping weights. */
    ORTSHARD_STAGE_WEIGHTS = 3,
    /** Quantising them, where the precision asks for it and the cache of packed shards does not have them. */
    ORTSHARD_STAGE_PACK = 4,
    /** Creating the ONNX Runtime session. */
    ORTSHARD_STAGE_SESSION = 5,
    /** Done. Comes last and once. */
    ORTSHARD_STAGE_READY = 6
};

/** How far loading is. */
typedef struct ortshard_progress {
    /** The size that the library knows; later fields are not there. */
    size_t struct_size;
    /** An ORTSHARD_STAGE_* constant; they come in order. */
    int32_t stage;
    /** Bytes of files brought here (FETCH) or of weights mapped (later) so far. */
    uint64_t bytes_done;
    /** Bytes in all; 0 while that is not known. */
    uint64_t bytes_total;
    /** Tensors mapped so far. */
    uint64_t tensors_done;
    /** Tensors in all; 0 while that is not known. */
    uint64_t tensors_total;
} ortshard_progress;

/**
 * Is told about each step of loading; `progress` lives for the length of the call. Returns 0 to go on, anything else
 * to cancel.
 *
 * Called from the thread that called the loading function. Loading or clearing on the same engine returns
 * INVALID_STATE from there, since it would wait for itself; an engine that is freed there goes when the loading
 * function returns. It must return normally (no longjmp, no C++ exception).
 */
typedef int32_t (*ortshard_progress_callback)(const ortshard_progress *progress, void *user_data);

/**
 * Creates an engine without a shard. NULL `options`: the defaults. Loads ONNX Runtime if no call has yet.
 *
 * Errors: those of ortshard_runtime_load(); DEVICE_UNAVAILABLE if the device is required; UNSUPPORTED for a kv_type
 * that the operators it asks for do not have; INVALID_ARGUMENT for a device_index where there is only one device, or
 * if the environment's ORTSHARD_DEVICE names none.
 * Threads: any. Ownership: free `*engine` with ortshard_engine_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_create(const ortshard_engine_options *options, ortshard_engine **engine);

/** Frees an engine, and its shard once no request and no reference holds it. NULL is ignored. */
ORTSHARD_API
void ortshard_engine_free(ortshard_engine *engine);

/**
 * Makes the shard that `spec` names the engine's shard and gives a reference to it.
 *
 * If it is resident already, nothing happens: the same layers of the same folder, however its path is spelled, with
 * the model's own weights, and the files as they were. Of a model that is a name, the name and the revision count.
 * Otherwise the shard is built beside the present one, which is replaced when the new one is ready: after any failure
 * the old shard is still there. Requests on a replaced shard go on working, and keep it in memory until they are
 * freed; with the option release_first they become stale instead.
 *
 * A relative path means what it means now, whatever the working directory is later.
 *
 * `progress`, unless NULL, is called after each step with `user_data`.
 *
 * Errors: NOT_FOUND for a folder, model, file or tensor that is missing; MALFORMED and UNSUPPORTED for a model that
 * cannot be run; OUT_OF_RANGE for layers that the model does not have, or a first_layer after last_layer;
 * INVALID_ARGUMENT if layer_count is not the model's, if the model is the path of a file, or for a bad revision or one
 * of a folder; OFFLINE for files that are not in the cache when the network is off; HASH_MISMATCH for a download that
 * is not what the hub promised; what the fetch callback returned; CANCELLED by `progress`; OUT_OF_MEMORY (site LOAD);
 * DEVICE_UNAVAILABLE if the device is required and takes no part of the shard; INVALID_STATE from a callback of a
 * load on this engine; IO; ONNXRUNTIME.
 * Threads: many at once; loading happens one after another. Ownership: free `*shard` with ortshard_shard_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_ensure_shard(const ortshard_engine *engine,
                                             const ortshard_shard_spec *spec,
                                             ortshard_progress_callback progress,
                                             void *user_data,
                                             ortshard_shard **shard);

/**
 * Gives a reference to the engine's shard, or NULL (and ORTSHARD_OK) if it has none.
 *
 * Threads: many at once. Ownership: free `*shard` with ortshard_shard_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_current_shard(const ortshard_engine *engine, ortshard_shard **shard);

/**
 * Gives back the memory of the engine's shard: its weights, its session, and the KV caches of the requests on it. The
 * engine can load again.
 *
 * Handles on the shard and its requests stay valid and are freed as usual; their calls return STALE_SHARD. Until it is
 * freed, a request keeps its last output and, if it was made with no_cache, its input. Shards that were replaced
 * before are not the engine's any more: they and their requests go on working, and keep their memory until they are
 * freed.
 *
 * Errors: INVALID_STATE from a callback of a load on this engine.
 * Threads: many at once; waits for a load and for runs in progress.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_clear(const ortshard_engine *engine);

/**
 * Deletes every quantised shard from the engine's cache of them. Shards in use go on working.
 *
 * `freed`, unless NULL, gets the bytes of the files. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_clear_pack_cache(const ortshard_engine *engine, uint64_t *freed);

/* ==================================================================================================================
 * Shard
 *
 * A shard that starts at layer 0 takes token ids, any other the hidden states of the shard before it. A shard that
 * ends at the last layer gives logits, any other hidden states.
 * ================================================================================================================== */

/** What a shard is and takes. */
typedef struct ortshard_shard_info {
    /** Set to sizeof(ortshard_shard_info) before the call. */
    size_t struct_size;
    /** The model's architecture, such as "LlamaForCausalLM". */
    char architecture[64];
    /** The first layer, from 0. */
    uint32_t first_layer;
    /** The last layer, INCLUSIVE. */
    uint32_t last_layer;
    /** Layers of the whole model. */
    uint32_t layer_count;
    /** 1 if it takes token ids (it starts at layer 0), 0 if it takes hidden states. */
    int32_t is_first;
    /** 1 if it gives logits (it ends at the last layer), 0 if it gives hidden states. */
    int32_t is_last;
    /** Width of hidden states. */
    uint32_t hidden_size;
    /** Number of token ids, and width of logits. */
    uint32_t vocab_size;
    /** The longest sequence the model allows, in tokens. */
    uint32_t max_positions;
    /**
     * Element type of most weights, as stored or quantised: ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_F16,
     * ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_INT8, ORTSHARD_DTYPE_INT4, ORTSHARD_DTYPE_MXFP4 or ORTSHARD_DTYPE_FP8.
     */
    int32_t weight_dtype;
    /** Where it runs: an ORTSHARD_DEVICE_* constant. */
    int32_t device;
    /** Which device of that kind, from 0. */
    uint32_t device_index;
    /** Bytes of its weights, as stored. */
    uint64_t weight_bytes;
    /**
     * Bytes of KV cache that a token takes in a request. Layers that see a window of tokens keep that only, so that a
     * long context takes less, and layers with a state of fixed size take none of it, but several states in each
     * request, and the request's input: ortshard_engine_get_estimate() says how much.
     */
    uint64_t kv_bytes_per_token;
    /**
     * What was asked for, by the engine's options or by the environment's ORTSHARD_DEVICE: an ORTSHARD_DEVICE_*
     * constant. If that is neither ORTSHARD_DEVICE_AUTO nor `device`, the processor has taken its place.
     */
    int32_t requested_device;
    /** Which device of that kind, from 0. */
    uint32_t requested_device_index;
    /** Nodes of its graph, as ONNX Runtime has placed them. */
    uint32_t nodes;
    /**
     * Nodes that run on the processor: all if that is `device`, and on another device those that its provider does not
     * take.
     */
    uint32_t cpu_nodes;
    /**
     * Parts that come in at a time: 1 for ids and for hidden states alone. Where several pass the boundary in front of
     * the shard, it takes frames only.
     */
    uint32_t input_parts;
    /** Parts that come out at a time, likewise: where there are several, requests give frames only. */
    uint32_t output_parts;
    /**
     * Tokens that a text may have for its positions to be rotated as in short texts (LongRoPE: Phi-3.5, Phi-4-mini). In
     * a text of more all positions are rotated in another way: see ortshard_request_options's long_context. 0: the
     * model makes no difference.
     */
    uint64_t short_context;
} ortshard_shard_info;

/** Initialises an ortshard_shard_info. */
#define ORTSHARD_SHARD_INFO_INIT \
    { sizeof(ortshard_shard_info), "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** What ORTSHARD_SHARD_INFO_INIT does, for languages without macros: `struct_size` is sizeof *info. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_shard_info_init(ortshard_shard_info *info, size_t struct_size);

/**
 * Counts another reference to a shard, for another owner. Each is given back with ortshard_shard_free().
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_shard_retain(const ortshard_shard *shard);

/** Gives one reference to a shard back. NULL is ignored. Threads: many at once, each with its own reference. */
ORTSHARD_API
void ortshard_shard_free(ortshard_shard *shard);

/**
 * Describes a shard.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_shard_get_info(const ortshard_shard *shard, ortshard_shard_info *info);

/**
 * Saves the shard as a standard ONNX model: the file `path`, and its weights beside it in `path` followed by ".data":
 * as float32 or, in another precision, matrices as the shard's own codes and scales (MatMulNBits; with 8 bits that
 * needs ONNX Runtime 1.24).
 *
 * ONNX Runtime loads the model without this library: its operators are ONNX's and ONNX Runtime's. Both files appear
 * complete, or neither does. Those that are there are replaced and their modes stay; links are followed.
 *
 * Errors: STALE_SHARD; INVALID_ARGUMENT for a path that is empty, ends in a slash, or where one of the two names is
 * that of a folder, a device or another thing that is no regular file: it is left as it is; IO; UNSUPPORTED;
 * OUT_OF_MEMORY.
 * Threads: many at once, to different paths.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_shard_export_onnx(const ortshard_shard *shard, const char *path);

/* ==================================================================================================================
 * Tensor
 *
 * What goes into a request and comes out of it: a description of memory that someone else owns. Values lie row after
 * row without gaps, in the machine's byte order; any alignment is accepted, but aligned memory is not copied.
 *
 *     int64_t ids[3] = {1, 15, 27};
 *     ortshard_tensor input = {ORTSHARD_DTYPE_I64, 1, {3}, ids, sizeof ids};
 * ================================================================================================================== */

/** A tensor in memory. Its layout is final, so it has no struct_size. */
typedef struct ortshard_tensor {
    /** Element type: ORTSHARD_DTYPE_I32, _I64, _F32, _F16 or _BF16; or _FRAME, whose shape is [byte_length]. */
    int32_t dtype;
    /** Number of dimensions, at most 4. */
    uint32_t rank;
    /** The dimensions; those past `rank` are 0 in tensors that the library gives. */
    int64_t shape[4];
    /** The values. Outputs are read only. */
    void *data;
    /** Bytes of the values: exactly what dtype and shape make. */
    size_t byte_length;
} ortshard_tensor;

/* ==================================================================================================================
 * Request
 *
 * A request runs tokens through its shard, continuing where it stopped: its KV cache keeps what the shard computed
 * for the tokens before. A prompt may come in one call or in several, the bits are the same.
 *
 * On a shard of all layers, ids go in and logits or the next id come out:
 *
 *     ortshard_request_logits(request, ids, count, logits, capacity, &needed);
 *     ortshard_request_sample(request, ids, count, sampler, &id);
 *
 * On any shard, tensors go in and come out:
 *
 *     ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output);
 *
 * Inputs, of n tokens:
 *
 *     first shard:    token ids, I32 or I64, [n] or [1, n]
 *     other shards:   hidden states, F32, F16 or BF16, [n, hidden_size] or [1, n, hidden_size]
 *
 * Outputs:
 *
 *     last shard:     logits, F32 [1, rows, vocab_size]; rows is 1, n or 0 (ORTSHARD_LOGITS_*)
 *     other shards:   hidden states [1, n, hidden_size] for the next shard: F32, or as the option hidden_dtype says
 *
 * Between processes frames travel (ORTSHARD_OUTPUT_FRAME), which other shards take as inputs, too.
 * Where several parts pass a boundary there is no other way.
 *
 * So one tensor can travel through all shards, as `input` and `output` of the same call:
 *
 *     for (int i = 0; i < shard_count; i++)
 *         ortshard_request_infer(requests[i], &tensor, ORTSHARD_LOGITS_LAST, &tensor);
 *
 * An output's data belongs to the request and lives until the request's next run, or until it is freed. A run is any
 * call of _infer, _infer_into, _logits or _sample, of a batch or of a chain with that request, also one that fails. No
 * other function touches it.
 * ================================================================================================================== */

/** Which logits a last shard gives. */
enum ortshard_logits {
    /** Logits of the last token: [1, 1, vocab_size]. */
    ORTSHARD_LOGITS_LAST = 0,
    /** Logits of every token: [1, n, vocab_size]. */
    ORTSHARD_LOGITS_ALL = 1,
    /** No logits: [1, 0, vocab_size]. The call only fills the KV cache. */
    ORTSHARD_LOGITS_NONE = 2
};

/** What the hidden states are that a request gives. */
enum ortshard_output {
    /** A tensor [1, n, hidden_size]. Where several parts pass the boundary, runs are INVALID_ARGUMENT. */
    ORTSHARD_OUTPUT_TENSOR = 0,
    /** A frame: a tensor of the type ORTSHARD_DTYPE_FRAME, [size], whose bytes can be sent as they are. */
    ORTSHARD_OUTPUT_FRAME = 1,
    /**
     * A frame in pieces, which ortshard_request_frame_pieces() gives without a copy. The tensor, of the type
     * ORTSHARD_DTYPE_FRAME, has no data and tells the frame's bytes.
     */
    ORTSHARD_OUTPUT_PIECES = 2
};

/** Limits of a request. All zero but struct_size: the defaults. */
typedef struct ortshard_request_options {
    /** sizeof(ortshard_request_options). */
    size_t struct_size;
    /**
     * Tokens there is room for, prompt and answer together. The KV cache's memory is reserved at once, so a run never
     * fails for lack of it. 0: the model's maximum, at most 4096.
     */
    uint32_t capacity;
    /** Tokens per run of a long input. 0: 512. Any size gives the same bits; a smaller one needs less memory. */
    uint32_t prefill_chunk;
    /**
     * Not 0: the request keeps no KV cache between calls. Each call computes everything anew in a cache that it gives
     * back at its end: the same bits, in a time that grows with all the tokens so far.
     *
     * Instead it keeps its input, until it is freed: 8 bytes a token on a shard that takes ids, 4 for each value that
     * passes the boundary on others (4 x hidden_size, mostly). Its state cannot be exported or imported.
     */
    int32_t no_cache;
    /**
     * What the hidden states that the request gives are: ORTSHARD_DTYPE_AUTO (or 0) or _F32, or _F16 or _BF16, rounded
     * to nearest: half as much to send to another machine. A shard that computes in that very type, as those on CUDA
     * do in the checkpoint's, loses nothing; others do, and then a model in shards is not the same bit for bit. As
     * float16 a value beyond 65504 in magnitude, the largest there is, becomes that; infinities and NaNs stay what
     * they are.
     *
     * Between the requests of ortshard_chain_infer() nothing is rounded, whatever this says: a chain gives the bits of
     * the whole model.
     */
    int32_t hidden_dtype;
    /**
     * Not 0: positions are rotated as in a long text from the first token on. This is for models with
     * ortshard_shard_info's short_context, such as Phi-3.5 and Phi-4-mini; in others it changes nothing.
     *
     * 0: the request's first run decides, its call as a whole: with more than short_context tokens the text is a long
     * one. So a long prompt that comes in several calls needs this, in the requests on all shards. A short text that
     * becomes long must be run again: that call is OUT_OF_RANGE, and nothing changes.
     */
    int64_t long_context;
    /**
     * What hidden states come as: an ORTSHARD_OUTPUT_* constant. In ortshard_request_infer_into() FRAME and PIECES
     * are the same: the frame is written into the buffer.
     */
    int32_t output;
    /** What the per-layer inputs in frames are, where a boundary has them, as hidden_dtype says it of hidden states. */
    int32_t per_layer_dtype;
    /** Not 0: a number beyond the largest of F16 or BF16 is not rounded to that, but makes the run OUT_OF_RANGE. */
    int64_t refuse_beyond;
    /**
     * Tokens between two states that are put aside to go back to. This is for models whose layers keep a state of fixed
     * size that no request can go back with, such as the convolutions of LFM2 and the linear attention of Qwen3.5: see
     * ortshard_request_truncate(). 0: 256. When snapshot_bytes are full, every second one makes room, and the distance
     * doubles.
     */
    uint64_t snapshot_interval;
    /**
     * Bytes that these may take, reserved at once. 0: as many as eight of them take; fewer than one takes: none are put
     * aside at intervals. Three states more are always there: a request can go back into its last call, whatever this
     * says.
     */
    uint64_t snapshot_bytes;
} ortshard_request_options;

/** Initialises an ortshard_request_options. */
#define ORTSHARD_REQUEST_OPTIONS_INIT { sizeof(ortshard_request_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** What ORTSHARD_REQUEST_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_options_init(ortshard_request_options *options, size_t struct_size);

/**
 * Creates a request at position 0 on `shard`, which it keeps alive. NULL `options`: the defaults.
 *
 * Errors: OUT_OF_RANGE for a capacity above the model's maximum; OUT_OF_MEMORY (site KV); STALE_SHARD.
 * Threads: many at once. Ownership: free `*request` with ortshard_request_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_create(const ortshard_shard *shard,
                                        const ortshard_request_options *options,
                                        ortshard_request **request);

/** Frees a request and the outputs borrowed from it. NULL is ignored. */
ORTSHARD_API
void ortshard_request_free(ortshard_request *request);

/**
 * Runs `count` token `ids` through a shard of all layers, continuing at the request's position, moves the position on,
 * and writes the last token's logits.
 *
 * Writes them to `logits`, which has room for `capacity` floats, and their number, vocab_size, to `*needed`. NULL and
 * 0 ask for the number: nothing is run, and whether the ids are the model's and the request has room for them is seen
 * by the call that runs them. If the call fails, `logits` and the position are as before, and the call can be repeated.
 *
 * Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a `count` of 0 or a shard that gives no logits;
 * BUFFER_TOO_SMALL before anything is run, and only `*needed` is written.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_logits(ortshard_request *request,
                                        const int64_t *ids,
                                        size_t count,
                                        float *logits,
                                        size_t capacity,
                                        size_t *needed);

/**
 * Runs `count` token `ids` through a shard of all layers, continuing at the request's position, moves the position on,
 * and has `sampler` choose the token that follows. NULL `sampler`: the id of the largest logit, among equals the
 * lowest.
 *
 * `id` may lie in `ids`. If the call fails, also in sampling, `*id`, the position and the sampler are as before.
 *
 * Errors: those of ortshard_request_logits(), but for BUFFER_TOO_SMALL, and ortshard_sampler_sample().
 * Threads: one call at a time on the request and on the sampler.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_sample(ortshard_request *request,
                                        const int64_t *ids,
                                        size_t count,
                                        ortshard_sampler *sampler,
                                        int64_t *id);

/**
 * Runs `input` through the shard, continuing at the request's position, and moves the position on.
 *
 * `logits` is an ORTSHARD_LOGITS_* constant; a shard that is not the last gives all hidden states whatever it is.
 * `output` may be the same struct as `input`. If the call fails, `output` is all zero, the position is as before,
 * and the call can be repeated.
 *
 * Errors: INVALID_ARGUMENT for ids where hidden states belong or the reverse, a wrong rank, width, batch dimension or
 * byte_length, or a dimension that is not positive; OUT_OF_RANGE for an id that is not in the vocabulary, or if a short
 * text becomes a long one (ortshard_request_options's long_context); CONTEXT_FULL if the tokens do not fit into what is
 * left of the capacity; CANCELLED; STALE_SHARD; OUT_OF_MEMORY (site RUN, or KV with the option no_cache); ONNXRUNTIME.
 * For frames: MALFORMED, UNSUPPORTED, INVALID_ARGUMENT and INVALID_STATE, as the section on them says, and OUT_OF_RANGE
 * for a number beyond the type that the output has, with the option refuse_beyond.
 * Threads: one call at a time. Ownership: output->data belongs to the request and lives until the request's next run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_infer(ortshard_request *request,
                                       const ortshard_tensor *input,
                                       int32_t logits,
                                       ortshard_tensor *output);

/**
 * Runs `input` through the shard, as ortshard_request_infer() does, and copies the output into `buffer`, which has
 * room for `capacity` bytes and any alignment: output->data is `buffer`, which stays as it is after the next run.
 *
 * `buffer` may be the memory that `input` describes. NULL and 0 ask for the size: nothing is run, and `output`
 * describes the tensor that would come, with data NULL; its byte_length is what the buffer needs. If the call fails,
 * `output` is all zero, the position is as before, and the call can be repeated.
 *
 * Errors: those of ortshard_request_infer(); BUFFER_TOO_SMALL before anything is run, and `output` is as if its size
 * had been asked for.
 * Threads: one call at a time. Ownership: the buffer stays the caller's.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_infer_into(ortshard_request *request,
                                            const ortshard_tensor *input,
                                            int32_t logits,
                                            void *buffer,
                                            size_t capacity,
                                            ortshard_tensor *output);

/**
 * The number of tokens that were run, which is the position of the next one. During a run, that before it.
 *
 * Threads: many at once, also during a run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_position(const ortshard_request *request, uint64_t *position);

/**
 * The number of tokens there is room for.
 *
 * Threads: many at once, also during a run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_capacity(const ortshard_request *request, uint64_t *capacity);

/**
 * Forgets every token from `position` on; 0 empties the request.
 *
 * Layers that see a window of tokens (Mistral, Gemma 2, ...) keep that window and at least 256 tokens behind it, not
 * the whole context: a request can go back by 256 tokens from the furthest position that it has reached, or to 0. A
 * fork has reached what its original had, and a request that imported a state what the one that exported it had. In a
 * model without windows a request can go back to any position.
 *
 * Layers with a state of fixed size (the convolutions of LFM2, the linear attention of Qwen3.5) cannot go back. So the
 * request keeps its input, 8 bytes a token on a shard that takes ids and 4 x hidden_size on others, and puts states
 * aside: where its last call began, and at intervals (ortshard_request_options's snapshot_interval). This function
 * takes no time. The next call first runs the tokens again that lie between the nearest of these states and
 * `position`: after a truncation into the last call those that it began with, else at most about an interval. The
 * bits are those of a request that never went further, and such a request can go back to any position.
 *
 * Errors: OUT_OF_RANGE if `position` is past the present one, or further back than a window has kept; the message says
 * how far is possible. Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_truncate(ortshard_request *request, uint64_t position);

/**
 * Cancels the request's run in progress between two operators or, if none is, its next one.
 *
 * That call returns ORTSHARD_ERROR_CANCELLED and leaves the position as it was; the one after it runs again. So a
 * cancellation is never lost, and one that comes when the last run is over meets the next, however much later. Call
 * ortshard_request_clear_cancel() where something new begins. Never waits.
 *
 * In a chain any of the requests cancels the call, and it clears all of them; in a batch a request cancels its own
 * part. Loading is cancelled by its progress callback, which leaves nothing behind.
 *
 * Errors: ONNXRUNTIME. Threads: any, also during a run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_cancel(const ortshard_request *request);

/**
 * Takes a cancellation back that no call has returned yet; there may be none.
 *
 * A run in progress that was told to stop may still return CANCELLED. So where a button stops an answer, clear when
 * the next one begins, and a press after the last token of the one before does not stop it. Never waits.
 *
 * Errors: ONNXRUNTIME. Threads: any, also during a run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_clear_cancel(const ortshard_request *request);

/* ==================================================================================================================
 * Sampler
 *
 * Chooses the next token from logits. The same seed, options and logits give the same tokens on every platform.
 *
 * The controls work in this order, that of transformers, each on what the one before it has left; at their zeros they
 * do nothing:
 *
 *     forced                 the token is taken as it is, and nothing else is looked at
 *     biases                 are added to logits
 *     repetition_penalty, then frequency_penalty and presence_penalty
 *     no_repeat_ngram        rules tokens out
 *     min_new_tokens         rules eos out
 *     a constraint           rules tokens out: that of a generation, or ortshard_constraint_mask() before
 *     banned                 rules tokens out
 *     temperature            0 takes the largest logit, among equals the lowest id, and the rest is not looked at; any
 *                            other divides the logits
 *     top_n_sigma            leaves the tokens not below the largest logit less so many standard deviations of all
 *     top_k                  leaves the largest; ties with the last of them stay in
 *     top_p                  leaves the fewest of the most probable that reach it; among equals the lowest ids
 *     min_p                  leaves those at least so many times as probable as the most probable
 *     typical_p              leaves the fewest whose surprise is nearest to the entropy that reach it; ties stay in
 *
 * Then the answer is drawn from the softmax of what is left. Penalties and n-grams look at the text so far: the tokens
 * that ortshard_sampler_accept() was given, and those that the sampler has chosen since.
 * ================================================================================================================== */

/**
 * A number that is added to the logit of the last token of a sequence, where the tokens before it are those that the
 * text so far ends with. Its layout is final, so it has no struct_size.
 */
typedef struct ortshard_bias {
    /** The sequence. One token of its own is one that always gets the bias. */
    const int64_t *ids;
    /** Tokens of it, at least 1. */
    size_t count;
    /** Finite, or -INFINITY for a sequence that must not come. */
    double bias;
} ortshard_bias;

/**
 * How a sampler chooses. Unlike in other options zero is not "default" in the first three, since it means something:
 * start from ORTSHARD_SAMPLER_OPTIONS_INIT or pass NULL to get the defaults. Lists are read during the call only.
 */
typedef struct ortshard_sampler_options {
    /** sizeof(ortshard_sampler_options). */
    size_t struct_size;
    /** Divides the logits: 0 is greedy, below 1 sharper, above 1 flatter. Finite, not negative. */
    float temperature;
    /** How many of the largest logits can be chosen; 0: all. */
    uint32_t top_k;
    /** Seed of the random stream. */
    uint64_t seed;
    /** The most probable tokens that together reach this probability can be chosen. 0 to 1; 0 or 1: all. */
    float top_p;
    /** Tokens at least this many times as probable as the most probable one can be chosen. 0 to 1; 0: all. */
    float min_p;
    /**
     * Locally typical sampling: the tokens of the least surprising surprise that together reach this probability can
     * be chosen. 0 to 1; 0 or 1: all.
     */
    float typical_p;
    /**
     * Tokens whose logits lie at most this many standard deviations of all logits below the largest can be chosen.
     * Finite, not negative; 0: all.
     */
    float top_n_sigma;
    /**
     * Divides the logit of each token of the text so far if it is positive, and multiplies it if not. Finite, not
     * negative; 0 or 1: changes nothing.
     */
    float repetition_penalty;
    /** Is subtracted from the logit of each token that the sampler has chosen so far. -2 to 2. */
    float presence_penalty;
    /** Is subtracted from a token's logit once for each time that the sampler has chosen it so far. -2 to 2. */
    float frequency_penalty;
    /** How many tokens at the end of the text so far the three penalties look at; 0: all. */
    uint32_t penalty_window;
    /** No sequence of so many tokens comes twice in the text; 0: any may. */
    uint32_t no_repeat_ngram;
    /** How many tokens are chosen before one of `eos` may be. */
    uint32_t min_new_tokens;
    /** Added to logits; NULL if there are none. No sequence may come twice. */
    const ortshard_bias *biases;
    /** Number of `biases`. */
    size_t bias_count;
    /** Tokens that are never chosen; NULL if there are none. */
    const int64_t *banned;
    /** Number of `banned`. */
    size_t banned_count;
    /** The tokens that are chosen first, whatever the logits; NULL if there are none. */
    const int64_t *forced;
    /** Number of `forced`. */
    size_t forced_count;
    /** The tokens that end a text; NULL if there are none. Only min_new_tokens, and a generation, look at them. */
    const int64_t *eos;
    /** Number of `eos`. */
    size_t eos_count;
} ortshard_sampler_options;

/** Initialises an ortshard_sampler_options. */
#define ORTSHARD_SAMPLER_OPTIONS_INIT \
    { sizeof(ortshard_sampler_options), 0.6f, 35, 1234, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0, 0, 0, NULL, 0, \
      NULL, 0, NULL, 0, NULL, 0 }

/** What ORTSHARD_SAMPLER_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_sampler_options_init(ortshard_sampler_options *options, size_t struct_size);

/**
 * Creates a sampler at the start of its random stream, of a text without tokens. NULL `options`: temperature 0.6,
 * top_k 35, seed 1234.
 *
 * Errors: INVALID_ARGUMENT for a value outside its range, or two that contradict each other; the message names them;
 * OUT_OF_RANGE for an id that is none; OUT_OF_MEMORY.
 * Threads: any. Ownership: free `*sampler` with ortshard_sampler_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_sampler_create(const ortshard_sampler_options *options, ortshard_sampler **sampler);

/** Frees a sampler. NULL is ignored. */
ORTSHARD_API
void ortshard_sampler_free(ortshard_sampler *sampler);

/**
 * Adds `count` tokens to the text so far that the sampler has not chosen: a prompt. `forced` and `min_new_tokens` count
 * from here. Not needed where no option looks at the text so far.
 *
 * Errors: OUT_OF_RANGE for an id that is none; OUT_OF_MEMORY. Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_sampler_accept(ortshard_sampler *sampler, const int64_t *ids, size_t count);

/**
 * Chooses the next token from `count` `logits`: one row of a last shard's output, so that count is vocab_size. The
 * token becomes part of the text so far.
 *
 * Errors: INVALID_ARGUMENT if a logit is not a number or plus infinity, if all are minus infinity, if the controls
 * leave none, or if count is 0; OUT_OF_RANGE for an option that names a token which is not in the vocabulary;
 * OUT_OF_MEMORY. The sampler then stays as it was.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_sampler_sample(ortshard_sampler *sampler, const float *logits, size_t count, int64_t *id);

/**
 * Puts a sampler back to the start of its random stream, and makes it forget the text so far.
 *
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_sampler_reset(ortshard_sampler *sampler);

/* ==================================================================================================================
 * Tokenizer
 *
 * Token ids are int64_t everywhere in this header, so that what the tokenizer gives is a tensor's data as it is.
 * ================================================================================================================== */

/** What stands for no token id. */
enum {
    /** The model's files declare none. */
    ORTSHARD_NO_ID = -1
};

/**
 * Opens the tokenizer of a model folder, or the tokenizer.json that `path` names. For a model of the hub by name:
 * ortshard_engine_open_tokenizer().
 *
 * Errors: NOT_FOUND if there is none, or for a name that the system does not take; MALFORMED if a file breaks its
 * format or is a link that leaves the folder; IO; INVALID_ARGUMENT for an empty path; OUT_OF_MEMORY (site LOAD).
 * Threads: any. Ownership: free `*tokenizer` with ortshard_tokenizer_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_open(const char *path, ortshard_tokenizer **tokenizer);

/** Frees a tokenizer; text streams on it go on working. NULL is ignored. */
ORTSHARD_API
void ortshard_tokenizer_free(ortshard_tokenizer *tokenizer);

/**
 * The token ids of `text`: never truncated, never padded.
 *
 * `add_special` not 0: with the tokens that tokenizer.json puts around a text, such as a BOS. A text from
 * ortshard_tokenizer_apply_chat_template() has them already, so encode it with 0. Special tokens that the text spells
 * out are recognised either way; ortshard_tokenizer_encode_texts() can take them as text.
 *
 * Writes ids to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number,
 * which takes as long as the ids and no memory for them.
 *
 * A text of any length is encoded in memory of some ten times its size, where spaces or line ends follow words. What
 * has to be encoded in one, up to 16 MiB, takes 200 times its size.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written; MALFORMED if the tokenizer's rules fail on this text;
 * UNSUPPORTED if more than 16 MiB would have to be encoded in one: without a space or line end after a word, or at
 * all with a normalizer or pre-tokenizer that is rare with language models; OUT_OF_MEMORY.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_encode(const ortshard_tokenizer *tokenizer,
                                          const char *text,
                                          int32_t add_special,
                                          int64_t *ids,
                                          size_t capacity,
                                          size_t *needed);

/**
 * The text of the `count` token ids at `ids`. `skip_special` not 0: without the special tokens among them.
 *
 * Bytes that are not UTF-8 become U+FFFD. No spaces are cleaned up around punctuation. Writes text and a final NUL to
 * `buffer`, which has room for `capacity` bytes, and their number, NUL included, to `*needed`. NULL and 0 ask for the
 * number.
 *
 * Errors: OUT_OF_RANGE for an id that is not in the vocabulary; BUFFER_TOO_SMALL, and only `*needed` is written;
 * MALFORMED; OUT_OF_MEMORY.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_decode(const ortshard_tokenizer *tokenizer,
                                          const int64_t *ids,
                                          size_t count,
                                          int32_t skip_special,
                                          char *buffer,
                                          size_t capacity,
                                          size_t *needed);

/**
 * The number of tokens, added ones included. Ids may have gaps, and a model may have more rows of logits than this.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_vocab_size(const ortshard_tokenizer *tokenizer, size_t *vocab_size);

/**
 * The beginning-of-sequence id that the model's files declare, or ORTSHARD_NO_ID.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_bos(const ortshard_tokenizer *tokenizer, int64_t *id);

/**
 * The padding id that the model's files declare, or ORTSHARD_NO_ID.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_pad(const ortshard_tokenizer *tokenizer, int64_t *id);

/**
 * The end-of-sequence ids that the model's files declare; there may be none or several. First those of
 * generation_config.json, or of config.json where that has none; then special tokens that config.json declares, and
 * the tokenizer's own eos_token.
 *
 * Writes them to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written. Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_eos(const ortshard_tokenizer *tokenizer,
                                       int64_t *ids,
                                       size_t capacity,
                                       size_t *needed);

/**
 * Whether generation ends at `id`: `*is_eos` becomes 1 or 0. 0 for ids that do not exist.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_is_eos(const ortshard_tokenizer *tokenizer, int64_t id, int32_t *is_eos);

/** How a text is encoded. All zero but struct_size: the text, with the special tokens that it spells out. */
typedef struct ortshard_encode_options {
    /** sizeof(ortshard_encode_options). */
    size_t struct_size;
    /** Not 0: with the tokens that tokenizer.json puts around a text, such as a BOS. */
    int32_t add_special;
    /**
     * Not 0: special tokens that the text spells out are text like any other. Added tokens that are not special, such
     * as runs of spaces in some vocabularies, are still found.
     */
    int32_t special_as_text;
} ortshard_encode_options;

/** Initialises an ortshard_encode_options. */
#define ORTSHARD_ENCODE_OPTIONS_INIT { sizeof(ortshard_encode_options), 0, 0 }

/** What ORTSHARD_ENCODE_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_encode_options_init(ortshard_encode_options *options, size_t struct_size);

/** Bytes of a text: from `start` up to but not including `end`. Its layout is final, so it has no struct_size. */
typedef struct ortshard_byte_range {
    /** The first byte. */
    size_t start;
    /** The byte behind the last. */
    size_t end;
} ortshard_byte_range;

/**
 * The token ids of `count` texts, one text after another: what ortshard_tokenizer_encode() gives for each. NULL
 * `options`: the texts, with the special tokens that they spell out. Long lists are shared out among threads.
 *
 * Writes the ids of all texts to `ids`, which has room for `capacity`, their number to `*needed`, and to `ends[i]`
 * how many ids texts 0 to i have together. NULL and 0 ask for the numbers. `ends` has room for `count`; NULL: not
 * asked for.
 *
 * Errors: those of ortshard_tokenizer_encode(), for the first text that fails; the message names it.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_encode_texts(const ortshard_tokenizer *tokenizer,
                                                const char *const *texts,
                                                size_t count,
                                                const ortshard_encode_options *options,
                                                int64_t *ids,
                                                size_t capacity,
                                                size_t *needed,
                                                size_t *ends);

/**
 * The token ids of `text`, and for each the bytes of the text that it stands for. NULL `options`: the text, with the
 * special tokens that it spells out.
 *
 * A token that is a part of a character has the whole character's bytes; one that add_special adds has none. Some
 * tokenizers do not count the space before a word to it (trim_offsets of tokenizer.json).
 *
 * Writes ids to `ids` and ranges to `ranges`, which have room for `capacity` each, and their number to `*needed`.
 * NULL, NULL and 0 ask for the number.
 *
 * Errors: those of ortshard_tokenizer_encode(); UNSUPPORTED for any text of more than 16 MiB. It takes 400 times the
 * text's size of memory.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_encode_with_ranges(const ortshard_tokenizer *tokenizer,
                                                      const char *text,
                                                      const ortshard_encode_options *options,
                                                      int64_t *ids,
                                                      ortshard_byte_range *ranges,
                                                      size_t capacity,
                                                      size_t *needed);

/**
 * The id of the token that is spelled exactly `token` in the vocabulary, such as "<|im_end|>", or ORTSHARD_NO_ID. The
 * spelling is not the text: of " the" it may be "\xC4\xA0the" or "\xE2\x96\x81the".
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_token_to_id(const ortshard_tokenizer *tokenizer, const char *token, int64_t *id);

/**
 * The spelling of token `id` in the vocabulary, of which ortshard_tokenizer_token_to_id() gives `id`.
 *
 * Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
 * `*needed`. NULL and 0 ask for the number.
 *
 * Errors: OUT_OF_RANGE for an id that is not in the vocabulary; BUFFER_TOO_SMALL, and only `*needed` is written.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_id_to_token(const ortshard_tokenizer *tokenizer,
                                               int64_t id,
                                               char *buffer,
                                               size_t capacity,
                                               size_t *needed);

/**
 * The bytes that token `id` adds to a text that it does not begin: those of " the", or a part of a character.
 *
 * Writes them, without a NUL, to `buffer`, which has room for `capacity` bytes, and their number to `*needed`. NULL
 * and 0 ask for the number.
 *
 * Errors: OUT_OF_RANGE for an id that is not in the vocabulary; BUFFER_TOO_SMALL, and only `*needed` is written.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_token_bytes(const ortshard_tokenizer *tokenizer,
                                               int64_t id,
                                               void *buffer,
                                               size_t capacity,
                                               size_t *needed);

/**
 * Whether `id` is a special token, which `skip_special` leaves out: `*is_special` becomes 1 or 0. 0 for ids that do
 * not exist.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_is_special(const ortshard_tokenizer *tokenizer, int64_t id, int32_t *is_special);

/* ==================================================================================================================
 * Text stream
 *
 * Text while it is generated: push each id as it comes, print what it gives. All pieces together, and what _finish
 * gives, are exactly what ortshard_tokenizer_decode() gives for all the ids at once.
 *
 * Text comes as soon as it is certain. What waits: in a byte-level vocabulary (GPT-2, Llama 3, Qwen) the bytes of an
 * incomplete character; in one with byte fallback (Llama 2, Mistral) a run of byte tokens, until another token ends
 * it; and everything, until _finish, for a tokenizer.json whose decoder needs all tokens (BPEDecoder, CTC, or a
 * sequence that changes more than single characters after its tokens were joined), which language models do not have.
 * ================================================================================================================== */

/**
 * Creates a stream on `tokenizer`, which it keeps alive. `skip_special` not 0: special tokens give no text.
 *
 * Threads: any. Ownership: free `*stream` with ortshard_text_stream_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_text_stream_create(const ortshard_tokenizer *tokenizer,
                                            int32_t skip_special,
                                            ortshard_text_stream **stream);

/** Frees a stream and the text borrowed from it. NULL is ignored. */
ORTSHARD_API
void ortshard_text_stream_free(ortshard_text_stream *stream);

/**
 * Gives the text that `id` makes certain: whole characters, often none, since a character can span tokens.
 *
 * `*text` is UTF-8 followed by a NUL, `*length` its bytes without that NUL; models can produce NUL characters, so
 * only the length tells where the text ends.
 *
 * Errors: OUT_OF_RANGE if `id` is not in the tokenizer's vocabulary, the stream then stays as it was; OUT_OF_MEMORY.
 * Threads: one call at a time. Ownership: the text belongs to the stream and lives until its next call.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_text_stream_push(ortshard_text_stream *stream, int64_t id, const char **text, size_t *length);

/**
 * Gives the text that was still held back, with U+FFFD for an incomplete character. The stream is then at its start
 * and can be used again.
 *
 * Errors: MALFORMED for a tokenizer that fails on these tokens.
 * Threads: one call at a time. Ownership: the text belongs to the stream and lives until its next call.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_text_stream_finish(ortshard_text_stream *stream, const char **text, size_t *length);

/* ==================================================================================================================
 * Chat
 *
 * A conversation becomes a prompt by the model's chat template, character by character as in transformers. Messages
 * that are a role and a text come as structs (ortshard_tokenizer_apply_chat_template()); what else there is, as JSON:
 *
 *     [{"role": "user", "content": "What is the weather in Bern?"},
 *      {"role": "assistant", "reasoning_content": "I have a tool for that.",
 *       "tool_calls": [{"type": "function", "id": "a1",
 *                       "function": {"name": "get_weather", "arguments": {"city": "Bern"}}}]},
 *      {"role": "tool", "tool_call_id": "a1", "name": "get_weather", "content": "sunny"}]
 *
 * A message has a role. Its content is a text or a list of parts, each with a type, such as {"type": "text", "text":
 * "Hi"}; a part that is no text, such as an image, is UNSUPPORTED. Whatever else it has is the template's. An error
 * names the field as a JSON pointer, such as /messages/1/tool_calls/0/function/name.
 *
 * As in transformers 5, keys of a message that are null count as missing, and reasoning_content, thinking and
 * reasoning are one thing; transformers 4 gives both to the template as they are. JSON is Python's: NaN and Infinity
 * are numbers, whole numbers have up to 127 bits, and the last of two equal keys counts. A text has at most 64 MiB, a
 * million values, and lists and objects 64 deep.
 * ================================================================================================================== */

/**
 * One message of a conversation. Its layout is final, so it has no struct_size. Messages that have more than a
 * text come as JSON.
 */
typedef struct ortshard_chat_message {
    /** Who speaks, such as "system", "user" or "assistant". */
    const char *role;
    /** The text. */
    const char *content;
} ortshard_chat_message;

/**
 * What a chat is made of beside its messages. All zero but struct_size: the model's template, and nothing else. The
 * texts are read during the call only; NULL is none.
 */
typedef struct ortshard_chat_options {
    /** sizeof(ortshard_chat_options). */
    size_t struct_size;
    /** The tools that the model may call: a JSON list of objects, each with its JSON schema. */
    const char *tools;
    /** Documents to answer from: a JSON list of objects, usually with "title" and "text". */
    const char *documents;
    /**
     * Further variables of the template, such as {"enable_thinking": false}: a JSON object. They win over the names
     * of special tokens, such as bos_token.
     */
    const char *variables;
    /** Which of the model's templates. NULL: "tool_use" if there are tools and the model has it, else "default". */
    const char *template_name;
    /** A template of your own, in the place of the model's: the text of a chat_template.jinja. */
    const char *own_template;
    /**
     * The field of the last message that the model goes on with, such as "content" or "reasoning_content": the prompt
     * ends within it. NULL: the last message is complete.
     */
    const char *continue_field;
    /** Not 0: the prompt ends where the assistant's answer begins. */
    int32_t add_generation_prompt;
    /**
     * Not 0: control tokens that messages, tools, documents and variables spell out are text; see
     * ortshard_tokenizer_chat_ids(). For texts from people who might write them to deceive the model.
     */
    int32_t control_as_text;
} ortshard_chat_options;

/** Initialises an ortshard_chat_options. */
#define ORTSHARD_CHAT_OPTIONS_INIT { sizeof(ortshard_chat_options), NULL, NULL, NULL, NULL, NULL, NULL, 0, 0 }

/** What ORTSHARD_CHAT_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_options_init(ortshard_chat_options *options, size_t struct_size);

/**
 * The prompt that the model's chat template makes of `count` messages. `add_generation_prompt` not 0: it ends where
 * the assistant's answer begins. Encode it with add_special 0.
 *
 * Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
 * `*needed`. NULL and 0 ask for the number.
 *
 * The template gives what it gives in transformers, character by character; its strftime_now gives the local time.
 * Steps, time and memory are bounded, the more generously the longer the messages are.
 *
 * Errors: UNSUPPORTED if the model has no chat template, or if the template asks for the little of Jinja2 that is not
 * supported, which is named; INVALID_ARGUMENT if `count` is 0, and with the template's own words if it refuses these
 * messages; MALFORMED if the template is faulty or exceeds a bound, which is named; OUT_OF_MEMORY;
 * BUFFER_TOO_SMALL, and only `*needed` is written.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_apply_chat_template(const ortshard_tokenizer *tokenizer,
                                                       const ortshard_chat_message *messages,
                                                       size_t count,
                                                       int32_t add_generation_prompt,
                                                       char *buffer,
                                                       size_t capacity,
                                                       size_t *needed);

/**
 * The prompt that a chat template makes of `messages`, a JSON list; see above. NULL `options`: the model's template,
 * and nothing else. Encode it with add_special 0.
 *
 * Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
 * `*needed`. NULL and 0 ask for the number.
 *
 * Errors: INVALID_ARGUMENT, with a pointer to the field, for what cannot be read or is not of this form, and if the
 * last message cannot be continued; UNSUPPORTED, with a pointer, for a part that is no text; NOT_FOUND if the model
 * has no template of that name; those of ortshard_tokenizer_apply_chat_template().
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_chat_text(const ortshard_tokenizer *tokenizer,
                                             const char *messages,
                                             const ortshard_chat_options *options,
                                             char *buffer,
                                             size_t capacity,
                                             size_t *needed);

/**
 * The ids of ortshard_tokenizer_chat_text().
 *
 * With `control_as_text`, only the template writes control tokens, as with sanitize_control_tokens of transformers:
 * those that the JSON spells out in its texts are encoded as text. Control tokens are the special tokens, and the
 * added tokens that the template's own texts hold. Whole tokens are found. A template that makes a token of a role
 * by adding to it ("<|" and "|>" around it) still makes one: roles, and the keys of objects, are for the program to
 * choose.
 *
 * Writes ids to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
 *
 * Errors: those of ortshard_tokenizer_chat_text() and ortshard_tokenizer_encode(). With `control_as_text`:
 * INVALID_ARGUMENT, with a pointer to it, for a control token in a key; UNSUPPORTED for one that the tokenizer makes
 * of plain text.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_tokenizer_chat_ids(const ortshard_tokenizer *tokenizer,
                                            const char *messages,
                                            const ortshard_chat_options *options,
                                            int64_t *ids,
                                            size_t capacity,
                                            size_t *needed);

/* ==================================================================================================================
 * Chat parser
 *
 * A model writes its reasoning, its tool calls and its answer as one text with markers, in a format of its own. A
 * parser takes that text in any parts, while it is generated, and tells what is certain: so much content, so much
 * reasoning, a whole tool call.
 *
 * Markers can be special tokens, so the text has to come from a text stream with skip_special 0:
 *
 *     ortshard_text_stream_push(stream, id, &text, &length);
 *     ortshard_chat_parser_push(parser, text, length);
 *     while (!ortshard_chat_parser_next(parser, &event) && event.kind != ORTSHARD_CHAT_NOTHING) ...
 *
 * After the last token, ortshard_chat_parser_finish(), and the events that are left. ortshard_chat_parser_message()
 * has the whole message, ready to become the last one of the next ortshard_tokenizer_chat_text().
 *
 * The formats, by name:
 *
 * - plain: all is content
 * - qwen3: `<think>`, and `<tool_call>` with JSON: Qwen 2.5 and 3, Hermes
 * - qwen3-coder: `<think>`, and `<tool_call>` with `<function=...>`: Qwen3-Coder, Qwen 3.5
 * - llama3: JSON alone, or behind `<|python_tag|>`: Llama 3.1 to 3.3
 * - mistral: `[THINK]` and `[TOOL_CALLS]`: Mistral, Ministral, Magistral, Devstral
 * - gpt-oss: channels (harmony)
 * - deepseek: `<think>`, and DeepSeek's calls: R1, V3 and later
 * - gemma: `<|channel>` and `<|tool_call>`: Gemma 4; FunctionGemma
 *
 * What looks like a marker and is none, and what is marked as a call but is not written like one, is content: nothing
 * is lost but the markers and the white space beside them. A call whose end has not come is no call where the format
 * cannot tell whether it is whole.
 * ================================================================================================================== */

/** What an event tells. */
enum ortshard_chat_event_kind {
    /** No event is left; more may come with more text. */
    ORTSHARD_CHAT_NOTHING = 0,
    /** More of the answer's text. */
    ORTSHARD_CHAT_CONTENT = 1,
    /** More of its reasoning. */
    ORTSHARD_CHAT_REASONING = 2,
    /** A tool call, whole. */
    ORTSHARD_CHAT_TOOL_CALL = 3
};

/**
 * How an answer is parsed. All zero but struct_size: by the format that the model's chat template tells. The texts
 * are read during the call only; NULL is none.
 */
typedef struct ortshard_chat_parser_options {
    /** sizeof(ortshard_chat_parser_options). */
    size_t struct_size;
    /** The format, one of the names above. NULL: the one that the chat template tells. */
    const char *format;
    /**
     * What the model was given: the text of ortshard_tokenizer_chat_text(). Templates often begin the answer, such as
     * with `<think>`.
     */
    const char *prompt;
    /**
     * The tools, as in ortshard_chat_options. Only qwen3-coder looks at them: its arguments are texts, and the
     * schemas say which of them are numbers.
     */
    const char *tools;
} ortshard_chat_parser_options;

/** Initialises an ortshard_chat_parser_options. */
#define ORTSHARD_CHAT_PARSER_OPTIONS_INIT { sizeof(ortshard_chat_parser_options), NULL, NULL, NULL }

/** What ORTSHARD_CHAT_PARSER_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_parser_options_init(ortshard_chat_parser_options *options, size_t struct_size);

/** A part of an answer. The texts are NUL-terminated UTF-8 and live until the parser's next call. */
typedef struct ortshard_chat_event {
    /** Set to sizeof(ortshard_chat_event) before the call. */
    size_t struct_size;
    /** Content or reasoning; of a tool call its arguments, a JSON object. NULL if there is nothing. */
    const char *text;
    /** Bytes of `text` without its NUL. Models can write NUL characters, so only this tells where it ends. */
    size_t length;
    /** The name of the tool that is called; else NULL. */
    const char *name;
    /** The id of the call, if the model has given it one; else NULL. */
    const char *id;
    /** An ORTSHARD_CHAT_* constant. */
    int32_t kind;
} ortshard_chat_event;

/** Initialises an ortshard_chat_event. */
#define ORTSHARD_CHAT_EVENT_INIT { sizeof(ortshard_chat_event), NULL, 0, NULL, NULL, 0 }

/** What ORTSHARD_CHAT_EVENT_INIT does, for languages without macros: `struct_size` is sizeof *event. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_event_init(ortshard_chat_event *event, size_t struct_size);

/**
 * Creates a parser for an answer of the model that `tokenizer` belongs to. NULL `options`: by the format that the
 * chat template tells, without a prompt.
 *
 * Errors: INVALID_ARGUMENT for a format that is none, and the message lists them; also, with a pointer to the field,
 * for tools that cannot be read; OUT_OF_MEMORY.
 * Threads: any. Ownership: free `*parser` with ortshard_chat_parser_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_parser_create(const ortshard_tokenizer *tokenizer,
                                            const ortshard_chat_parser_options *options,
                                            ortshard_chat_parser **parser);

/** Frees a parser and the texts borrowed from it. NULL is ignored. */
ORTSHARD_API
void ortshard_chat_parser_free(ortshard_chat_parser *parser);

/**
 * Takes `length` more bytes of the answer: whole characters, as a text stream gives them. What they make certain
 * becomes events.
 *
 * Errors: OUT_OF_MEMORY, and the parser is as it was. Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_parser_push(ortshard_chat_parser *parser, const char *text, size_t length);

/**
 * The answer has ended: what the parser held back becomes events.
 *
 * Errors: OUT_OF_MEMORY, and the parser is as it was. Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_parser_finish(ortshard_chat_parser *parser);

/**
 * Takes the next event; its kind is ORTSHARD_CHAT_NOTHING if none is left.
 *
 * Errors: OUT_OF_MEMORY, and the event is still the next. Threads: one call at a time. Ownership: the texts belong to
 * the parser and live until its next call.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_parser_next(ortshard_chat_parser *parser, ortshard_chat_event *event);

/**
 * The message so far, as JSON: {"role": "assistant", "reasoning_content": "...", "content": "...", "tool_calls":
 * [{"type": "function", "function": {"name": "...", "arguments": {...}}}]}, each key only if there is something.
 *
 * Writes text and a final NUL to `buffer`, which has room for `capacity` bytes, and their number, NUL included, to
 * `*needed`. NULL and 0 ask for the number.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written; OUT_OF_MEMORY. Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chat_parser_message(ortshard_chat_parser *parser,
                                             char *buffer,
                                             size_t capacity,
                                             size_t *needed);

/* ==================================================================================================================
 * Constraint
 *
 * What a text must look like: a JSON schema, a regular expression or a Lark grammar, as a rule for the next token. A
 * generation takes one in its options. A program with a loop of its own asks for it by itself:
 *
 *     ortshard_constraint_create(tokenizer, ORTSHARD_GRAMMAR_JSON_SCHEMA, schema, NULL, 0, &constraint);
 *     each token: ortshard_constraint_mask(constraint, logits, count);
 *                 ortshard_sampler_sample(sampler, logits, count, &id);
 *                 ortshard_constraint_advance(constraint, id);
 *
 * The tokens that end a text may come exactly where the grammar may end, and a text that ends with one matches it.
 * Added tokens of the tokenizer, special ones among them, never come as text, only where a Lark grammar names them.
 *
 * JSON schemas: drafts 4 to 2020-12. Heeded are $ref within the document, allOf, anyOf, oneOf of alternatives that
 * exclude each other, const, enum, type; items, prefixItems, additionalItems, minItems, maxItems; properties,
 * patternProperties, additionalProperties, required, minProperties, maxProperties; minLength, maxLength, pattern,
 * format; minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf. Remarks such as title or default change
 * nothing. Any other keyword is refused, as is what cannot be kept to exactly. Keys come in the schema's order. A
 * format is its shape: 2026-02-30 is a date. Between the parts of JSON there may be up to 32 characters of white space:
 * without a bound a model can go on with it for ever.
 *
 * Regular expressions have the syntax of Rust's regex crate, without look-around, back-references, lazy repetition and
 * anchors: all of the text must match. Only ^ in front and $ behind are taken, and say nothing.
 *
 * Lark grammars are in llguidance's dialect; the rule start is the text. %json { ... } is a JSON schema within one,
 * where white space has no bound, and <|name|> an added token.
 *
 * Bounds, whoever has written the grammar: 1 MiB of it; 6,000 levels in all rules and referenced schemas together; 128
 * patternProperties, and fewer where allOf, anyOf, oneOf and $ref combine many schemas; a second or two and some
 * hundred MiB to compile it; some 20 ms and 50,000 items for a token; 100,000 states, of 1 to 2 KiB each, for all texts
 * together that come from one constraint. What exceeds one is INVALID_ARGUMENT.
 * ================================================================================================================== */

/** What a grammar is written in. */
enum ortshard_grammar {
    /** There is no grammar. */
    ORTSHARD_GRAMMAR_NONE = 0,
    /** A JSON schema. */
    ORTSHARD_GRAMMAR_JSON_SCHEMA = 1,
    /** A regular expression. */
    ORTSHARD_GRAMMAR_REGEX = 2,
    /** A Lark grammar. */
    ORTSHARD_GRAMMAR_LARK = 3
};

/**
 * Creates a constraint at the start of a text of `tokenizer`'s tokens. `grammar_kind` is an ORTSHARD_GRAMMAR_*
 * constant, `grammar` the schema, expression or grammar itself. One of the `eos_count` tokens at `eos` ends the text;
 * NULL and 0: those of ortshard_tokenizer_eos().
 *
 * The first constraint on a tokenizer sorts its vocabulary, once for all of them: half a second and some 30 MiB for
 * 150,000 tokens.
 *
 * Errors: INVALID_ARGUMENT for a grammar that is faulty, asks for what is not supported, or exceeds a bound: the
 * message names the place, as a pointer into the schema, an offset in bytes, or a line and a column; INVALID_ARGUMENT,
 * too, if nothing would end a text; OUT_OF_RANGE for an id that is none; UNSUPPORTED for a tokenizer that makes text
 * of all tokens at once, and in a library that was built without grammars; OUT_OF_MEMORY.
 * Threads: any. Ownership: free `*constraint` with ortshard_constraint_free(). It keeps the tokenizer alive.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_constraint_create(const ortshard_tokenizer *tokenizer,
                                           int32_t grammar_kind,
                                           const char *grammar,
                                           const int64_t *eos,
                                           size_t eos_count,
                                           ortshard_constraint **constraint);

/** Frees a constraint. NULL is ignored. */
ORTSHARD_API
void ortshard_constraint_free(ortshard_constraint *constraint);

/**
 * Creates a constraint that goes on independently from where `constraint` is: for a request that was forked. It takes
 * no compiling, and is how many texts of one grammar are made.
 *
 * Threads: one call at a time on `constraint`. Ownership: free `*clone` with ortshard_constraint_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_constraint_clone(const ortshard_constraint *constraint, ortshard_constraint **clone);

/**
 * Sets the `logits` of the tokens that may not come next to -INFINITY: one row of a last shard's output, so that count
 * is vocab_size.
 *
 * Errors: INVALID_ARGUMENT if no token may come, or if finding that out exceeds a bound; the logits are as they were.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_constraint_mask(ortshard_constraint *constraint, float *logits, size_t count);

/**
 * Takes the next token.
 *
 * Errors: INVALID_ARGUMENT if the grammar does not allow it here; OUT_OF_RANGE for an id that is none. The constraint
 * is as it was.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_constraint_advance(ortshard_constraint *constraint, int64_t id);

/**
 * The tokens that must come next, whatever the logits: the grammar has only one way on, spelled as the tokenizer
 * spells it. Often there are none. A program can run them in one call without choosing any; each is to be advanced
 * over all the same.
 *
 * Writes ids to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written; INVALID_ARGUMENT if finding them exceeds a bound.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_constraint_known_ids(ortshard_constraint *constraint,
                                              int64_t *ids,
                                              size_t capacity,
                                              size_t *needed);

/* ==================================================================================================================
 * Generation
 *
 * Text after a prompt, token by token, in one object that runs the model, chooses, and makes text:
 *
 *     ortshard_generation_open("models/stories", NULL, &generation);
 *     ortshard_generation_append_text(generation, "Once upon a time", 1);
 *     while (step.finish == ORTSHARD_FINISH_NONE && !ortshard_generation_step(generation, &step))
 *         fwrite(step.text, 1, step.text_length, stdout);
 *
 * On requests of one's own, ortshard_generation_create(): one on a whole model, or one on each of the shards that it
 * is cut into. The tokens are those that ortshard_chain_sample() gives with the same options: on one shard or on
 * several, alone or in a batch, whatever the prompt's pieces.
 *
 * Where the tokens are run by other processes or machines, ortshard_generation_create_remote().
 *
 * When the text has ended, more of a prompt may be appended: the next turn of a conversation. After an error a
 * generation is as it was before the call, and the call may be repeated: no token is lost, none comes twice.
 * ================================================================================================================== */

/**
 * How a generation goes on, and where it ends. All zero but struct_size: the defaults. What it points to is read during
 * the call only.
 */
typedef struct ortshard_generation_options {
    /** sizeof(ortshard_generation_options). */
    size_t struct_size;
    /**
     * How tokens are chosen; NULL: the sampler's defaults. What the model's publisher wants:
     * ortshard_model_get_sampler_options(), or `published_sampling`. Without `eos` the tokens end the text that the
     * model's files declare: see ortshard_tokenizer_eos().
     */
    const ortshard_sampler_options *sampling;
    /**
     * Strings that end the text wherever they come, also across tokens; NULL if there are none. Text that could still
     * become one is held back. Of two the one counts that is complete first, of those complete at once the longest.
     */
    const char *const *stop;
    /** Number of `stop`. */
    size_t stop_count;
    /** Not 0: the stop string is part of the text. */
    int32_t include_stop;
    /** Not 0: special tokens are part of the text. */
    int32_t keep_special;
    /** Not 0: the text goes on after a token that would end it. */
    int32_t ignore_eos;
    /** The most tokens that are generated after a prompt; 0: as many as there is room for. */
    uint32_t max_new_tokens;
    /**
     * Of how many of the most probable tokens each step tells the logarithms of the probabilities, beside that of the
     * token itself; 0: none of them. On a device that is not the processor all logits are then copied to the host.
     */
    uint32_t logprobs;
    /**
     * Not 0: the logits that each token is chosen from are kept for ortshard_generation_logits(), and copied likewise.
     */
    int32_t keep_logits;
    /** For ortshard_generation_open(): the engine's options; NULL: the defaults. */
    const ortshard_engine_options *engine;
    /** For ortshard_generation_open(): the request's options; NULL: the defaults. */
    const ortshard_request_options *request;
    /**
     * For ortshard_generation_open(). Not 0: tokens are chosen as the model's generation_config.json says, also where
     * it bans or biases tokens. `sampling` is NULL then.
     */
    int32_t published_sampling;
    /**
     * What the text after each prompt must match, in the language that `grammar_kind` names; NULL if there is none.
     * See ortshard_constraint_create(). The text ends with one of `eos` exactly where the grammar may end. A stop
     * string, a limit or cancelling cuts it all the same: only the finish ORTSHARD_FINISH_EOS says that it matches.
     * Where the grammar has only one way on, its tokens come without a choice and without a run of their own.
     *
     * INVALID_ARGUMENT beside `ignore_eos`, and with `forced` tokens that the grammar does not allow. Where it and
     * other controls (banned, biases, no_repeat_ngram, min_new_tokens) rule all tokens out, the step is
     * INVALID_ARGUMENT.
     */
    const char *grammar;
    /**
     * Instead of `grammar`: a constraint on the generation's tokenizer, of which the generation takes a copy, so that
     * many need not compile the grammar again. The text after each prompt begins where the constraint is now; NULL if
     * there is none.
     */
    const ortshard_constraint *constraint;
    /** An ORTSHARD_GRAMMAR_* constant. */
    int32_t grammar_kind;
} ortshard_generation_options;

/** Initialises an ortshard_generation_options. */
#define ORTSHARD_GENERATION_OPTIONS_INIT \
    { sizeof(ortshard_generation_options), NULL, NULL, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, 0, NULL, NULL, 0 }

/** What ORTSHARD_GENERATION_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_options_init(ortshard_generation_options *options, size_t struct_size);

/**
 * Creates a generation on `count` requests, which are a whole model together: one, or one on each of its shards in
 * turn. It goes on where they are; what they have run before is not part of the text that penalties look at.
 *
 * Until the generation is freed it has the requests to itself: calls on them return INVALID_STATE, but for those that
 * ask for position and capacity, and for cancelling one, which cancels the generation. Afterwards they go on from where
 * it left them.
 *
 * NULL `tokenizer`: prompts are ids, and there is no text; the options' `eos` ends it. NULL `options`: the defaults.
 *
 * Errors: INVALID_ARGUMENT for requests that are not a whole model, an option outside its range, or two that
 * contradict each other, both of which the message names; those of ortshard_constraint_create() for a grammar, whose
 * contradiction to `forced` is refused, too; OUT_OF_RANGE for a token that is not in the vocabulary; INVALID_STATE for
 * a request that is in use or appears twice.
 * Threads: any. Ownership: free `*generation` with ortshard_generation_free(). It keeps what it needs alive.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_create(ortshard_request *const *requests,
                                           size_t count,
                                           const ortshard_tokenizer *tokenizer,
                                           const ortshard_generation_options *options,
                                           ortshard_generation **generation);

/**
 * Opens the model in the folder `model`, or of that name on the hub, and creates a generation on a request on all its
 * layers, with the model's tokenizer if it has one. NULL `options`: the defaults.
 *
 * What contradicts itself is refused before weights are loaded. To see progress, or to choose a revision or where files
 * come from, make the request with an engine of your own and call ortshard_generation_create().
 *
 * Errors: those of ortshard_engine_create(), ortshard_engine_get_model_info(), ortshard_engine_open_tokenizer(),
 * ortshard_engine_ensure_shard(), ortshard_request_create() and ortshard_generation_create(); with published_sampling
 * those of ortshard_engine_get_sampler_options().
 * Threads: any. Ownership: free `*generation` with ortshard_generation_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_open(const char *model,
                                         const ortshard_generation_options *options,
                                         ortshard_generation **generation);

/** Frees a generation and what was borrowed from it; its requests are their owner's again. NULL is ignored. */
ORTSHARD_API
void ortshard_generation_free(ortshard_generation *generation);

/**
 * Adds `text` to the prompt: before the first step, or after the text has ended, which then goes on behind it.
 * `add_special` is that of ortshard_tokenizer_encode(). What is generated is counted from here.
 *
 * Errors: those of ortshard_tokenizer_encode(), but for BUFFER_TOO_SMALL; CONTEXT_FULL if there is no room for it;
 * INVALID_STATE within a text, or without a tokenizer.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_append_text(ortshard_generation *generation, const char *text, int32_t add_special);

/**
 * Adds `count` tokens to the prompt, as ortshard_generation_append_text() adds text.
 *
 * Errors: OUT_OF_RANGE for an id that is not in the vocabulary; CONTEXT_FULL if there is no room for them;
 * INVALID_STATE within a text; OUT_OF_MEMORY.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_append_ids(ortshard_generation *generation, const int64_t *ids, size_t count);

/**
 * Writes the logits that the last token was chosen from, as the model gives them, to `logits`, which has room for
 * `capacity` floats, and their number, vocab_size, to `*needed`; 0 if there are none. NULL and 0 ask for the number.
 *
 * Errors: INVALID_STATE without the option keep_logits; BUFFER_TOO_SMALL, and only `*needed` is written.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_logits(ortshard_generation *generation,
                                           float *logits,
                                           size_t capacity,
                                           size_t *needed);

/**
 * Ends the text: the step in progress, or the next one, gives no token, and its finish is ORTSHARD_FINISH_CANCELLED.
 * Where the text has ended already, nothing happens. Never waits.
 *
 * Errors: ONNXRUNTIME. Threads: any, also during a step.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_cancel(const ortshard_generation *generation);

/** Why a text has ended. */
enum ortshard_finish {
    /** It has not. */
    ORTSHARD_FINISH_NONE = 0,
    /** A token came that ends a text. */
    ORTSHARD_FINISH_EOS = 1,
    /** A stop string came. */
    ORTSHARD_FINISH_STOP = 2,
    /** max_new_tokens have come. */
    ORTSHARD_FINISH_LENGTH = 3,
    /** There is no room for another token. */
    ORTSHARD_FINISH_CONTEXT_FULL = 4,
    /** It was cancelled. */
    ORTSHARD_FINISH_CANCELLED = 5
};

/** A token with the logarithm of its probability, as the model gives it, before any control. Its layout is final. */
typedef struct ortshard_logprob {
    /** The token. */
    int64_t id;
    /** The natural logarithm of its probability. */
    double logprob;
    /** What it is alone, as UTF-8 followed by a NUL; bytes that are no text are U+FFFD. Empty without a tokenizer. */
    const char *text;
    /** Bytes of `text` without that NUL. */
    size_t text_length;
} ortshard_logprob;

/** What a step gives. What it points to belongs to the generation and lives until its next call. */
typedef struct ortshard_step {
    /** Set to sizeof(ortshard_step) before the call. */
    size_t struct_size;
    /** The token; ORTSHARD_NO_ID if the generation was cancelled, or had ended before. */
    int64_t id;
    /**
     * Text that has become certain, as UTF-8 followed by a NUL: whole characters, often none. Models can produce NUL
     * characters, so only the length tells where the text ends.
     */
    const char *text;
    /** Bytes of `text` without that NUL. */
    size_t text_length;
    /** Why the text ends here, an ORTSHARD_FINISH_* constant; 0 if it goes on. */
    int32_t finish;
    /** Where that is ORTSHARD_FINISH_STOP: which of the options' `stop`. */
    uint32_t stop;
    /** The natural logarithm of the token's probability as the model gives it; 0 without the option logprobs. */
    double logprob;
    /** The most probable tokens, the most probable first; NULL without the option logprobs. */
    const ortshard_logprob *best;
    /** Number of `best`. */
    size_t best_count;
} ortshard_step;

/** Initialises an ortshard_step. */
#define ORTSHARD_STEP_INIT { sizeof(ortshard_step), 0, NULL, 0, 0, 0, 0.0, NULL, 0 }

/** What ORTSHARD_STEP_INIT does, for languages without macros: `struct_size` is sizeof *step. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_step_init(ortshard_step *step, size_t struct_size);

/**
 * Is given each step; it lives for the length of the call. Returns 0 to go on, anything else to end the text.
 *
 * Calls on the generation return INVALID_STATE from there, but for ortshard_generation_cancel(). It must return
 * normally (no longjmp, no C++ exception).
 */
typedef int32_t (*ortshard_step_callback)(const ortshard_step *step, void *user_data);

/**
 * Runs the next `most` tokens of the prompt, but for its last one, which the first step runs. `*left` becomes the
 * number of those left to run, that one included.
 *
 * Not needed: a step runs whatever is left. It cuts a long prompt into calls, between which a program can do other
 * things. If it is cancelled, the next step says so.
 *
 * Errors: those of ortshard_request_infer(). Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_prefill(ortshard_generation *generation, size_t most, size_t *left);

/**
 * Gives the next token and the text that it makes certain. Where the text has ended, it gives no token, and says again
 * why.
 *
 * If it fails, `*step` is as it was, and the step may be repeated.
 *
 * Errors: INVALID_STATE before there is a prompt; those of ortshard_chain_sample(), but for CANCELLED, which is a
 * finish.
 * Threads: one call at a time. Ownership: what `*step` points to belongs to the generation and lives until its next
 * call.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_step(ortshard_generation *generation, ortshard_step *step);

/**
 * Does for `count` generations at once what ortshard_generation_step() does for one: `steps[i]` is what generation i
 * gives. All of `steps` have the struct_size of the first.
 *
 * Generations of one request each, all on one shard, run together: the tokens of sixteen of them take little longer
 * than one. Others run one after another. Each gets the tokens that it gets alone.
 *
 * One that fails is as it was, as is its `steps[i]`, and leaves the others to go on: `statuses[i]`, where `statuses` is
 * not NULL, says how each ended, and ortshard_error_message(generations[i], ...) why. Memory running out in a run fails
 * all that run together.
 *
 * Returns OK if all succeeded, else the status of the first that failed; the message says which.
 *
 * Errors: those of ortshard_generation_step(); INVALID_STATE for a generation that appears twice.
 * Threads: one call at a time on each generation.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_step_batch(ortshard_generation *const *generations,
                                               size_t count,
                                               ortshard_step *steps,
                                               ortshard_status *statuses);

/**
 * Steps until the text ends, and gives each step to `callback`: a convenience for programs that do nothing meanwhile.
 * `*finish`, where `finish` is not NULL, becomes why it ended: ORTSHARD_FINISH_CANCELLED if the callback did not return
 * 0; it is not called again then.
 *
 * If it fails, the callback has had all steps before, and the call may be repeated to go on.
 *
 * Errors: those of ortshard_generation_step(). Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_run(ortshard_generation *generation,
                                        ortshard_step_callback callback,
                                        void *user_data,
                                        int32_t *finish);

/**
 * Creates a generation whose tokens the program runs: in other processes, on other machines, in any way that gives the
 * logits of the model. Choosing, grammar, stop strings, text and probabilities are as on requests of this process, and
 * so are the tokens.
 *
 *     ortshard_generation_append_text(generation, "Once upon a time", 1);
 *     while (step.finish == ORTSHARD_FINISH_NONE) {
 *         ortshard_generation_pending(generation, ids, room, &count);
 *         float *logits = count ? run(ids, count) : NULL;
 *         ortshard_generation_step_with(generation, NULL, logits, count ? vocab_size : 0, &step);
 *     }
 *
 * `vocab_size` is that of the model, `capacity` the number of tokens that there is room for, and `short_context` that
 * of ortshard_shard_info. NULL `tokenizer` and NULL `options` are those of ortshard_generation_create().
 *
 * ortshard_generation_prefill() and the functions that step otherwise are INVALID_STATE on it. Its exported state has
 * no requests' states, and is for another of the kind.
 *
 * Errors: INVALID_ARGUMENT if `vocab_size` or `capacity` is 0; those of ortshard_generation_create() about options.
 * Threads: any. Ownership: free `*generation` with ortshard_generation_free(). It keeps what it needs alive.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_create_remote(uint32_t vocab_size,
                                                  uint32_t capacity,
                                                  uint64_t short_context,
                                                  const ortshard_tokenizer *tokenizer,
                                                  const ortshard_generation_options *options,
                                                  ortshard_generation **generation);

/**
 * Writes the tokens that are to be run before the next step of a generation of ortshard_generation_create_remote() to
 * `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
 *
 * They follow those of earlier steps. 0: the step needs no run, since its token is known, or the text has ended. Where
 * a text has become longer than `short_context`, they are all tokens of the text, to be run anew as those of a long
 * text (ortshard_request_options long_context).
 *
 * Errors: INVALID_STATE before there is a prompt, or for another generation; BUFFER_TOO_SMALL, and only `*needed` is
 * written; OUT_OF_MEMORY. Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_pending(ortshard_generation *generation,
                                            int64_t *ids,
                                            size_t capacity,
                                            size_t *needed);

/**
 * How many of the largest logits decide a token: 1 where the most probable one is taken, vocab_size where all are
 * needed, as under a grammar. It is one number for all steps.
 *
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_candidates(ortshard_generation *generation, size_t *count);

/**
 * Does what ortshard_generation_step() does, with what the run of the pending tokens has given: NULL `ids` and the
 * `count` logits of the model, one for each token; or the tokens with the `count` largest logits in falling order, at
 * least as many as ortshard_generation_candidates() says and all that equal the last of those. Where nothing was to be
 * run, they are not looked at.
 *
 * If it fails, `*step` is as it was, and the step may be repeated.
 *
 * Errors: INVALID_ARGUMENT for logits that cannot be the model's, or too few; OUT_OF_RANGE for an id that is not in
 * the vocabulary; INVALID_STATE before there is a prompt, or for another generation; those of
 * ortshard_sampler_sample().
 * Threads: one call at a time. Ownership: what `*step` points to belongs to the generation and lives until its next
 * call.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_step_with(ortshard_generation *generation,
                                              const int64_t *ids,
                                              const float *logits,
                                              size_t count,
                                              ortshard_step *step);

/**
 * Creates another generation that goes on from here on its own, with the same options, on forks of the requests: it
 * gives the tokens that this one gives, unless another prompt is appended to it. What the last step gave is not in it.
 *
 * Errors: INVALID_STATE after a step that has failed and is to be repeated first; those of ortshard_request_fork().
 * Threads: one call at a time. Ownership: free `*fork` with ortshard_generation_free(). It keeps what it needs alive.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_fork(ortshard_generation *generation, ortshard_generation **fork);

/**
 * Writes the generation's state to `buffer`, which has room for `capacity` bytes, and its size to `*needed`. NULL and
 * 0 ask for the size.
 *
 * A generation that imports it goes on as if this one had never stopped, with the same tokens and the same text:
 * later, in another process, on another machine with the same shards. In it are the requests' states, the place in the
 * random stream, the text that penalties look at, text that is held back, the prompt's tokens that have not been run,
 * and the place in the grammar. The options are in it as hashes only. What the last step gave is not in it.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written; INVALID_STATE after a step that has failed and is to be
 * repeated first; those of ortshard_request_export_state().
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_export_state(ortshard_generation *generation,
                                                 void *buffer,
                                                 size_t capacity,
                                                 size_t *needed);

/**
 * Puts the generation where the one was that exported the `size` bytes at `state`. It was made with the same options,
 * but for `logprobs` and `keep_logits`, on requests of the same model that is cut alike. If the state is refused,
 * nothing changes.
 *
 * Under a grammar the tokens of the text so far are taken again, some microseconds each.
 *
 * Errors: MALFORMED if the bytes are damaged; UNSUPPORTED for a version that this library does not know;
 * INVALID_ARGUMENT for a state of another model, tokenizer or grammar, or of other options: the message names what is
 * other; those of ortshard_request_import_state().
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_generation_import_state(ortshard_generation *generation, const void *state, size_t size);

/* ==================================================================================================================
 * Chain
 *
 * Requests on consecutive shards, run as one model: what one shard gives, the next takes. It is one call for all of
 * them: if it fails, every position is as it was. Where two neighbouring shards are on one device (not the
 * processor), the hidden states between them stay there.
 *
 *     ortshard_chain_sample(requests, count, &prompt, sampler, &id);
 *     while (!done(id)) {
 *         ortshard_tensor input = {ORTSHARD_DTYPE_I64, 1, {1}, &id, sizeof id};
 *         ortshard_chain_sample(requests, count, &input, sampler, &id);
 *     }
 * ================================================================================================================== */

/**
 * Runs `input` through the shards of `count` requests in turn, and moves their positions on.
 *
 * The layers of each request's shard must follow those of the one before, and the positions be the same. `input` and
 * `output` are those of ortshard_request_infer() on the first and the last; `output` may be the same struct as
 * `input`. Cancelling any of the requests cancels the call. Between the shards hidden states stay as they were
 * computed, whatever the requests' hidden_dtype.
 *
 * If the call fails, `output` is all zero, every position is as before, and the call can be repeated.
 *
 * Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a `count` of 0, for requests that do not follow one
 * another, or for some that take the text for a long one where others do not (long_context); INVALID_STATE for a
 * request that appears twice.
 * Threads: one call at a time on each request. Ownership: output->data belongs to the last request and lives until
 * that request's next run. The call is a run of the other requests, too: what they gave before is gone.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chain_infer(ortshard_request *const *requests,
                                     size_t count,
                                     const ortshard_tensor *input,
                                     int32_t logits,
                                     ortshard_tensor *output);

/**
 * Runs `input` through the shards of `count` requests in turn, as ortshard_chain_infer() does, and has `sampler`
 * choose the next token. The last shard must be the model's last; one request on a whole model is a chain of 1. NULL
 * `sampler`: the id of the largest logit, among equals the lowest.
 *
 * `*id` is what ortshard_sampler_sample() would choose from the logits. These stay where they are: on a device that is
 * not the processor only the largest are copied to the host, if the sampler is greedy or has a top_k.
 *
 * `*id` may be what `input` describes. If the call fails, also in sampling, `*id` is as it was, and so are all
 * positions and the sampler. It is a run of each request: what the requests gave before is gone.
 *
 * Errors: those of ortshard_chain_infer() and ortshard_sampler_sample(); INVALID_ARGUMENT if the last shard gives no
 * logits.
 * Threads: one call at a time on each request and on the sampler.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_chain_sample(ortshard_request *const *requests,
                                      size_t count,
                                      const ortshard_tensor *input,
                                      ortshard_sampler *sampler,
                                      int64_t *id);

/* ==================================================================================================================
 * Batch
 *
 * Many requests on one shard, run at once: a run reads every weight once however many requests it serves, so the
 * next tokens of sixteen requests take little longer together than one of them alone. Each request gets the bits
 * that it gets alone.
 *
 *     for (;;) {
 *         ortshard_batch_infer(requests, tensors, NULL, count, tensors, statuses);
 *         for (size_t i = 0; i < count; i++) { choose a token from tensors[i], make it the next input in tensors[i] }
 *     }
 * ================================================================================================================== */

/**
 * Runs `inputs[i]` through the shard for each of `count` requests and moves their positions on.
 *
 * All requests must be on one shard, each only once. Rows of all are run together, about 512 at a time: decode steps
 * in one run, a long prompt among them in several. Inputs and outputs are those of ortshard_request_infer();
 * `outputs` may be the same array as `inputs`. `logits` holds an ORTSHARD_LOGITS_* constant for each request; NULL:
 * ORTSHARD_LOGITS_LAST for all.
 *
 * A request that is refused or cancelled leaves the others to go on: `statuses[i]`, where `statuses` is not NULL, says
 * how each ended, and ortshard_error_message(requests[i], ...) why. One that failed has an output of all zero and the
 * position it had. Memory running out in a run fails every request of the call.
 *
 * Returns OK if all requests succeeded, else the status of the first that failed; the message says which.
 *
 * Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a request on another shard than the first, which is
 * refused alone; INVALID_STATE for a request that appears twice.
 * Threads: one call at a time on each request. Ownership: `outputs[i].data` belongs to request i and lives until that
 * request's next run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_batch_infer(ortshard_request *const *requests,
                                     const ortshard_tensor *inputs,
                                     const int32_t *logits,
                                     size_t count,
                                     ortshard_tensor *outputs,
                                     ortshard_status *statuses);

/**
 * Runs `inputs[i]` through the shard, which must be the model's last, for each of `count` requests, as
 * ortshard_batch_infer() does, and has `samplers[i]` choose the token that follows: `ids[i]`.
 *
 * Each request draws from a stream of its own, so that no sampler may appear twice. Where `samplers[i]` is NULL, and
 * for all where `samplers` is, the id is that of the largest logit, among equals the lowest.
 *
 * A request that fails leaves the others to go on: `statuses[i]`, where `statuses` is not NULL, says how each ended,
 * and ortshard_error_message(requests[i], ...) why. `ids[i]` of one that failed is as it was, as are its position and
 * its sampler. What the requests gave before is gone.
 *
 * Returns OK if all succeeded, else the status of the first that failed; the message says which.
 *
 * Errors: those of ortshard_batch_infer() and ortshard_chain_sample(); INVALID_ARGUMENT for a sampler that appears
 * twice.
 * Threads: one call at a time on each request and on each sampler.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_batch_sample(ortshard_request *const *requests,
                                      const ortshard_tensor *inputs,
                                      ortshard_sampler *const *samplers,
                                      size_t count,
                                      int64_t *ids,
                                      ortshard_status *statuses);

/* ==================================================================================================================
 * Frame
 *
 * What travels between shards in two processes: bytes that say of which model, boundary and tokens they are, so that
 * what does not belong is refused before anything is run. A frame has one or more PARTS, each with a ROLE; most models
 * have one, hidden states, and some pass more (ORTSHARD_ROLE_*). In one process ortshard_chain_infer() hands the parts
 * over as they lie, and there are no frames.
 *
 * A request gives frames if its option `output` says so. To the functions that run, a frame is a tensor of the type
 * ORTSHARD_DTYPE_FRAME:
 *
 *     ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
 *     options.output = ORTSHARD_OUTPUT_FRAME;
 *     ortshard_request_create(front, &options, &request);
 *     ortshard_request_infer(request, &ids, ORTSHARD_LOGITS_LAST, &frame);
 *     send(socket, frame.data, frame.byte_length);
 *
 * and on the other side, by any function that runs (of a request, a batch or a chain; also those that sample):
 *
 *     receive(socket, bytes, ORTSHARD_FRAME_START);
 *     ortshard_frame_size(bytes, ORTSHARD_FRAME_START, &size);
 *     receive(socket, bytes + ORTSHARD_FRAME_START, size - ORTSHARD_FRAME_START);
 *     ortshard_tensor frame = {ORTSHARD_DTYPE_FRAME, 1, {(int64_t)size}, bytes, size};
 *     ortshard_chain_sample(&request, 1, &frame, sampler, &id);
 *
 * A frame is refused, and nothing changes, with
 *
 *     MALFORMED           if it is cut, damaged, or none
 *     UNSUPPORTED         for a version, role or type that this library does not know
 *     INVALID_ARGUMENT    if it comes from another model, other weights (a fine-tune), another precision or another
 *                         layer, or was rotated as in a long text where the request is a short one (long_context)
 *     INVALID_STATE       if it is not the next of the request: repeated, or one before it is missing.
 *                         ortshard_frame_get_info() and ortshard_request_position() tell which
 *
 * The message says what differs. Other weights are seen by the layers on both sides of the boundary, where one side has
 * the files of both; a frame's hash is no protection against people who want to do harm. Which request a frame is for,
 * the frame does not say: that is what the program sends beside it.
 * ================================================================================================================== */

/** What a part of a frame is. */
enum ortshard_role {
    /** Hidden states [n, hidden_size]: what a layer hands to the next. Every frame has them. */
    ORTSHARD_ROLE_HIDDEN_STATES = 1,
    /** Per-layer inputs: what the tokens themselves give to each layer behind the boundary (per-layer embeddings). */
    ORTSHARD_ROLE_PER_LAYER_INPUTS = 2,
    /** The streams of hidden states besides the first one, one after another, in models that have several. */
    ORTSHARD_ROLE_STREAMS = 3
};

/** Reading a frame from a stream. */
enum {
    /** How many of a frame's bytes tell how many it has. */
    ORTSHARD_FRAME_START = 32
};

/** What a frame says of itself. */
typedef struct ortshard_frame_info {
    /** Set to sizeof(ortshard_frame_info) before the call. */
    size_t struct_size;
    /** The position of its first token: that of the request that can take it. */
    uint64_t position;
    /** Its tokens, n. */
    uint64_t tokens;
    /** The layer in front of the boundary: the next shard begins one behind it. */
    uint32_t layer;
    /** Number of its parts. */
    uint32_t part_count;
    /** 1 if positions are rotated as in a long text (ortshard_request_options's long_context), else 0. */
    int32_t is_long;
    /** How the weights are kept that computed it: an ORTSHARD_PRECISION_* constant. */
    int32_t precision;
    /** The model, as in ortshard_boundary: frames of other models have another. */
    char model[40];
} ortshard_frame_info;

/** Initialises an ortshard_frame_info. */
#define ORTSHARD_FRAME_INFO_INIT { sizeof(ortshard_frame_info), 0, 0, 0, 0, 0, 0, "" }

/** What ORTSHARD_FRAME_INFO_INIT does, for languages without macros: `struct_size` is sizeof *info. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_frame_info_init(ortshard_frame_info *info, size_t struct_size);

/** A piece of a frame. Its layout is final, so it has no struct_size; it is that of POSIX's struct iovec. */
typedef struct ortshard_piece {
    /** Its bytes. Read only. */
    const void *data;
    /** How many. */
    size_t size;
} ortshard_piece;

/**
 * How many bytes the frame has whose first ORTSHARD_FRAME_START bytes are at `start`, for reading it from a stream.
 * `size` bytes are given, so many or more.
 *
 * These bytes are not checked yet: compare `*frame_size` with what can come before room is made for so much.
 *
 * Errors: MALFORMED if no frame begins so, or fewer bytes are given; UNSUPPORTED. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_frame_size(const void *start, size_t size, size_t *frame_size);

/**
 * Checks the frame of `size` bytes at `frame`, whole, and describes it. Needs no model.
 *
 * Errors: MALFORMED if it is cut, damaged or none; UNSUPPORTED. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_frame_get_info(const void *frame, size_t size, ortshard_frame_info *info);

/**
 * Checks the frame of `size` bytes at `frame`, whole, and describes its part `index`: its ORTSHARD_ROLE_* constant, and
 * its values, as they lie in the frame, as a tensor [1, n, width] of F32, F16 or BF16. Parts come in the order of their
 * roles, from 0 to ortshard_frame_info's part_count - 1.
 *
 * Parts begin at multiples of 64 bytes from the frame's first one. Any of the outputs may be NULL.
 *
 * Errors: MALFORMED if it is cut, damaged or none; UNSUPPORTED; OUT_OF_RANGE for an index of no part. Threads: any.
 * Ownership: part->data lies in the frame.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_frame_get_part(const void *frame,
                                        size_t size,
                                        uint32_t index,
                                        int32_t *role,
                                        ortshard_tensor *part);

/**
 * The frame of what the request gave last, in pieces that are sent one after another, without a copy: for writev() and
 * the like. It is the same frame as ORTSHARD_OUTPUT_FRAME gives, whatever the request's option `output`.
 *
 * Writes them to `pieces`, which has room for `capacity`, and their number to `*needed`: 2 for a boundary of one part.
 * NULL and 0 ask for the number.
 *
 * Errors: INVALID_ARGUMENT if the shard gives logits; INVALID_STATE if there is nothing to give, since the request has
 * not run, its last run failed, or what it gave went on in a chain; OUT_OF_RANGE with the option refuse_beyond;
 * BUFFER_TOO_SMALL, and only `*needed` is written; OUT_OF_MEMORY (site RUN).
 * Threads: one call at a time. Ownership: the pieces belong to the request and live until its next run.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_frame_pieces(ortshard_request *request,
                                              ortshard_piece *pieces,
                                              size_t capacity,
                                              size_t *needed);

/* ==================================================================================================================
 * Model folders
 *
 * A model is a folder as Hugging Face publishes it: config.json, safetensors and, for text, tokenizer.json. For models
 * of the hub by name: ortshard_engine_get_model_info().
 * ================================================================================================================== */

/** The shape of a model. */
typedef struct ortshard_model_info {
    /** Set to sizeof(ortshard_model_info) before the call. */
    size_t struct_size;
    /** The architecture, such as "LlamaForCausalLM". */
    char architecture[64];
    /** Number of layers; the last one's index is one less. */
    uint32_t layer_count;
    /** Width of hidden states. */
    uint32_t hidden_size;
    /** Number of token ids, and width of logits. */
    uint32_t vocab_size;
    /** The longest sequence the model allows, in tokens. */
    uint32_t max_positions;
} ortshard_model_info;

/** Initialises an ortshard_model_info. */
#define ORTSHARD_MODEL_INFO_INIT { sizeof(ortshard_model_info), "", 0, 0, 0, 0 }

/** What ORTSHARD_MODEL_INFO_INIT does, for languages without macros: `struct_size` is sizeof *info. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_model_info_init(ortshard_model_info *info, size_t struct_size);

/**
 * Describes the model in the folder `model`. Reads config.json only; needs neither weights nor ONNX Runtime.
 *
 * Errors: NOT_FOUND if there is no such folder or no config.json in it; MALFORMED if that breaks its format;
 * UNSUPPORTED for an architecture this library does not run; IO; INVALID_ARGUMENT if it is not a folder.
 * Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_model_get_info(const char *model, ortshard_model_info *info);

/**
 * The ids that end a sequence, as generation_config.json, or config.json where that has none, of the folder `model`
 * declares them; there may be none or several. For models without a tokenizer; with one, ortshard_tokenizer_eos()
 * knows more.
 *
 * Writes them to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
 *
 * Errors: those of ortshard_model_get_info(); BUFFER_TOO_SMALL, and only `*needed` is written. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_model_eos(const char *model, int64_t *ids, size_t capacity, size_t *needed);

/**
 * How the folder `model` wants its tokens chosen: what its generation_config.json says, as transformers' `generate`
 * reads it. Without do_sample, or without the file, temperature is 0.
 *
 * Read are do_sample, temperature, top_k, top_p, min_p, typical_p, repetition_penalty, no_repeat_ngram_size and
 * min_new_tokens. The seed is the default's, and the lists are NULL: those that end a text tells ortshard_model_eos().
 *
 * Errors: UNSUPPORTED, naming the key, if the file chooses in another way, or bans or biases tokens, for which
 * `options` have no memory; MALFORMED; NOT_FOUND if there is no such folder; IO; INVALID_ARGUMENT if it is not a
 * folder, or for a value outside its range. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_model_get_sampler_options(const char *model, ortshard_sampler_options *options);

/* ==================================================================================================================
 * Models of specs
 *
 * What ortshard_model_* and ortshard_tokenizer_open() give for a folder, of a model that is found as the files of a
 * shard are: in a folder, in the hub's cache, at the hub, or by the fetch callback. Of the spec, only `model` and
 * `revision` matter. Files that are not here are brought here, as few as needed, and `progress`, unless NULL, is told
 * and may cancel that.
 *
 * A branch can move between two calls. Name a commit as the revision where all must come from one.
 * ================================================================================================================== */

/**
 * Describes the model of `spec`, as ortshard_model_get_info() does for a folder.
 *
 * Errors: NOT_FOUND if there is no such model or revision; OFFLINE; HASH_MISMATCH; CANCELLED by `progress`;
 * MALFORMED; UNSUPPORTED for an architecture this library does not run; IO; INVALID_ARGUMENT for a bad revision, or
 * one of a folder.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_get_model_info(const ortshard_engine *engine,
                                               const ortshard_shard_spec *spec,
                                               ortshard_progress_callback progress,
                                               void *user_data,
                                               ortshard_model_info *info);

/**
 * The ids that end a sequence, as the files of the model of `spec` declare them; see ortshard_model_eos().
 *
 * Writes them to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
 *
 * Errors: those of ortshard_engine_get_model_info(); BUFFER_TOO_SMALL, and only `*needed` is written.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_model_eos(const ortshard_engine *engine,
                                          const ortshard_shard_spec *spec,
                                          ortshard_progress_callback progress,
                                          void *user_data,
                                          int64_t *ids,
                                          size_t capacity,
                                          size_t *needed);

/**
 * How the model of `spec` wants its tokens chosen; see ortshard_model_get_sampler_options().
 *
 * Errors: those of ortshard_engine_get_model_info(), and of ortshard_model_get_sampler_options() for
 * generation_config.json.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_get_sampler_options(const ortshard_engine *engine,
                                                    const ortshard_shard_spec *spec,
                                                    ortshard_progress_callback progress,
                                                    void *user_data,
                                                    ortshard_sampler_options *options);

/**
 * Opens the tokenizer of the model of `spec`.
 *
 * Looked for are tokenizer.json and, where the model has them, tokenizer_config.json, special_tokens_map.json and
 * added_tokens.json (unless tokenizer_config.json has added_tokens_decoder), generation_config.json, config.json and
 * chat_template.jinja; beside the last also additional_chat_templates/tool_use.jinja and rag.jinja. With the network
 * off, what the cache does not hold counts as not there, but for tokenizer.json itself.
 *
 * Errors: those of ortshard_engine_get_model_info(); NOT_FOUND if the model has no tokenizer.json; MALFORMED also for
 * a file of more than 256 MiB (16 MiB for the others), which is not fetched.
 * Threads: many at once. Ownership: free `*tokenizer` with ortshard_tokenizer_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_open_tokenizer(const ortshard_engine *engine,
                                               const ortshard_shard_spec *spec,
                                               ortshard_progress_callback progress,
                                               void *user_data,
                                               ortshard_tokenizer **tokenizer);

/* ==================================================================================================================
 * Boundary
 *
 * The place between two layers, where a model can be cut into shards. For planning: what passes there in a frame, and
 * whether the model can be cut there. Where it cannot, a spec that would is refused, with the nearest cuts that can be.
 * ================================================================================================================== */

/** What passes behind a layer. */
typedef struct ortshard_boundary {
    /** Set to sizeof(ortshard_boundary) before the call. */
    size_t struct_size;
    /** The layer in front of it. */
    uint32_t layer;
    /** 1 if the model can be cut here, else 0. */
    int32_t can_cut;
    /** Why not, as UTF-8; "" if it can. */
    char reason[200];
    /**
     * The model, as hexadecimal digits: a hash of the numbers of config.json that decide results. The frames of two
     * shards fit only if both have the same.
     */
    char model[40];
    /** Number of the parts that pass. */
    uint32_t part_count;
    /** Values of a token in the part ORTSHARD_ROLE_HIDDEN_STATES. */
    uint32_t hidden_states_width;
    /** Values of a token in the part ORTSHARD_ROLE_PER_LAYER_INPUTS; 0 if there is none. */
    uint32_t per_layer_inputs_width;
    /** Bytes in front of a frame's parts. */
    uint32_t header_bytes;
    /** Bytes of a token, all parts, as F32: 4 for each value. */
    uint64_t f32_bytes_per_token;
    /** The same as F16: 2 for each value. */
    uint64_t f16_bytes_per_token;
    /** The same as BF16: 2 for each value. */
    uint64_t bf16_bytes_per_token;
    /** Values of a token in the part ORTSHARD_ROLE_STREAMS; 0 if there is none. */
    uint64_t streams_width;
} ortshard_boundary;

/** Initialises an ortshard_boundary. */
#define ORTSHARD_BOUNDARY_INIT { sizeof(ortshard_boundary), 0, 0, "", "", 0, 0, 0, 0, 0, 0, 0, 0 }

/** What ORTSHARD_BOUNDARY_INIT does, for languages without macros: `struct_size` is sizeof *boundary. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_boundary_init(ortshard_boundary *boundary, size_t struct_size);

/**
 * Describes the place behind `layer` of the model in the folder `model`. Reads config.json only; needs neither weights
 * nor ONNX Runtime.
 *
 * Errors: OUT_OF_RANGE for the last layer, or one that the model does not have; those of ortshard_model_get_info().
 * Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_model_get_boundary(const char *model, uint32_t layer, ortshard_boundary *boundary);

/**
 * Describes the place behind `layer` of the model of `spec`, as ortshard_model_get_boundary() does for a folder. Of the
 * spec, only `model` and `revision` matter.
 *
 * Errors: OUT_OF_RANGE for the last layer, or one that the model does not have; those of
 * ortshard_engine_get_model_info().
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_get_boundary(const ortshard_engine *engine,
                                             const ortshard_shard_spec *spec,
                                             uint32_t layer,
                                             ortshard_progress_callback progress,
                                             void *user_data,
                                             ortshard_boundary *boundary);

/* ==================================================================================================================
 * Request state
 *
 * A request can be copied, and its state taken elsewhere: to a later time, another process, another machine with the
 * same shard. It continues there bit for bit.
 * ================================================================================================================== */

/**
 * Creates another request with the same tokens behind it. It costs a copy of the KV cache's rows, or of what a request
 * without a cache keeps; from here on the two are independent.
 *
 * Errors: STALE_SHARD; OUT_OF_MEMORY (site KV).
 * Threads: one call at a time. Ownership: free `*fork` with ortshard_request_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_fork(ortshard_request *request, ortshard_request **fork);

/**
 * Writes the request's state to `buffer`, which has room for `capacity` bytes, and its size to `*needed`. NULL and 0
 * ask for the size.
 *
 * The state is bytes to be kept or sent as they are: a version, a fingerprint of what it belongs to, the tokens' KV
 * rows, and a hash of all that. Where layers have a state of fixed size, that is in it, and the input of all tokens.
 * The fingerprint covers the numbers of config.json that results depend on, the layers, how KV rows are kept, and of
 * each tensor its name, shape and type (as stored or quantised) and its first and last 4,096 bytes. So other weights
 * are noticed, but for those that differ from these in the middle of large tensors only.
 *
 * Errors: BUFFER_TOO_SMALL, and only `*needed` is written; INVALID_STATE if the request was made with
 * no_cache, since its state is its input, to be run again; STALE_SHARD; OUT_OF_MEMORY (site KV).
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_export_state(ortshard_request *request, void *buffer, size_t capacity, size_t *needed);

/**
 * Writes what the request's state has gained since it was at position `since`, so that what changes hands of a growing
 * text is what is new. The KV rows are those of the tokens from `since` on; layers' states of fixed size are whole.
 *
 * ortshard_request_import_state() adds it to a request that is at `since` and has the same tokens behind it, which
 * nothing checks. So a state of 0, one since where that ends, and so on, are taken one after another.
 *
 * Errors: OUT_OF_RANGE if `since` lies behind the request's position, or if layers have states of fixed size, the
 * request has gone back, and the last state that is kept lies before `since`; those of
 * ortshard_request_export_state(). Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_export_state_since(ortshard_request *request,
                                                    uint64_t since,
                                                    void *buffer,
                                                    size_t capacity,
                                                    size_t *needed);

/**
 * Puts the request where the one that exported the `size` bytes at `state` was. If they are refused, nothing changes.
 * What ortshard_request_export_state_since() gave is taken by a request at that position.
 *
 * Errors: MALFORMED if the bytes are damaged; UNSUPPORTED for a version that this library does not know;
 * INVALID_ARGUMENT for a state of another model, other weights, layers, precision or kv_type, or one since another
 * position than the request's; OUT_OF_RANGE for one since the request's position if layers have states of fixed size
 * and the request has gone back to there, so that they are those of an earlier one; CONTEXT_FULL if it holds more
 * tokens than this request has room for; INVALID_STATE if the request was made with no_cache; STALE_SHARD.
 * Threads: one call at a time.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_request_import_state(ortshard_request *request, const void *state, size_t size);

/* ==================================================================================================================
 * Checkpoints
 *
 * A shard's weights as a file: saved from the resident shard, or loaded into its place, such as a fine-tune of the
 * same model.
 * ================================================================================================================== */

/**
 * Puts other weights of the same model into the engine's shard's place and gives a reference to the new shard.
 *
 * `checkpoint` is a safetensors file, or a folder with model.safetensors or its index. It must hold every tensor of
 * the shard's layers under a name that transformers takes for it (model.layers.0..., layers.0...), and may hold
 * more. Like ortshard_engine_ensure_shard() this is a transaction, with the same `progress`, and the same rule for
 * requests on the shard before.
 *
 * Errors: INVALID_STATE if the engine has no shard, or from a callback of a load on it; NOT_FOUND for a file or
 * tensor that is missing; INVALID_ARGUMENT for a path that does not end in a file's name; and, also since the model's
 * config.json is read again, those of ortshard_engine_ensure_shard().
 * Threads: many at once; loading happens one after another. Ownership: free `*shard` with ortshard_shard_free().
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_load_checkpoint(const ortshard_engine *engine,
                                                const char *checkpoint,
                                                ortshard_progress_callback progress,
                                                void *user_data,
                                                ortshard_shard **shard);

/**
 * Saves the tensors of the engine's shard, in their stored dtype and under transformers' usual names, as the
 * safetensors file `path`. The file appears complete or not at all. One that is there is replaced and its mode stays;
 * a link is followed.
 *
 * Errors: INVALID_STATE if the engine has no shard; STALE_SHARD if it is cleared or replaced meanwhile;
 * INVALID_ARGUMENT for a path that is empty, ends in a slash, or names a folder, a device or another thing that is no
 * regular file: it is left as it is; IO.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_save_checkpoint(const ortshard_engine *engine, const char *path);

/* ==================================================================================================================
 * Memory estimate
 *
 * What a shard will take, before it is loaded: from config.json and the headers of its files alone.
 * ================================================================================================================== */

/** What stands for no layer. */
enum {
    /** In ortshard_engine_estimate: not even one layer fits. */
    ORTSHARD_NO_LAYER = -1
};

/** Memory that a shard and requests on it take, in bytes. */
typedef struct ortshard_engine_estimate {
    /** Set to sizeof(ortshard_engine_estimate) before the call. */
    size_t struct_size;
    /**
     * The weights, as stored: pages of files, shared by all processes that map them. On a device that is not the
     * processor, and with stock_operators, also the copies that ONNX Runtime keeps.
     */
    uint64_t weight_bytes;
    /**
     * The KV caches of all the requests, and what they keep besides of layers with a state of fixed size: those states,
     * as many as are put aside by default, and the input.
     */
    uint64_t kv_bytes;
    /**
     * Activations of one run, of up to 512 tokens or as many as the engine's memory_limit has room for, and its
     * output: the last token's logits, or all hidden states.
     */
    uint64_t run_bytes;
    /**
     * The most that the engine holds while it loads: what it holds now (if it releases first, without its shard), the
     * weights, the passing copies of those that are copied and, under a memory_limit, the activations, which are
     * reserved then.
     */
    uint64_t load_peak_bytes;
    /** Weights, KV caches and one run. */
    uint64_t total_bytes;
    /**
     * The last layer (INCLUSIVE) of the largest range from the spec's first layer on that can be loaded and used
     * within the engine's memory_limit or, without one, in what the machine has available; ORTSHARD_NO_LAYER if none
     * can.
     */
    int64_t largest_last_layer;
    /** Bytes of weights that one token reads: of an embedding a row, of experts those that it passes. */
    uint64_t token_bytes;
} ortshard_engine_estimate;

/** Initialises an ortshard_engine_estimate. */
#define ORTSHARD_ENGINE_ESTIMATE_INIT { sizeof(ortshard_engine_estimate), 0, 0, 0, 0, 0, 0, 0 }

/** What ORTSHARD_ENGINE_ESTIMATE_INIT does, for languages without macros: `struct_size` is sizeof *estimate. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_estimate_init(ortshard_engine_estimate *estimate, size_t struct_size);

/**
 * Estimates the memory of the shard that `spec` names and of `requests` requests on it, of `context` tokens each.
 *
 * Loads nothing, takes no memory, opens no socket, and waits for no run. Of a model that is a name, config.json must
 * be in the hub's cache; with a fetch callback that is asked instead. Where the files of the weights are not there,
 * config.json's dtype decides.
 *
 * Errors: NOT_FOUND, MALFORMED, UNSUPPORTED, OUT_OF_RANGE, INVALID_ARGUMENT as for ortshard_engine_ensure_shard();
 * OFFLINE if config.json is not here; what the fetch callback returned; IO.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_get_estimate(const ortshard_engine *engine,
                                             const ortshard_shard_spec *spec,
                                             uint32_t context,
                                             uint32_t requests,
                                             ortshard_engine_estimate *estimate);

/* ==================================================================================================================
 * Plan
 *
 * Which device holds which layers of a model, before anything of it is loaded. A plan is made of numbers: of the
 * model's files, and of what the program says of the devices. No device is touched and nothing is measured, so that
 * the devices may be anywhere.
 * ================================================================================================================== */

/** A device that may hold layers. Its layout is final, so it has no struct_size. */
typedef struct ortshard_plan_device {
    /** Bytes of memory that are free on it; not 0. */
    uint64_t free_memory;
    /**
     * Bytes of weights that it reads in a second. 0: unknown; then it is taken for as fast as the slowest one that is
     * known, and all for 10e9 if none is.
     */
    double bandwidth;
    /**
     * Seconds from its stage to the next one, whichever device that is on: what its own link takes. It is the
     * device's and not that of a pair, so that the order of devices changes no sum of them, and all orders can be
     * tried.
     */
    double hop_seconds;
    /** Not 0: it must hold layers. 0: it may be left out. */
    int32_t is_required;
} ortshard_plan_device;

/**
 * What a plan is for. Start from ORTSHARD_PLAN_OPTIONS_INIT: a margin of 0 means none. The list is read during the
 * call only.
 */
typedef struct ortshard_plan_options {
    /** sizeof(ortshard_plan_options). */
    size_t struct_size;
    /** Tokens of each request. 0: the model's maximum, at most 4096. */
    uint32_t context;
    /** Requests at once. */
    uint32_t requests;
    /** The part of each device's free memory that stays free: at least 0, less than 1. */
    double margin;
    /** Not 0: the stages are in the order of the devices. 0: any order is tried. */
    int32_t keep_order;
    /** The devices. */
    const ortshard_plan_device *devices;
    /** Number of `devices`: 1 to 64. */
    size_t device_count;
} ortshard_plan_options;

/** Initialises an ortshard_plan_options. */
#define ORTSHARD_PLAN_OPTIONS_INIT { sizeof(ortshard_plan_options), 0, 1, 0.125f, 0, NULL, 0 }

/** What ORTSHARD_PLAN_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_plan_options_init(ortshard_plan_options *options, size_t struct_size);

/** Layers on a device. Its layout is final, so it has no struct_size. */
typedef struct ortshard_plan_stage {
    /** The device: its index in the options' `devices`. */
    uint32_t device;
    /** The first layer. */
    uint32_t first_layer;
    /** The last layer (INCLUSIVE). */
    uint32_t last_layer;
    /** Its weights, as the estimate of its layers says. */
    uint64_t weight_bytes;
    /** What the requests keep on it, likewise. */
    uint64_t kv_bytes;
    /** One run and its output, likewise. */
    uint64_t run_bytes;
    /** The weights that one token reads, likewise. */
    uint64_t token_bytes;
    /**
     * Bytes that must be there: the sum of weights, KV caches and a run or, where that is more, the peak while it
     * loads.
     */
    uint64_t needed_bytes;
    /** Bytes that are there: the device's free memory less the margin. */
    uint64_t room_bytes;
    /**
     * Seconds of a step: the bytes that it reads, by the device's bandwidth. These are token_bytes, on a processor
     * once for each four of its requests, since their arithmetic takes as long; and what each request keeps here, in
     * the mean over its context.
     */
    double seconds;
    /** Seconds to the next stage; 0 behind the last one. */
    double hop_seconds;
} ortshard_plan_stage;

/**
 * Cuts the layers that `spec` names among devices. Writes the stages to `stages`, from the first layer on, which has
 * room for `capacity`, and their number to `*needed`; there are never more than devices. NULL and 0 ask for the
 * number.
 *
 * Each stage fits: what ortshard_engine_get_estimate() says of its layers, on an engine with the options of this one,
 * an empty one without memory_limit, is no more than the device's room. The model is cut only where it can be.
 *
 * Of all cuts, orders and choices of devices the plan has the least sum of the seconds of its slowest stage and of
 * all hops: the one is what a pipeline with enough requests takes for a step, the other what a request waits for
 * besides. A step serves a group of requests, and there are taken to be as many groups as devices. Of the cuts with
 * the same slowest stage among the same devices in the same order, it has the one whose fullest device is filled
 * least.
 * The least is proved for up to 16 devices, and for more where many are alike, as long as the counts of each kind
 * plus one, multiplied, are no more than 65536; with keep_order for any. Beyond that some orders are tried, by
 * bandwidth, by memory and by hops, and a plan may be missed.
 *
 * For a given slowest stage, what matters of a set of devices is the farthest layer that it reaches in any order: the
 * farthest that one of them reaches from what the others do. That is 2^16 x 16 steps for 16 devices, and a binary
 * search finds the slowest stage among the numbers that it can be. 100 layers on 16 devices that all differ take less
 * than 50 ms of one core, and the reading of the files' headers.
 *
 * A run of more layers is never taken to need less than one of fewer, though an estimate may say so by how the pieces
 * of a run's memory fall; a plan that fits by so little may be missed. On a device whose engine uses stock operators,
 * tables that layers share may count more than once, so that such a stage may have some layers fewer than would fit.
 *
 * Errors: OUT_OF_MEMORY if no plan fits: the message says what is needed and there, which layers need too much alone,
 * or how many fit and how large one more device would have to be, and ortshard_error_get_oom() has how much is
 * missing; INVALID_ARGUMENT naming the field and index for a number that is none, no devices, or more than 64;
 * BUFFER_TOO_SMALL, and only `*needed` is written; those of ortshard_engine_get_estimate().
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_plan(const ortshard_engine *engine,
                                     const ortshard_shard_spec *spec,
                                     const ortshard_plan_options *options,
                                     ortshard_plan_stage *stages,
                                     size_t capacity,
                                     size_t *needed);

/* ==================================================================================================================
 * Files of a shard
 *
 * What would have to be there to load a shard, for preparing a machine that has no network.
 * ================================================================================================================== */

/** Whether a file is here. */
enum ortshard_file_state {
    /** The file is on this machine. */
    ORTSHARD_FILE_PRESENT = 1,
    /** The file is not on this machine. */
    ORTSHARD_FILE_MISSING = 2
};

/** A file that a shard needs. The texts live for the length of the callback. */
typedef struct ortshard_file {
    /** The size that the library knows; later fields are not there. */
    size_t struct_size;
    /** Its name within the model. */
    const char *name;
    /** Where it lies on this machine; NULL if it is missing. */
    const char *path;
    /** Its bytes; 0 if that is not known. */
    uint64_t size;
    /** An ORTSHARD_FILE_* constant. */
    int32_t state;
} ortshard_file;

/** Is told about one file. Returns 0 to go on, anything else to stop. It must return normally. */
typedef int32_t (*ortshard_file_callback)(const ortshard_file *file, void *user_data);

/**
 * Calls `callback` with each file that the shard of `spec` needs, in the calling thread. Fetches nothing and opens no
 * socket.
 *
 * These are config.json, the index if the model has one, and the weight files that hold the shard's tensors. Without
 * config.json or a part of them it cannot be told which others are needed, and the list is shorter.
 *
 * Errors: NOT_FOUND if there is no such model; MALFORMED, UNSUPPORTED, OUT_OF_RANGE, INVALID_ARGUMENT as for
 * ortshard_engine_ensure_shard(); CANCELLED by `callback`; IO.
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_audit_files(const ortshard_engine *engine,
                                            const ortshard_shard_spec *spec,
                                            ortshard_file_callback callback,
                                            void *user_data);

/* ==================================================================================================================
 * Counters
 * ================================================================================================================== */

/** What an engine has counted since it was created. */
typedef struct ortshard_engine_stats {
    /** Set to sizeof(ortshard_engine_stats) before the call. */
    size_t struct_size;
    /** Shards loaded. */
    uint64_t shards_loaded;
    /** Tokens run through its shards. */
    uint64_t tokens;
    /** Times that memory ran out while a shard was loaded. */
    uint64_t out_of_memory_load;
    /** Times that memory ran out while a KV cache was reserved. */
    uint64_t out_of_memory_kv;
    /** Times that memory ran out in a run. */
    uint64_t out_of_memory_run;
} ortshard_engine_stats;

/** Initialises an ortshard_engine_stats. */
#define ORTSHARD_ENGINE_STATS_INIT { sizeof(ortshard_engine_stats), 0, 0, 0, 0, 0 }

/** What ORTSHARD_ENGINE_STATS_INIT does, for languages without macros: `struct_size` is sizeof *stats. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_stats_init(ortshard_engine_stats *stats, size_t struct_size);

/**
 * What the engine has counted since it was created.
 *
 * Threads: many at once.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_engine_get_stats(const ortshard_engine *engine, ortshard_engine_stats *stats);

/* ==================================================================================================================
 * ONNX Runtime
 *
 * One ONNX Runtime, with one pool of threads, serves the whole process. It is loaded by the first call that needs it
 * and stays until the process ends, and so does this library then: dlclose() does not unload it. Calling
 * ortshard_runtime_load() before is needed only to choose file or threads.
 * ================================================================================================================== */

/** How to load ONNX Runtime. All zero but struct_size: the defaults. */
typedef struct ortshard_runtime_options {
    /** sizeof(ortshard_runtime_options). */
    size_t struct_size;
    /**
     * The library file, or a folder that holds it, as Python's and Node's packages do (onnxruntime/capi). NULL: the
     * first of the environment's ORTSHARD_ONNXRUNTIME and ORT_DYLIB_PATH, a file beside this library or the program,
     * and what the system's loader finds. Names with a version (libonnxruntime.so.1.31.1) count, too: the newest. What
     * is named but cannot be used is an error; the search does not go on.
     */
    const char *library;
    /**
     * Threads that one run may use, the calling one included. 0: the environment's ORTSHARD_THREADS, else as many as
     * the process may use processors.
     */
    uint32_t threads;
    /**
     * Not 0: idle threads sleep at once instead of spinning for a short while. Saves processor time between runs and
     * costs speed within them.
     */
    int32_t no_spinning;
} ortshard_runtime_options;

/** Initialises an ortshard_runtime_options. */
#define ORTSHARD_RUNTIME_OPTIONS_INIT { sizeof(ortshard_runtime_options), NULL, 0, 0 }

/** What ORTSHARD_RUNTIME_OPTIONS_INIT does, for languages without macros: `struct_size` is sizeof *options. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_runtime_options_init(ortshard_runtime_options *options, size_t struct_size);

/** The ONNX Runtime that is loaded. The texts live as long as the process. */
typedef struct ortshard_runtime_info {
    /** Set to sizeof(ortshard_runtime_info) before the call. */
    size_t struct_size;
    /** Its version, such as "1.31.1". */
    const char *version;
    /** The file it was loaded from. */
    const char *path;
    /** Threads that one run may use, the calling one included. */
    uint32_t threads;
} ortshard_runtime_info;

/** Initialises an ortshard_runtime_info. */
#define ORTSHARD_RUNTIME_INFO_INIT { sizeof(ortshard_runtime_info), NULL, NULL, 0 }

/** What ORTSHARD_RUNTIME_INFO_INIT does, for languages without macros: `struct_size` is sizeof *info. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_runtime_info_init(ortshard_runtime_info *info, size_t struct_size);

/**
 * Loads ONNX Runtime (1.22 or a later 1.x). NULL `options`: the defaults.
 *
 * If the process has it already, the call succeeds unless another file or number of threads is asked for. After a
 * failure it can be tried again.
 *
 * The first load sets the environment variable ORT_DISABLE_TELEMETRY, if it is not set, to keep ONNX Runtime from
 * sending usage data. A program that changes the environment in other threads should load before it starts them.
 *
 * Errors: ONNXRUNTIME_NOT_FOUND, and the message lists what was tried; INVALID_STATE for another file or number of
 * threads; OUT_OF_RANGE for more than 1024 threads; ONNXRUNTIME if it does not start.
 * Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_runtime_load(const ortshard_runtime_options *options);

/**
 * Describes the ONNX Runtime that is loaded.
 *
 * Errors: INVALID_STATE if none is loaded yet. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_runtime_get_info(ortshard_runtime_info *info);

/* ==================================================================================================================
 * Devices
 *
 * What shards can run on here: the processor, and what the loaded ONNX Runtime has an execution provider for.
 *
 * On the processor, shards run in native operators, this library's own. On another device, and with the engine's option
 * stock_operators, they run in stock operators, those that ONNX Runtime brings, on copies of the weights: float32 (on
 * CUDA the checkpoint's own bf16 or fp16, and bf16 for f32), or the quantised codes and scales.
 * ================================================================================================================== */

/** A device. */
typedef struct ortshard_device_info {
    /** Set to sizeof(ortshard_device_info) before the call. */
    size_t struct_size;
    /** An ORTSHARD_DEVICE_* constant. */
    int32_t kind;
    /** Which one of its kind, from 0. */
    uint32_t index;
    /** What its maker calls it. */
    char name[128];
    /** Bytes of memory it has; 0 if unknown. */
    uint64_t total_memory;
    /** Bytes of it that are free now; 0 if unknown. */
    uint64_t available_memory;
} ortshard_device_info;

/** Initialises an ortshard_device_info. */
#define ORTSHARD_DEVICE_INFO_INIT { sizeof(ortshard_device_info), 0, 0, "", 0, 0 }

/** What ORTSHARD_DEVICE_INFO_INIT does, for languages without macros: `struct_size` is sizeof *info. */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_device_info_init(ortshard_device_info *info, size_t struct_size);

/**
 * The number of devices, the processor included. Loads ONNX Runtime if no call has yet; where there is none, the
 * processor is all there is.
 *
 * A device is listed if it is here and ONNX Runtime offers a provider for it. Whether it can be used, with all the
 * libraries that the provider needs, shows when an engine is created on it.
 *
 * Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_device_count(uint32_t *count);

/**
 * Describes device `index`, from 0 to ortshard_device_count() - 1. The processor is device 0.
 *
 * Errors: OUT_OF_RANGE. Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_device_get_info(uint32_t index, ortshard_device_info *info);

/* ==================================================================================================================
 * Log
 *
 * Without a callback nothing is printed anywhere. With one, the library's and ONNX Runtime's messages come to it.
 * ================================================================================================================== */

/** How much is logged. */
enum ortshard_log_level {
    /** Only failures, such as running out of memory. */
    ORTSHARD_LOG_ERROR = 1,
    /** Also what works otherwise than asked, such as a missing device. */
    ORTSHARD_LOG_WARNING = 2,
    /** Also what happens once or seldom, such as the library file that was loaded. */
    ORTSHARD_LOG_INFO = 3,
    /** Also what helps to find a mistake. */
    ORTSHARD_LOG_DEBUG = 4,
    /** Everything. */
    ORTSHARD_LOG_TRACE = 5
};

/**
 * Takes one message: its ORTSHARD_LOG_* level, the part it comes from, such as "onnxruntime", and one line of UTF-8.
 * The texts live for the length of the call.
 *
 * Called from any thread, from several at once; what it does is added to the time of the call that logs. It must
 * return normally (no longjmp, no C++ exception). It may call this library, and messages of such calls are dropped.
 * But it must not free engines, shards or requests, and loading, running, clearing and ortshard_log_set_callback()
 * return INVALID_STATE there: the message may come from a call that they would wait for.
 */
typedef void (*ortshard_log_callback)(int32_t level, const char *target, const char *message, void *user_data);

/**
 * Sends log messages up to `level` (an ORTSHARD_LOG_* constant) to `callback`, in the whole process. NULL removes
 * the callback; `level` is not looked at then.
 *
 * When this returns, the previous callback is not running and will not be called again: what its `user_data` points
 * to can be freed.
 *
 * Errors: INVALID_STATE if called from a log callback, or in a program
 * that has set up another logger of Rust's log crate.
 * Threads: any.
 */
ORTSHARD_NODISCARD ORTSHARD_API
ortshard_status ortshard_log_set_callback(int32_t level, ortshard_log_callback callback, void *user_data);

#ifdef __cplusplus
}
#endif

#endif /* ORTSHARD_H */
