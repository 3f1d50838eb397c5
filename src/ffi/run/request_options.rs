//! Request
//!
//! A request runs tokens through its shard, continuing where it stopped: its KV cache keeps what the shard computed
//! for the tokens before. A prompt may come in one call or in several, the bits are the same.
//!
//! On a shard of all layers, ids go in and logits or the next id come out:
//!
//!     ortshard_request_logits(request, ids, count, logits, capacity, &needed);
//!     ortshard_request_sample(request, ids, count, sampler, &id);
//!
//! On any shard, tensors go in and come out:
//!
//!     ortshard_request_infer(request, &input, ORTSHARD_LOGITS_LAST, &output);
//!
//! Inputs, of n tokens:
//!
//!     first shard:    token ids, I32 or I64, [n] or [1, n]
//!     other shards:   hidden states, F32, F16 or BF16, [n, hidden_size] or [1, n, hidden_size]
//!
//! Outputs:
//!
//!     last shard:     logits, F32 [1, rows, vocab_size]; rows is 1, n or 0 (ORTSHARD_LOGITS_*)
//!     other shards:   hidden states [1, n, hidden_size] for the next shard: F32, or as the option hidden_dtype says
//!
//! Between processes frames travel (ORTSHARD_OUTPUT_FRAME), which other shards take as inputs, too.
//! Where several parts pass a boundary there is no other way.
//!
//! So one tensor can travel through all shards, as `input` and `output` of the same call:
//!
//!     for (int i = 0; i < shard_count; i++)
//!         ortshard_request_infer(requests[i], &tensor, ORTSHARD_LOGITS_LAST, &tensor);
//!
//! An output's data belongs to the request and lives until the request's next run, or until it is freed. A run is any
//! call of _infer, _infer_into, _logits or _sample, of a batch or of a chain with that request, also one that fails. No
//! other function touches it.

use crate::ffi::basics::constants::{ORTSHARD_DTYPE_AUTO, ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::versioned::{initial, read};
use crate::{Beyond, FrameOptions, PartType, RequestOptions};

constants! {
    /// Which logits a last shard gives.
    enum ortshard_logits {
        /// Logits of the last token: [1, 1, vocab_size].
        ORTSHARD_LOGITS_LAST = 0,
        /// Logits of every token: [1, n, vocab_size].
        ORTSHARD_LOGITS_ALL = 1,
        /// No logits: [1, 0, vocab_size]. The call only fills the KV cache.
        ORTSHARD_LOGITS_NONE = 2,
    }
}

constants! {
    /// What the hidden states are that a request gives.
    enum ortshard_output {
        /// A tensor [1, n, hidden_size]. Where several parts pass the boundary, runs are INVALID_ARGUMENT.
        ORTSHARD_OUTPUT_TENSOR = 0,
        /// A frame: a tensor of the type ORTSHARD_DTYPE_FRAME, [size], whose bytes can be sent as they are.
        ORTSHARD_OUTPUT_FRAME = 1,
        /// A frame in pieces, which ortshard_request_frame_pieces() gives without a copy. The tensor, of the type
        /// ORTSHARD_DTYPE_FRAME, has no data and tells the frame's bytes.
        ORTSHARD_OUTPUT_PIECES = 2,
    }
}

/// Limits of a request. All zero but struct_size: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_request_options {
    /// sizeof(ortshard_request_options).
    pub struct_size: usize,
    /// Tokens there is room for, prompt and answer together. The KV cache's memory is reserved at once, so a run never
    /// fails for lack of it. 0: the model's maximum, at most 4096.
    pub capacity: u32,
    /// Tokens per run of a long input. 0: 512. Any size gives the same bits; a smaller one needs less memory.
    pub prefill_chunk: u32,
    /// Not 0: the request keeps no KV cache between calls. Each call computes everything anew in a cache that it gives
    /// back at its end: the same bits, in a time that grows with all the tokens so far.
    ///
    /// Instead it keeps its input, until it is freed: 8 bytes a token on a shard that takes ids, 4 for each value that
    /// passes the boundary on others (4 x hidden_size, mostly). Its state cannot be exported or imported.
    pub no_cache: i32,
    /// What the hidden states that the request gives are: ORTSHARD_DTYPE_AUTO (or 0) or _F32, or _F16 or _BF16, rounded
    /// to nearest: half as much to send to another machine. A shard that computes in that very type, as those on CUDA
    /// do in the checkpoint's, loses nothing; others do, and then a model in shards is not the same bit for bit. As
    /// float16 a value beyond 65504 in magnitude, the largest there is, becomes that; infinities and NaNs stay what
    /// they are.
    ///
    /// Between the requests of ortshard_chain_infer() nothing is rounded, whatever this says: a chain gives the bits of
    /// the whole model.
    pub hidden_dtype: i32,
    /// Not 0: positions are rotated as in a long text from the first token on. This is for models with
    /// ortshard_shard_info's short_context, such as Phi-3.5 and Phi-4-mini; in others it changes nothing.
    ///
    /// 0: the request's first run decides, its call as a whole: with more than short_context tokens the text is a long
    /// one. So a long prompt that comes in several calls needs this, in the requests on all shards. A short text that
    /// becomes long must be run again: that call is OUT_OF_RANGE, and nothing changes.
    pub long_context: i64,
    /// What hidden states come as: an ORTSHARD_OUTPUT_* constant. In ortshard_request_infer_into() FRAME and PIECES
    /// are the same: the frame is written into the buffer.
    pub output: i32,
    /// What the per-layer inputs in frames are, where a boundary has them, as hidden_dtype says it of hidden states.
    pub per_layer_dtype: i32,
    /// Not 0: a number beyond the largest of F16 or BF16 is not rounded to that, but makes the run OUT_OF_RANGE.
    pub refuse_beyond: i64,
    /// Tokens between two states that are put aside to go back to. This is for models whose layers keep a state of fixed
    /// size that no request can go back with, such as the convolutions of LFM2 and the linear attention of Qwen3.5: see
    /// ortshard_request_truncate(). 0: 256. When snapshot_bytes are full, every second one makes room, and the distance
    /// doubles.
    pub snapshot_interval: u64,
    /// Bytes that these may take, reserved at once. 0: as many as eight of them take; fewer than one takes: none are put
    /// aside at intervals. Three states more are always there: a request can go back into its last call, whatever this
    /// says.
    pub snapshot_bytes: u64,
}

initial!(ortshard_request_options, ortshard_request_options_init);

/// How a request gives hidden states.
#[derive(Debug, Clone, Copy)]
pub(in crate::ffi) struct HowGiven {
    /// An `ORTSHARD_OUTPUT_*` constant.
    pub(in crate::ffi) output: i32,
    pub(in crate::ffi) frame: FrameOptions,
}

/// The options, and how the request gives hidden states.
///
/// # Safety
/// `options` is NULL or as the header says.
pub(in crate::ffi) unsafe fn request_options(
    options: *const ortshard_request_options,
) -> Result<(RequestOptions, HowGiven), Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { read(options) }?;
    let dtype = |name: &str, code: i32| match code {
        ORTSHARD_DTYPE_AUTO | ORTSHARD_DTYPE_F32 => Ok(PartType::F32),
        ORTSHARD_DTYPE_F16 => Ok(PartType::F16),
        ORTSHARD_DTYPE_BF16 => Ok(PartType::Bf16),
        other => Err(Failure::invalid(format!("{name} is {other}, not ORTSHARD_DTYPE_AUTO, _F32, _F16 or _BF16"))),
    };
    let output = options.output;
    if !matches!(output, ORTSHARD_OUTPUT_TENSOR | ORTSHARD_OUTPUT_FRAME | ORTSHARD_OUTPUT_PIECES) {
        return Err(Failure::invalid(format!("output is {output}, not an ORTSHARD_OUTPUT_* constant")));
    }
    let frame = FrameOptions {
        hidden_states: dtype("hidden_dtype", options.hidden_dtype)?,
        per_layer_inputs: dtype("per_layer_dtype", options.per_layer_dtype)?,
        beyond: if options.refuse_beyond == 0 { Beyond::Saturate } else { Beyond::Refuse },
    };
    let ortshard_request_options { capacity, prefill_chunk, snapshot_bytes, .. } = options;
    let (no_cache, long_context) = (options.no_cache != 0, options.long_context != 0);
    let snapshot_interval = u32::try_from(options.snapshot_interval).unwrap_or(u32::MAX);
    let options = RequestOptions { capacity, prefill_chunk, no_cache, long_context, snapshot_interval, snapshot_bytes };
    Ok((options, HowGiven { output, frame }))
}
