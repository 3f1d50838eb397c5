//! What went wrong last: in each thread, and on each object, for another thread to read.

use std::cell::RefCell;
use std::sync::Arc;

use crate::ffi::frame::failure::{Failure, Recorded};
use crate::ffi::frame::handle;

thread_local! {
    static LAST: RefCell<Option<Arc<Recorded>>> = const { RefCell::new(None) };
}

/// Remembers a failure for the calling thread. Where the thread is ending, there is nobody left to read it.
pub(in crate::ffi) fn record(failure: &Failure) {
    let told = Recorded::of(failure);
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(told));
}

/// The calling thread's last failure.
pub(in crate::ffi) fn of_thread() -> Option<Arc<Recorded>> {
    LAST.try_with(|last| last.borrow().clone()).ok().flatten()
}

/// Remembers a failure for the object of a handle, if it is one.
///
/// # Safety
/// As for [`handle::borrow`].
pub(in crate::ffi) unsafe fn note(object: *const (), failure: &Failure) {
    // SAFETY: the caller's promise.
    unsafe { handle::note(object, Recorded::of(failure)) };
}
