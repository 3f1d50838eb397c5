//! Frame
//!
//! What travels between shards in two processes: bytes that say of which model, boundary and tokens they are, so that
//! what does not belong is refused before anything is run. A frame has one or more PARTS, each with a ROLE; most models
//! have one, hidden states, and some pass more (ORTSHARD_ROLE_*). In one process ortshard_chain_infer() hands the parts
//! over as they lie, and there are no frames.
//!
//! A request gives frames if its option `output` says so. To the functions that run, a frame is a tensor of the type
//! ORTSHARD_DTYPE_FRAME:
//!
//!     ortshard_request_options options = ORTSHARD_REQUEST_OPTIONS_INIT;
//!     options.output = ORTSHARD_OUTPUT_FRAME;
//!     ortshard_request_create(front, &options, &request);
//!     ortshard_request_infer(request, &ids, ORTSHARD_LOGITS_LAST, &frame);
//!     send(socket, frame.data, frame.byte_length);
//!
//! and on the other side, by any function that runs (of a request, a batch or a chain; also those that sample):
//!
//!     receive(socket, bytes, ORTSHARD_FRAME_START);
//!     ortshard_frame_size(bytes, ORTSHARD_FRAME_START, &size);
//!     receive(socket, bytes + ORTSHARD_FRAME_START, size - ORTSHARD_FRAME_START);
//!     ortshard_tensor frame = {ORTSHARD_DTYPE_FRAME, 1, {(int64_t)size}, bytes, size};
//!     ortshard_chain_sample(&request, 1, &frame, sampler, &id);
//!
//! A frame is refused, and nothing changes, with
//!
//!     MALFORMED           if it is cut, damaged, or none
//!     UNSUPPORTED         for a version, role or type that this library does not know
//!     INVALID_ARGUMENT    if it comes from another model, other weights (a fine-tune), another precision or another
//!                         layer, or was rotated as in a long text where the request is a short one (long_context)
//!     INVALID_STATE       if it is not the next of the request: repeated, or one before it is missing.
//!                         ortshard_frame_get_info() and ortshard_request_position() tell which
//!
//! The message says what differs. Other weights are seen by the layers on both sides of the boundary, where one side has
//! the files of both; a frame's hash is no protection against people who want to do harm. Which request a frame is for,
//! the frame does not say: that is what the program sends beside it.

use std::ffi::{c_char, c_void};

use crate::ffi::basics::constants::{
    ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_FRAME,
};
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::guard;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_OUT_OF_RANGE, ortshard_status};
use crate::ffi::frame::strings::fixed;
use crate::ffi::frame::versioned::{initial, write};
use crate::ffi::run::tensor::ortshard_tensor;
use crate::{Frame, PartType, Role};

constants! {
    /// What a part of a frame is.
    enum ortshard_role {
        /// Hidden states [n, hidden_size]: what a layer hands to the next. Every frame has them.
        ORTSHARD_ROLE_HIDDEN_STATES = 1,
        /// Per-layer inputs: what the tokens themselves give to each layer behind the boundary (per-layer embeddings).
        ORTSHARD_ROLE_PER_LAYER_INPUTS = 2,
        /// The streams of hidden states besides the first one, one after another, in models that have several.
        ORTSHARD_ROLE_STREAMS = 3,
    }
}

constants! {
    /// Reading a frame from a stream.
    enum nameless {
        /// How many of a frame's bytes tell how many it has.
        ORTSHARD_FRAME_START = 32,
    }
}

const _: () = assert!(ORTSHARD_FRAME_START as usize == Frame::START);

/// What a frame says of itself.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_frame_info {
    /// Set to sizeof(ortshard_frame_info) before the call.
    pub struct_size: usize,
    /// The position of its first token: that of the request that can take it.
    pub position: u64,
    /// Its tokens, n.
    pub tokens: u64,
    /// The layer in front of the boundary: the next shard begins one behind it.
    pub layer: u32,
    /// Number of its parts.
    pub part_count: u32,
    /// 1 if positions are rotated as in a long text (ortshard_request_options's long_context), else 0.
    pub is_long: i32,
    /// How the weights are kept that computed it: an ORTSHARD_PRECISION_* constant.
    pub precision: i32,
    /// The model, as in ortshard_boundary: frames of other models have another.
    pub model: [c_char; 40],
}

initial!(ortshard_frame_info, ortshard_frame_info_init);

/// A piece of a frame. Its layout is final, so it has no struct_size; it is that of POSIX's struct iovec.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_piece {
    /// Its bytes. Read only.
    pub data: *const c_void,
    /// How many.
    pub size: usize,
}

/// How many bytes the frame has whose first ORTSHARD_FRAME_START bytes are at `start`, for reading it from a stream.
/// `size` bytes are given, so many or more.
///
/// These bytes are not checked yet: compare `*frame_size` with what can come before room is made for so much.
///
/// Errors: MALFORMED if no frame begins so, or fewer bytes are given; UNSUPPORTED. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_frame_size(
    start: *const c_void,
    size: usize,
    frame_size: *mut usize,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(frame_size, "frame_size") }?;
        // SAFETY: as above.
        let start = unsafe { array(start.cast::<u8>(), size, "start") }?;
        out.set(Frame::size(&start)? as usize);
        Ok(())
    })
}

/// Checks the frame of `size` bytes at `frame`, whole, and describes it. Needs no model.
///
/// Errors: MALFORMED if it is cut, damaged or none; UNSUPPORTED. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_frame_get_info(
    frame: *const c_void,
    size: usize,
    info: *mut ortshard_frame_info,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(info, "info") }?;
        // SAFETY: as above.
        let bytes = unsafe { array(frame.cast::<u8>(), size, "frame") }?;
        let frame = Frame::read(&bytes)?;
        let info = ortshard_frame_info {
            struct_size: 0,
            position: frame.position() as u64,
            tokens: frame.tokens() as u64,
            layer: frame.layer(),
            part_count: frame.parts().len() as u32,
            is_long: frame.is_long().into(),
            precision: frame.precision() as i32,
            model: fixed(&frame.model()),
        };
        // SAFETY: as above.
        unsafe { write(&out, info) }
    })
}

/// Checks the frame of `size` bytes at `frame`, whole, and describes its part `index`: its ORTSHARD_ROLE_* constant, and
/// its values, as they lie in the frame, as a tensor [1, n, width] of F32, F16 or BF16. Parts come in the order of their
/// roles, from 0 to ortshard_frame_info's part_count - 1.
///
/// Parts begin at multiples of 64 bytes from the frame's first one. Any of the outputs may be NULL.
///
/// Errors: MALFORMED if it is cut, damaged or none; UNSUPPORTED; OUT_OF_RANGE for an index of no part. Threads: any.
/// Ownership: part->data lies in the frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_frame_get_part(
    frame: *const c_void,
    size: usize,
    index: u32,
    role: *mut i32,
    part: *mut ortshard_tensor,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let (role, part) = unsafe { (Out::new(role, "role").ok(), Out::new(part, "part").ok()) };
        // SAFETY: as above.
        let bytes = unsafe { array(frame.cast::<u8>(), size, "frame") }?;
        let frame = Frame::read(&bytes)?;
        let Some(found) = frame.parts().get(index as usize) else {
            let message = format!("index is {index}, the frame has {} parts", frame.parts().len());
            return Err(Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, message));
        };
        if let Some(role) = role {
            role.set(role_code(found.role));
        }
        if let Some(part) = part {
            let data = Some(found.bytes.as_ptr().cast());
            part.set(ortshard_tensor::rows(dtype_code(found.dtype), frame.tokens(), found.width, data));
        }
        Ok(())
    })
}

pub(in crate::ffi) fn role_code(role: Role) -> i32 {
    match role {
        Role::PerLayerInputs => ORTSHARD_ROLE_PER_LAYER_INPUTS,
        Role::Streams => ORTSHARD_ROLE_STREAMS,
        _ => ORTSHARD_ROLE_HIDDEN_STATES,
    }
}

pub(in crate::ffi) fn dtype_code(dtype: PartType) -> i32 {
    match dtype {
        PartType::F16 => ORTSHARD_DTYPE_F16,
        PartType::Bf16 => ORTSHARD_DTYPE_BF16,
        _ => ORTSHARD_DTYPE_F32,
    }
}

impl ortshard_tensor {
    /// A frame of `size` bytes; without data it describes one that is not there.
    pub(in crate::ffi) fn frame(size: usize, data: Option<*const c_void>) -> Self {
        Self {
            dtype: ORTSHARD_DTYPE_FRAME,
            rank: 1,
            shape: [size as i64, 0, 0, 0],
            data: data.map_or(std::ptr::null_mut(), <*const c_void>::cast_mut),
            byte_length: size,
        }
    }
}
