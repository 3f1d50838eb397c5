//! Files of a shard
//!
//! What would have to be there to load a shard, for preparing a machine that has no network.

use std::ffi::{c_char, c_void};

use crate::FileState;
use crate::ffi::basics::objects::ortshard_engine;
use crate::ffi::engine::spec::{ortshard_shard_spec, shard_spec};
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::borrow;
use crate::ffi::frame::status::{ORTSHARD_ERROR_CANCELLED, ortshard_status};

constants! {
    /// Whether a file is here.
    enum ortshard_file_state {
        /// The file is on this machine.
        ORTSHARD_FILE_PRESENT = 1,
        /// The file is not on this machine.
        ORTSHARD_FILE_MISSING = 2,
    }
}

/// A file that a shard needs. The texts live for the length of the callback.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_file {
    /// The size that the library knows; later fields are not there.
    pub struct_size: usize,
    /// Its name within the model.
    pub name: *const c_char,
    /// Where it lies on this machine; NULL if it is missing.
    pub path: *const c_char,
    /// Its bytes; 0 if that is not known.
    pub size: u64,
    /// An ORTSHARD_FILE_* constant.
    pub state: i32,
}

/// Is told about one file. Returns 0 to go on, anything else to stop. It must return normally.
pub type ortshard_file_callback =
    Option<unsafe extern "C" fn(file: *const ortshard_file, user_data: *mut c_void) -> i32>;

/// Calls `callback` with each file that the shard of `spec` needs, in the calling thread. Fetches nothing and opens no
/// socket.
///
/// These are config.json, the index if the model has one, and the weight files that hold the shard's tensors. Without
/// config.json or a part of them it cannot be told which others are needed, and the list is shorter.
///
/// Errors: NOT_FOUND if there is no such model; MALFORMED, UNSUPPORTED, OUT_OF_RANGE, INVALID_ARGUMENT as for
/// ortshard_engine_ensure_shard(); CANCELLED by `callback`; IO.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_audit_files(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    callback: ortshard_file_callback,
    user_data: *mut c_void,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let engine = unsafe { borrow(engine, "engine") }?;
        let callback = callback.ok_or_else(|| Failure::null("callback"))?;
        // SAFETY: as above.
        for file in engine.audit_files(&unsafe { shard_spec(spec) }?)? {
            let terminated = |text: &str| [text, "\0"].concat();
            let name = terminated(&file.name);
            let (path, size) = match &file.state {
                FileState::Present { path, size } => (Some(terminated(&path.to_string_lossy())), *size),
                FileState::Missing { size } => (None, size.unwrap_or(0)),
                FileState::Absent => (None, 0),
            };
            let told = ortshard_file {
                struct_size: size_of::<ortshard_file>(),
                name: name.as_ptr().cast(),
                path: path.as_ref().map_or(std::ptr::null(), |path| path.as_ptr().cast()),
                size,
                state: if path.is_some() { ORTSHARD_FILE_PRESENT } else { ORTSHARD_FILE_MISSING },
            };
            // SAFETY: the callback is called as the header says.
            if unsafe { callback(&raw const told, user_data) } != 0 {
                return Err(Failure::new(ORTSHARD_ERROR_CANCELLED, "the audit was stopped by its callback"));
            }
        }
        Ok(())
    })
}
