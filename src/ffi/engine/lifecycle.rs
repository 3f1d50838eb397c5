// The engine itself.

use std::ffi::c_void;

use crate::Engine;
use crate::ffi::basics::objects::{ortshard_engine, ortshard_shard};
use crate::ffi::engine::options::{engine_options, ortshard_engine_options};
use crate::ffi::engine::progress::{Told, give_loaded, ortshard_progress_callback};
use crate::ffi::engine::spec::{ortshard_shard_spec, shard_spec};
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Handle, Kind, borrow, free, give, give_shared};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;

impl Handle for ortshard_engine {
    type Object = Engine;
    const KIND: Kind = Kind::Engine;
}

/// Creates an engine without a shard. NULL `options`: the defaults. Loads ONNX Runtime if no call has yet.
///
/// Errors: those of ortshard_runtime_load(); DEVICE_UNAVAILABLE if the device is required; UNSUPPORTED for a kv_type
/// that the operators it asks for do not have; INVALID_ARGUMENT for a device_index where there is only one device, or
/// if the environment's ORTSHARD_DEVICE names none.
/// Threads: any. Ownership: free `*engine` with ortshard_engine_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_create(
    options: *const ortshard_engine_options,
    engine: *mut *mut ortshard_engine,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(engine, "engine") }?;
        // SAFETY: as above.
        out.set(give(Engine::new(unsafe { engine_options(options) }?)?));
        Ok(())
    })
}

/// Frees an engine, and its shard once no request and no reference holds it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_free(engine: *mut ortshard_engine) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(engine, "engine") });
}

/// Makes the shard that `spec` names the engine's shard and gives a reference to it.
///
/// If it is resident already, nothing happens: the same layers of the same folder, however its path is spelled, with
/// the model's own weights, and the files as they were. Of a model that is a name, the name and the revision count.
/// Otherwise the shard is built beside the present one, which is replaced when the new one is ready: after any failure
/// the old shard is still there. Requests on a replaced shard go on working, and keep it in memory until they are
/// freed; with the option release_first they become stale instead.
///
/// A relative path means what it means now, whatever the working directory is later.
///
/// `progress`, unless NULL, is called after each step with `user_data`.
///
/// Errors: NOT_FOUND for a folder, model, file or tensor that is missing; MALFORMED and UNSUPPORTED for a model that
/// cannot be run; OUT_OF_RANGE for layers that the model does not have, or a first_layer after last_layer;
/// INVALID_ARGUMENT if layer_count is not the model's, if the model is the path of a file, or for a bad revision or one
/// of a folder; OFFLINE for files that are not in the cache when the network is off; HASH_MISMATCH for a download that
/// is not what the hub promised; what the fetch callback returned; CANCELLED by `progress`; OUT_OF_MEMORY (site LOAD);
/// DEVICE_UNAVAILABLE if the device is required and takes no part of the shard; INVALID_STATE from a callback of a
/// load on this engine; IO; ONNXRUNTIME.
/// Threads: many at once; loading happens one after another. Ownership: free `*shard` with ortshard_shard_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_ensure_shard(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    shard: *mut *mut ortshard_shard,
) -> ortshard_status {
    let load = |engine: &Engine, progress: Told<'_>| {
        // SAFETY: the header's contract.
        Ok(engine.ensure_shard(&unsafe { shard_spec(spec) }?, progress)?)
    };
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| unsafe { give_loaded(engine, progress, user_data, shard, load) })
}

/// Gives a reference to the engine's shard, or NULL (and ORTSHARD_OK) if it has none.
///
/// Threads: many at once. Ownership: free `*shard` with ortshard_shard_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_current_shard(
    engine: *const ortshard_engine,
    shard: *mut *mut ortshard_shard,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(shard, "shard") }?;
        // SAFETY: as above.
        if let Some(current) = unsafe { borrow(engine, "engine") }?.current_shard() {
            out.set(give_shared(current));
        }
        Ok(())
    })
}

/// Gives back the memory of the engine's shard: its weights, its session, and the KV caches of the requests on it. The
/// engine can load again.
///
/// Handles on the shard and its requests stay valid and are freed as usual; their calls return STALE_SHARD. Until it is
/// freed, a request keeps its last output and, if it was made with no_cache, its input. Shards that were replaced
/// before are not the engine's any more: they and their requests go on working, and keep their memory until they are
/// freed.
///
/// Errors: INVALID_STATE from a callback of a load on this engine.
/// Threads: many at once; waits for a load and for runs in progress.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_clear(engine: *const ortshard_engine) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        Ok(unsafe { borrow(engine, "engine") }?.clear()?)
    })
}

/// Deletes every quantised shard from the engine's cache of them. Shards in use go on working.
///
/// `freed`, unless NULL, gets the bytes of the files. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_clear_pack_cache(
    engine: *const ortshard_engine,
    freed: *mut u64,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let bytes = unsafe { borrow(engine, "engine") }?.clear_pack_cache();
        // SAFETY: as above.
        if let Ok(freed) = unsafe { Out::new(freed, "freed") } {
            freed.set(bytes);
        }
        Ok(())
    })
}
