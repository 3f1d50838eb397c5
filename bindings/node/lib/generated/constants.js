// Made by tools/generate.js from ortshard.json and ortshard.h: not to be edited.

export const ABI_VERSION = 0;
export const LAST_LAYER = 2147483647;
export const NO_ID = -1;
export const FRAME_START = 32;
export const NO_LAYER = -1;
export const StatusCode = Object.freeze({ OK: 0, NULL_ARGUMENT: 101, INVALID_ARGUMENT: 102, INVALID_UTF8: 103, OUT_OF_RANGE: 104, BUFFER_TOO_SMALL: 105, VERSION_MISMATCH: 106, NOT_FOUND: 201, IO: 202, MALFORMED: 203, UNSUPPORTED: 204, OFFLINE: 205, HASH_MISMATCH: 206, INVALID_STATE: 301, STALE_SHARD: 302, CONTEXT_FULL: 303, CANCELLED: 304, ONNXRUNTIME_NOT_FOUND: 401, ONNXRUNTIME: 402, OUT_OF_MEMORY: 403, DEVICE_UNAVAILABLE: 404, INTERNAL: 901, PANIC: 902 });
export const OomSite = Object.freeze({ LOAD: 1, KV: 2, RUN: 3 });
export const Dtype = Object.freeze({ AUTO: 0, I32: 1, I64: 2, F32: 3, F16: 4, BF16: 5, INT8: 16, INT4: 17, MXFP4: 18, FP8: 19, FRAME: 32 });
export const DeviceKind = Object.freeze({ AUTO: 0, CPU: 1, CUDA: 2, COREML: 3 });
export const Precision = Object.freeze({ AUTO: 0, EXACT: 1, INT8: 2, INT4: 3, INT4_FINE: 4 });
export const Stage = Object.freeze({ INSPECT: 1, FETCH: 2, WEIGHTS: 3, PACK: 4, SESSION: 5, READY: 6 });
export const Logits = Object.freeze({ LAST: 0, ALL: 1, NONE: 2 });
export const Output = Object.freeze({ TENSOR: 0, FRAME: 1, PIECES: 2 });
export const ChatEventKind = Object.freeze({ NOTHING: 0, CONTENT: 1, REASONING: 2, TOOL_CALL: 3 });
export const Grammar = Object.freeze({ NONE: 0, JSON_SCHEMA: 1, REGEX: 2, LARK: 3 });
export const Finish = Object.freeze({ NONE: 0, EOS: 1, STOP: 2, LENGTH: 3, CONTEXT_FULL: 4, CANCELLED: 5 });
export const Role = Object.freeze({ HIDDEN_STATES: 1, PER_LAYER_INPUTS: 2, STREAMS: 3 });
export const FileState = Object.freeze({ PRESENT: 1, MISSING: 2 });
export const LogLevel = Object.freeze({ ERROR: 1, WARNING: 2, INFO: 3, DEBUG: 4, TRACE: 5 });
