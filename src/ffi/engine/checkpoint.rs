//! Checkpoints
//!
//! A shard's weights as a file: saved from the resident shard, or loaded into its place, such as a fine-tune of the
//! same model.

use std::ffi::{c_char, c_void};
use std::path::Path;

use crate::Engine;
use crate::ffi::basics::objects::{ortshard_engine, ortshard_shard};
use crate::ffi::engine::progress::{Told, give_loaded, ortshard_progress_callback};
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{path, text};

/// Puts other weights of the same model into the engine's shard's place and gives a reference to the new shard.
///
/// `checkpoint` is a safetensors file, or a folder with model.safetensors or its index. It must hold every tensor of
/// the shard's layers under a name that transformers takes for it (model.layers.0..., layers.0...), and may hold
/// more. Like ortshard_engine_ensure_shard() this is a transaction, with the same `progress`, and the same rule for
/// requests on the shard before.
///
/// Errors: INVALID_STATE if the engine has no shard, or from a callback of a load on it; NOT_FOUND for a file or
/// tensor that is missing; INVALID_ARGUMENT for a path that does not end in a file's name; and, also since the model's
/// config.json is read again, those of ortshard_engine_ensure_shard().
/// Threads: many at once; loading happens one after another. Ownership: free `*shard` with ortshard_shard_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_load_checkpoint(
    engine: *const ortshard_engine,
    checkpoint: *const c_char,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    shard: *mut *mut ortshard_shard,
) -> ortshard_status {
    let load = |engine: &Engine, progress: Told<'_>| {
        // SAFETY: the header's contract.
        Ok(engine.load_checkpoint(Path::new(unsafe { text(checkpoint, "checkpoint") }?), progress)?)
    };
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| unsafe { give_loaded(engine, progress, user_data, shard, load) })
}

/// Saves the tensors of the engine's shard, in their stored dtype and under transformers' usual names, as the
/// safetensors file `path`. The file appears complete or not at all. One that is there is replaced and its mode stays;
/// a link is followed.
///
/// Errors: INVALID_STATE if the engine has no shard; STALE_SHARD if it is cleared or replaced meanwhile;
/// INVALID_ARGUMENT for a path that is empty, ends in a slash, or names a folder, a device or another thing that is no
/// regular file: it is left as it is; IO.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_save_checkpoint(
    engine: *const ortshard_engine,
    path: *const c_char,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let engine = unsafe { borrow(engine, "engine") }?;
        // SAFETY: as above.
        engine.save_checkpoint(unsafe { self::path(path, "path") }?)?;
        Ok(())
    })
}
