//! Boundary
//!
//! The place between two layers, where a model can be cut into shards. For planning: what passes there in a frame, and
//! whether the model can be cut there. Where it cannot, a spec that would is refused, with the nearest cuts that can be.

use std::ffi::{c_char, c_void};

use crate::ffi::basics::objects::ortshard_engine;
use crate::ffi::engine::progress::{Told, ortshard_progress_callback, reporting};
use crate::ffi::engine::spec::{ortshard_shard_spec, shard_spec};
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{fixed, path};
use crate::ffi::frame::versioned::{initial, write};
use crate::{Boundary, PartType, Role};

/// What passes behind a layer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_boundary {
    /// Set to sizeof(ortshard_boundary) before the call.
    pub struct_size: usize,
    /// The layer in front of it.
    pub layer: u32,
    /// 1 if the model can be cut here, else 0.
    pub can_cut: i32,
    /// Why not, as UTF-8; "" if it can.
    pub reason: [c_char; 200],
    /// The model, as hexadecimal digits: a hash of the numbers of config.json that decide results. The frames of two
    /// shards fit only if both have the same.
    pub model: [c_char; 40],
    /// Number of the parts that pass.
    pub part_count: u32,
    /// Values of a token in the part ORTSHARD_ROLE_HIDDEN_STATES.
    pub hidden_states_width: u32,
    /// Values of a token in the part ORTSHARD_ROLE_PER_LAYER_INPUTS; 0 if there is none.
    pub per_layer_inputs_width: u32,
    /// Bytes in front of a frame's parts.
    pub header_bytes: u32,
    /// Bytes of a token, all parts, as F32: 4 for each value.
    pub f32_bytes_per_token: u64,
    /// The same as F16: 2 for each value.
    pub f16_bytes_per_token: u64,
    /// The same as BF16: 2 for each value.
    pub bf16_bytes_per_token: u64,
    /// Values of a token in the part ORTSHARD_ROLE_STREAMS; 0 if there is none.
    pub streams_width: u64,
}

initial!(ortshard_boundary, ortshard_boundary_init);

/// Describes the place behind `layer` of the model in the folder `model`. Reads config.json only; needs neither weights
/// nor ONNX Runtime.
///
/// Errors: OUT_OF_RANGE for the last layer, or one that the model does not have; those of ortshard_model_get_info().
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_model_get_boundary(
    model: *const c_char,
    layer: u32,
    boundary: *mut ortshard_boundary,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(boundary, "boundary") }?;
        // SAFETY: as above.
        let found = Boundary::read(unsafe { path(model, "model") }?, layer)?;
        // SAFETY: as above.
        unsafe { write(&out, describe(&found)) }
    })
}

/// Describes the place behind `layer` of the model of `spec`, as ortshard_model_get_boundary() does for a folder. Of the
/// spec, only `model` and `revision` matter.
///
/// Errors: OUT_OF_RANGE for the last layer, or one that the model does not have; those of
/// ortshard_engine_get_model_info().
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_get_boundary(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    layer: u32,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    boundary: *mut ortshard_boundary,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(boundary, "boundary") }?;
        // SAFETY: as above.
        let (engine, spec) = unsafe { (borrow(engine, "engine")?, shard_spec(spec)?) };
        let read = |progress: Told<'_>| Ok(engine.boundary(&spec, layer, progress)?);
        // SAFETY: as above.
        let found = unsafe { reporting(progress, user_data, read) }?;
        // SAFETY: as above.
        unsafe { write(&out, describe(&found)) }
    })
}

fn describe(boundary: &Boundary) -> ortshard_boundary {
    let width = |role| boundary.parts.iter().find(|(own, _)| *own == role).map_or(0, |(_, width)| *width);
    ortshard_boundary {
        struct_size: 0,
        layer: boundary.layer,
        can_cut: boundary.refused.is_none().into(),
        reason: fixed(boundary.refused.as_deref().unwrap_or_default()),
        model: fixed(&boundary.model),
        part_count: boundary.parts.len() as u32,
        hidden_states_width: width(Role::HiddenStates),
        per_layer_inputs_width: width(Role::PerLayerInputs),
        header_bytes: boundary.header_bytes() as u32,
        f32_bytes_per_token: boundary.bytes_per_token(PartType::F32),
        f16_bytes_per_token: boundary.bytes_per_token(PartType::F16),
        bf16_bytes_per_token: boundary.bytes_per_token(PartType::Bf16),
        streams_width: width(Role::Streams).into(),
    }
}
