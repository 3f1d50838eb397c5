//! Error messages
//!
//! Each thread has its own last error: read it on the thread that made the failing call, before that thread's next
//! call. A successful call leaves it as it is.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

use super::guard::guard_void;
use super::handle::Out;
use super::options::{Versioned, write};
use super::status::{Failure, ORTSHARD_ERROR_INVALID_STATE, ORTSHARD_OK, ortshard_status};
use super::strings::fixed;
use crate::error::{OutOfMemory, Site};

/// Memory ran out while a shard was loaded.
pub const ORTSHARD_OOM_LOAD: i32 = 1;
/// Memory ran out while a request's KV cache was reserved.
pub const ORTSHARD_OOM_KV: i32 = 2;
/// Memory ran out in the middle of a run.
pub const ORTSHARD_OOM_RUN: i32 = 3;

//# /** An ortshard_oom ready to be filled. @since 0.1 */
//# #define ORTSHARD_OOM_INIT { sizeof(ortshard_oom), 0, "", 0 }

/// Where memory ran out.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_oom {
    /// Set to sizeof(ortshard_oom) before the call, for instance by ORTSHARD_OOM_INIT.
    pub struct_size: usize,
    /// Which allocation failed: an ORTSHARD_OOM_* constant.
    pub site: i32,
    /// The device whose memory ran out, such as "cpu".
    pub device: [c_char; 28],
    /// Bytes that were asked for; 0 where the failing allocator does not say.
    pub requested_bytes: u64,
}

impl Versioned for ortshard_oom {
    const NAME: &'static str = "ortshard_oom";
}

#[derive(Default)]
struct LastError {
    message: CString,
    oom: Option<OutOfMemory>,
}

thread_local! {
    static LAST: RefCell<LastError> = RefCell::default();
}

/// Remembers a failure for the calling thread. Where the thread is ending, there is nobody left to read it.
pub(super) fn record(failure: Failure) {
    let message = CString::new(failure.message.replace('\0', "\\0")).unwrap_or_default();
    let _ = LAST.try_with(|last| *last.borrow_mut() = LastError { message, oom: failure.oom });
}

#[cfg(test)]
pub(super) fn message() -> String {
    LAST.with(|last| last.borrow().message.to_string_lossy().into_owned())
}

/// What went wrong in this thread's last failing call, with every cause below it, as one line of UTF-8.
///
/// Never NULL; "" if no call of this thread has failed. The text lives until the thread's next failing call; copy it
/// to keep it. @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().message.as_ptr()).unwrap_or(c"".as_ptr())
}

/// Where memory ran out in this thread's last failing call, if that returned ORTSHARD_ERROR_OUT_OF_MEMORY.
///
/// Leaves the last error as it is, whatever it returns.
///
/// Errors: INVALID_STATE if the last error was another; NULL_ARGUMENT; INVALID_ARGUMENT for a bad struct_size.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_last_oom(oom: *mut ortshard_oom) -> ortshard_status {
    let mut status = ORTSHARD_OK;
    guard_void(|| {
        let last = LAST.try_with(|last| last.borrow().oom.clone()).ok().flatten();
        // SAFETY: the header's contract.
        let result = unsafe { Out::new(oom, "oom") }.and_then(|out| {
            let last = last.ok_or_else(|| Failure::new(ORTSHARD_ERROR_INVALID_STATE, "no memory ran out"))?;
            // SAFETY: as above.
            unsafe { write(&out, describe(&last)) }
        });
        status = result.err().map_or(ORTSHARD_OK, |failure| failure.status);
    });
    status
}

fn describe(oom: &OutOfMemory) -> ortshard_oom {
    let site = match oom.site {
        Site::Load => ORTSHARD_OOM_LOAD,
        Site::Kv => ORTSHARD_OOM_KV,
        Site::Run => ORTSHARD_OOM_RUN,
    };
    ortshard_oom { struct_size: 0, site, device: fixed(&oom.device), requested_bytes: oom.requested }
}
