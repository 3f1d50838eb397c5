// Which shard is meant.

use std::ffi::c_char;

use crate::ShardSpec;
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::strings::{optional, text};
use crate::ffi::frame::versioned::{initial, read};

constants! {
    /// A layer that stands for another.
    enum nameless {
        /// In ortshard_shard_spec: the model's last layer.
        ORTSHARD_LAST_LAYER = 0x7fff_ffff,
    }
}

/// Which layers of which model. Start from ORTSHARD_SHARD_SPEC_INIT: the layers are taken as they stand, zero is
/// layer 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_shard_spec {
    /// sizeof(ortshard_shard_spec).
    pub struct_size: usize,
    /// The model's folder or its name on the hub (`name` or `org/name`), as UTF-8. Read during the call only.
    pub model: *const c_char,
    /// Branch, tag or commit of a model on the hub. NULL: "main".
    pub revision: *const c_char,
    /// The first layer, from 0.
    pub first_layer: u32,
    /// The last layer, INCLUSIVE: 0 and 3 are four layers. ORTSHARD_LAST_LAYER: the model's last.
    pub last_layer: u32,
    /// Layers of the whole model, to check that the right model is there: another number is an error. 0: no check.
    pub layer_count: u32,
}

initial!(ortshard_shard_spec, ortshard_shard_spec_init; last_layer = ORTSHARD_LAST_LAYER);

/// # Safety
/// `spec` is NULL or as the header says.
pub(in crate::ffi) unsafe fn shard_spec(spec: *const ortshard_shard_spec) -> Result<ShardSpec, Failure> {
    if spec.is_null() {
        return Err(Failure::null("spec"));
    }
    // SAFETY: the caller's promise.
    let spec = unsafe { read(spec) }?;
    Ok(ShardSpec {
        // SAFETY: as above.
        model: unsafe { text(spec.model, "spec->model") }?.to_owned(),
        first_layer: spec.first_layer,
        last_layer: if spec.last_layer == ORTSHARD_LAST_LAYER as u32 { ShardSpec::LAST } else { spec.last_layer },
        layer_count: spec.layer_count,
        // SAFETY: as above.
        revision: unsafe { optional(spec.revision, "spec->revision") }?.map(str::to_owned),
    })
}
