//! Constants of many functions
//!
//! Constants are enums with values that never change. Parameters and fields that take one are int32_t, whose size no
//! compiler chooses. A value that is none of the constants that a function knows is INVALID_ARGUMENT.

use crate::ffi::frame::constants::constants;

constants! {
    /// What the elements of tensors, KV caches and weights are. A type has one number, wherever it is named.
    enum ortshard_dtype {
        /// None said: what the option, or the device, takes by itself.
        ORTSHARD_DTYPE_AUTO = 0,
        /// int32_t. Token ids.
        ORTSHARD_DTYPE_I32 = 1,
        /// int64_t. Token ids.
        ORTSHARD_DTYPE_I64 = 2,
        /// float. Hidden states, logits, KV caches and weights.
        ORTSHARD_DTYPE_F32 = 3,
        /// IEEE half precision. Hidden states, KV caches and weights.
        ORTSHARD_DTYPE_F16 = 4,
        /// bfloat16. Hidden states and weights.
        ORTSHARD_DTYPE_BF16 = 5,
        /// 8 bits a value, with scales. KV caches and weights; no tensor of a call.
        ORTSHARD_DTYPE_INT8 = 16,
        /// 4 bits a value, with scales. Weights; no tensor of a call.
        ORTSHARD_DTYPE_INT4 = 17,
        /// Four-bit floats (E2M1) with a scale for each 32, as GPT-OSS is published in. Weights; no tensor of a call.
        ORTSHARD_DTYPE_MXFP4 = 18,
        /// Eight-bit floats (E4M3) with a scale for each block, as DeepSeek V3 is published in. Of weights, never of a
        /// tensor that a call takes or gives.
        ORTSHARD_DTYPE_FP8 = 19,
        /// No elements, but the bytes of a frame (ortshard_request_options's `output`).
        ORTSHARD_DTYPE_FRAME = 32,
    }
}

constants! {
    /// Where shards run.
    enum ortshard_device_kind {
        /// The device that the environment's ORTSHARD_DEVICE names ("cpu", "cuda", "cuda:1" or "coreml"); without it,
        /// the first NVIDIA GPU that can be used, else the processor.
        ORTSHARD_DEVICE_AUTO = 0,
        /// The processor.
        ORTSHARD_DEVICE_CPU = 1,
        /// An NVIDIA GPU.
        ORTSHARD_DEVICE_CUDA = 2,
        /// Apple's Core ML. It takes the linear layers and little else of a model, so it is never chosen by itself.
        ORTSHARD_DEVICE_COREML = 3,
    }
}

constants! {
    /// How weights are kept.
    enum ortshard_precision {
        /// The best for the device; on the processor, ORTSHARD_PRECISION_EXACT.
        ORTSHARD_PRECISION_AUTO = 0,
        /// The checkpoint's own bf16, fp16 or f32 weights, in float32 arithmetic; on CUDA in that of their own type,
        /// f32 in bf16.
        ORTSHARD_PRECISION_EXACT = 1,
        /// 8 bits a weight, one scale for 128 of a row: nearly exact.
        ORTSHARD_PRECISION_INT8 = 2,
        /// 4 bits a weight, one scale for 128 of a row: the fastest and smallest.
        ORTSHARD_PRECISION_INT4 = 3,
        /// 4 bits a weight, one scale for 32 of a row: closer to exact, a tenth slower.
        ORTSHARD_PRECISION_INT4_FINE = 4,
    }
}
