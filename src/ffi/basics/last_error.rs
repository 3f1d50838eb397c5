//! Error messages
//!
//! Messages are for people; they may change, statuses do not. There are two ways to the message of a call that failed:
//!
//!     on the thread that made the call     ortshard_last_error(), or object NULL
//!     on any thread                        ortshard_error_message(object, ...), by the object that the call was on
//!
//! The first is all that C, C++ and Python need, where a call and what follows it stay on one thread. Where a language
//! moves work between threads, such as Node's asynchronous calls and Go's goroutines, its binding takes the second:
//! every object keeps the message of the last call on it that failed, whichever thread made that call. A call on
//! several requests leaves it on each of them; in a batch, on those that failed. Of calls at the same time on one
//! object the last to fail is remembered.
//!
//! Functions that are on no object yet, ortshard_engine_create(), _sampler_create(), _tokenizer_open(), _runtime_load()
//! and those of model folders, have the first way only: a binding calls them, and ortshard_last_error() after them,
//! without giving the thread up in between (in Go, between runtime.LockOSThread() and its counterpart).

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::error::{OutOfMemory, Site};
use crate::ffi::frame::buffers::Buffer;
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::failure::{Failure, Recorded};
use crate::ffi::frame::guard::guard_quietly;
use crate::ffi::frame::handle::failure_on;
use crate::ffi::frame::last_failure::of_thread;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_STATE, ortshard_status};
use crate::ffi::frame::strings::fixed;
use crate::ffi::frame::versioned::{initial, write};

constants! {
    /// Where memory ran out.
    enum ortshard_oom_site {
        /// While a shard was loaded.
        ORTSHARD_OOM_LOAD = 1,
        /// While a request's KV cache was reserved.
        ORTSHARD_OOM_KV = 2,
        /// In the middle of a run.
        ORTSHARD_OOM_RUN = 3,
    }
}

/// Where memory ran out, and how much was asked for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_oom {
    /// Set to sizeof(ortshard_oom) before the call, for instance by ORTSHARD_OOM_INIT.
    pub struct_size: usize,
    /// Which allocation failed: an ORTSHARD_OOM_* constant, of which lists of errors name the last part as the site.
    pub site: i32,
    /// The device whose memory ran out, such as "cpu".
    pub device: [c_char; 28],
    /// Bytes that were asked for; 0 where the failing allocator does not say.
    pub requested_bytes: u64,
}

initial!(ortshard_oom, ortshard_oom_init);

/// What went wrong in this thread's last failing call, with every cause below it, as one line of UTF-8.
///
/// Never NULL; "" if no call of this thread has failed. The text lives until the thread's next failing call; copy it
/// to keep it.
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_last_error() -> *const c_char {
    // The thread keeps what is lent here; a thread that is ending has nothing more to tell.
    of_thread().map_or(c"".as_ptr(), |told| told.message.as_ptr())
}

/// What went wrong in the last failing call on `object`, a handle of any kind; with NULL, in this thread's last failing
/// call. "" if there was none.
///
/// Writes the text of ortshard_last_error() and a final NUL to `buffer`, which has room for `capacity` bytes, and their
/// number, NUL included, to `*needed`. NULL and 0 ask for the number. Leaves all messages as they are, whatever it
/// returns.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written. Threads: any, also during a call on the object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_error_message(
    object: *const c_void,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    guard_quietly(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(buffer.cast::<u8>(), capacity, needed, "buffer") }?;
        // SAFETY: as above.
        let told = unsafe { told(object) }?;
        buffer.fill(told.as_ref().map_or(c"", |told| &told.message).to_bytes_with_nul())
    })
}

/// Where memory ran out in the last failing call on `object`, or with NULL in this thread's last failing call, if that
/// returned ORTSHARD_ERROR_OUT_OF_MEMORY. Leaves all messages as they are, whatever it returns.
///
/// Errors: INVALID_STATE if that call failed for another reason. Threads: any, also during a call on the object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_error_get_oom(object: *const c_void, oom: *mut ortshard_oom) -> ortshard_status {
    guard_quietly(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(oom, "oom") }?;
        // SAFETY: as above.
        let told = unsafe { told(object) }?;
        let oom = told.as_ref().and_then(|told| told.oom.as_ref());
        let oom = oom.ok_or_else(|| Failure::new(ORTSHARD_ERROR_INVALID_STATE, "no memory ran out"))?;
        // SAFETY: as above.
        unsafe { write(&out, describe(oom)) }
    })
}

/// # Safety
/// `object` is NULL or a handle that this library gave, freed or not.
unsafe fn told(object: *const c_void) -> Result<Option<Arc<Recorded>>, Failure> {
    if object.is_null() {
        return Ok(of_thread());
    }
    // SAFETY: the caller's promise.
    unsafe { failure_on(object.cast()) }
}

fn describe(oom: &OutOfMemory) -> ortshard_oom {
    let site = match oom.site {
        Site::Load => ORTSHARD_OOM_LOAD,
        Site::Kv => ORTSHARD_OOM_KV,
        Site::Run => ORTSHARD_OOM_RUN,
    };
    ortshard_oom { struct_size: 0, site, device: fixed(&oom.device), requested_bytes: oom.requested }
}
