// How far loading is, and who is told.

use std::ffi::c_void;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::ffi::basics::objects::{ortshard_engine, ortshard_shard};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::handle::{borrow, give_shared};
use crate::ffi::frame::out::Out;
use crate::{Engine, Progress, Shard, Stage};

constants! {
    /// The steps of loading, in order.
    enum ortshard_stage {
        /// Reading config.json.
        ORTSHARD_STAGE_INSPECT = 1,
        /// Finding the files that hold the shard's tensors, and bringing those that are not here.
        ORTSHARD_STAGE_FETCH = 2,
        /// Mapping weights.
        ORTSHARD_STAGE_WEIGHTS = 3,
        /// Quantising them, where the precision asks for it and the cache of packed shards does not have them.
        ORTSHARD_STAGE_PACK = 4,
        /// Creating the ONNX Runtime session.
        ORTSHARD_STAGE_SESSION = 5,
        /// Done. Comes last and once.
        ORTSHARD_STAGE_READY = 6,
    }
}

/// How far loading is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_progress {
    /// The size that the library knows; later fields are not there.
    pub struct_size: usize,
    /// An ORTSHARD_STAGE_* constant; they come in order.
    pub stage: i32,
    /// Bytes of files brought here (FETCH) or of weights mapped (later) so far.
    pub bytes_done: u64,
    /// Bytes in all; 0 while that is not known.
    pub bytes_total: u64,
    /// Tensors mapped so far.
    pub tensors_done: u64,
    /// Tensors in all; 0 while that is not known.
    pub tensors_total: u64,
}

/// Is told about each step of loading; `progress` lives for the length of the call. Returns 0 to go on, anything else
/// to cancel.
///
/// Called from the thread that called the loading function. Loading or clearing on the same engine returns
/// INVALID_STATE from there, since it would wait for itself; an engine that is freed there goes when the loading
/// function returns. It must return normally (no longjmp, no C++ exception).
pub type ortshard_progress_callback =
    Option<unsafe extern "C" fn(progress: *const ortshard_progress, user_data: *mut c_void) -> i32>;

/// Who is told how far loading is.
pub(in crate::ffi) type Told<'a> = Option<&'a mut dyn FnMut(&Progress) -> ControlFlow<()>>;

/// The frame of the functions that load a shard: `load` makes it the engine's, `shard` becomes a reference to it.
///
/// # Safety
/// The arguments are as the header says.
pub(in crate::ffi) unsafe fn give_loaded(
    engine: *const ortshard_engine,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    shard: *mut *mut ortshard_shard,
    load: impl FnOnce(&Engine, Told<'_>) -> Result<Arc<Shard>, Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::handle(shard, "shard") }?;
    // SAFETY: as above.
    let engine = unsafe { borrow(engine, "engine") }?;
    // SAFETY: as above.
    out.set(give_shared(unsafe { reporting(progress, user_data, |progress| load(&engine, progress)) }?));
    Ok(())
}

/// Calls `load` with the caller's progress callback, if there is one.
///
/// # Safety
/// The callback and its `user_data` are as the header says.
pub(in crate::ffi) unsafe fn reporting<T>(
    callback: ortshard_progress_callback,
    user_data: *mut c_void,
    load: impl FnOnce(Told<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let Some(callback) = callback else { return load(None) };
    let mut tell = |now: &Progress| {
        let now = describe(now);
        // SAFETY: the callback is called as the header says, in the caller's thread and call.
        match unsafe { callback(&raw const now, user_data) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    };
    load(Some(&mut tell))
}

fn describe(progress: &Progress) -> ortshard_progress {
    ortshard_progress {
        struct_size: size_of::<ortshard_progress>(),
        stage: match progress.stage {
            Stage::Inspect => ORTSHARD_STAGE_INSPECT,
            Stage::Fetch => ORTSHARD_STAGE_FETCH,
            Stage::Weights => ORTSHARD_STAGE_WEIGHTS,
            Stage::Pack => ORTSHARD_STAGE_PACK,
            Stage::Session => ORTSHARD_STAGE_SESSION,
            Stage::Ready => ORTSHARD_STAGE_READY,
        },
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        tensors_done: progress.tensors_done as u64,
        tensors_total: progress.tensors_total as u64,
    }
}
