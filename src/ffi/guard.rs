//! The frame of every function: nothing unwinds into C, and every failure is recorded for its thread.

use std::any::Any;
#[cfg(unix)]
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::last_error;
use super::status::{Failure, ORTSHARD_ERROR_PANIC, ORTSHARD_OK, ortshard_status};

/// Runs the body of a function that returns a status.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> ortshard_status {
    let _whole = Uncancelled::new();
    // What a panic leaves behind is memory-safe, as Rust's is, and the header says to free the object.
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return ORTSHARD_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => Failure::new(ORTSHARD_ERROR_PANIC, format!("ortshard crashed: {}", text(&*payload))),
    };
    let status = failure.status;
    last_error::record(failure);
    status
}

/// Runs the body of a function that returns nothing.
pub(super) fn guard_void(body: impl FnOnce()) {
    guard(|| {
        body();
        Ok(())
    });
}

/// Holds `pthread_cancel` off until the call has ended: it would unwind through frames that cannot be unwound.
struct Uncancelled {
    #[cfg(unix)]
    before: c_int,
}

#[cfg(unix)]
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

impl Uncancelled {
    fn new() -> Self {
        #[cfg(unix)]
        {
            // PTHREAD_CANCEL_DISABLE.
            let (disable, mut before) = (c_int::from(!cfg!(target_vendor = "apple")), 0);
            // SAFETY: changes this thread's state alone; the out-pointer is valid.
            unsafe { pthread_setcancelstate(disable, &raw mut before) };
            Self { before }
        }
        #[cfg(not(unix))]
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Uncancelled {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { pthread_setcancelstate(self.before, std::ptr::null_mut()) };
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let status = guard(|| std::panic::resume_unwind(Box::new("the words")));
        assert_eq!(status, ORTSHARD_ERROR_PANIC);
        assert_eq!(last_error::message(), "ortshard crashed: the words");
    }

    #[test]
    fn success_leaves_the_last_error_alone() {
        assert_eq!(guard(|| Err(Failure::null("x"))), 101);
        assert_eq!(guard(|| Ok(())), ORTSHARD_OK);
        assert_eq!(last_error::message(), "x is NULL");
    }
}
