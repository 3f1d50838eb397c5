//! Shard
//!
//! A shard that starts at layer 0 takes token ids, any other the hidden states of the shard before it. A shard that
//! ends at the last layer gives logits, any other hidden states.

use std::ffi::c_char;
use std::sync::Arc;

use crate::ffi::basics::constants::{
    ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_FP8, ORTSHARD_DTYPE_INT4,
    ORTSHARD_DTYPE_INT8, ORTSHARD_DTYPE_MXFP4,
};
use crate::ffi::basics::objects::ortshard_shard;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Handle, Kind, borrow, free, retain};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{fixed, path};
use crate::ffi::frame::versioned::{initial, write};
use crate::ffi::host::device;
use crate::{Shard, ShardInfo, WeightType};

impl Handle for ortshard_shard {
    type Object = Arc<Shard>;
    const KIND: Kind = Kind::Shard;
}

/// What a shard is and takes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_shard_info {
    /// Set to sizeof(ortshard_shard_info) before the call.
    pub struct_size: usize,
    /// The model's architecture, such as "LlamaForCausalLM".
    pub architecture: [c_char; 64],
    /// The first layer, from 0.
    pub first_layer: u32,
    /// The last layer, INCLUSIVE.
    pub last_layer: u32,
    /// Layers of the whole model.
    pub layer_count: u32,
    /// 1 if it takes token ids (it starts at layer 0), 0 if it takes hidden states.
    pub is_first: i32,
    /// 1 if it gives logits (it ends at the last layer), 0 if it gives hidden states.
    pub is_last: i32,
    /// Width of hidden states.
    pub hidden_size: u32,
    /// Number of token ids, and width of logits.
    pub vocab_size: u32,
    /// The longest sequence the model allows, in tokens.
    pub max_positions: u32,
    /// Element type of most weights, as stored or quantised: ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_F16,
    /// ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_INT8, ORTSHARD_DTYPE_INT4, ORTSHARD_DTYPE_MXFP4 or ORTSHARD_DTYPE_FP8.
    pub weight_dtype: i32,
    /// Where it runs: an ORTSHARD_DEVICE_* constant.
    pub device: i32,
    /// Which device of that kind, from 0.
    pub device_index: u32,
    /// Bytes of its weights, as stored.
    pub weight_bytes: u64,
    /// Bytes of KV cache that a token takes in a request. Layers that see a window of tokens keep that only, so that a
    /// long context takes less, and layers with a state of fixed size take none of it, but several states in each
    /// request, and the request's input: ortshard_engine_get_estimate() says how much.
    pub kv_bytes_per_token: u64,
    /// What was asked for, by the engine's options or by the environment's ORTSHARD_DEVICE: an ORTSHARD_DEVICE_*
    /// constant. If that is neither ORTSHARD_DEVICE_AUTO nor `device`, the processor has taken its place.
    pub requested_device: i32,
    /// Which device of that kind, from 0.
    pub requested_device_index: u32,
    /// Nodes of its graph, as ONNX Runtime has placed them.
    pub nodes: u32,
    /// Nodes that run on the processor: all if that is `device`, and on another device those that its provider does not
    /// take.
    pub cpu_nodes: u32,
    /// Parts that come in at a time: 1 for ids and for hidden states alone. Where several pass the boundary in front of
    /// the shard, it takes frames only.
    pub input_parts: u32,
    /// Parts that come out at a time, likewise: where there are several, requests give frames only.
    pub output_parts: u32,
    /// Tokens that a text may have for its positions to be rotated as in short texts (LongRoPE: Phi-3.5, Phi-4-mini). In
    /// a text of more all positions are rotated in another way: see ortshard_request_options's long_context. 0: the
    /// model makes no difference.
    pub short_context: u64,
}

initial!(ortshard_shard_info, ortshard_shard_info_init);

/// Counts another reference to a shard, for another owner. Each is given back with ortshard_shard_free().
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_shard_retain(shard: *const ortshard_shard) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(shard) }.guard(|| {
        // SAFETY: the header's contract.
        unsafe { retain(shard, "shard") }
    })
}

/// Gives one reference to a shard back. NULL is ignored. Threads: many at once, each with its own reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_shard_free(shard: *mut ortshard_shard) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(shard, "shard") });
}

/// Describes a shard.
///
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_shard_get_info(
    shard: *const ortshard_shard,
    info: *mut ortshard_shard_info,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(shard) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(info, "info") }?;
        // SAFETY: as above.
        let info = describe(unsafe { borrow(shard, "shard") }?.info());
        // SAFETY: as above.
        unsafe { write(&out, info) }
    })
}

/// Saves the shard as a standard ONNX model: the file `path`, and its weights beside it in `path` followed by ".data":
/// as float32 or, in another precision, matrices as the shard's own codes and scales (MatMulNBits; with 8 bits that
/// needs ONNX Runtime 1.24).
///
/// ONNX Runtime loads the model without this library: its operators are ONNX's and ONNX Runtime's. Both files appear
/// complete, or neither does. Those that are there are replaced and their modes stay; links are followed.
///
/// Errors: STALE_SHARD; INVALID_ARGUMENT for a path that is empty, ends in a slash, or where one of the two names is
/// that of a folder, a device or another thing that is no regular file: it is left as it is; IO; UNSUPPORTED;
/// OUT_OF_MEMORY.
/// Threads: many at once, to different paths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_shard_export_onnx(
    shard: *const ortshard_shard,
    path: *const c_char,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(shard) }.guard(|| {
        // SAFETY: the header's contract.
        let shard = unsafe { borrow(shard, "shard") }?;
        // SAFETY: as above.
        shard.export_onnx(unsafe { self::path(path, "path") }?)?;
        Ok(())
    })
}

fn describe(info: &ShardInfo) -> ortshard_shard_info {
    let (device, device_index) = device::code(info.device);
    let (requested_device, requested_device_index) = device::code(info.requested_device);
    ortshard_shard_info {
        struct_size: 0,
        architecture: fixed(&info.architecture),
        first_layer: info.first_layer,
        last_layer: info.last_layer,
        layer_count: info.layer_count,
        is_first: info.is_first.into(),
        is_last: info.is_last.into(),
        hidden_size: info.hidden_size,
        vocab_size: info.vocab_size,
        max_positions: info.max_positions,
        weight_dtype: match info.weight_type {
            WeightType::F32 => ORTSHARD_DTYPE_F32,
            WeightType::F16 => ORTSHARD_DTYPE_F16,
            WeightType::Bf16 => ORTSHARD_DTYPE_BF16,
            WeightType::Int8 => ORTSHARD_DTYPE_INT8,
            WeightType::Int4 => ORTSHARD_DTYPE_INT4,
            WeightType::Mxfp4 => ORTSHARD_DTYPE_MXFP4,
            WeightType::Fp8 => ORTSHARD_DTYPE_FP8,
        },
        device,
        device_index,
        weight_bytes: info.weight_bytes,
        kv_bytes_per_token: info.kv_bytes_per_token,
        requested_device,
        requested_device_index,
        nodes: info.nodes,
        cpu_nodes: info.cpu_nodes,
        input_parts: info.input_parts,
        output_parts: info.output_parts,
        short_context: info.short_context.into(),
    }
}
