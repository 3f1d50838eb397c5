//! The frame of every function: nothing unwinds into C, and every failure is recorded for its thread.

use std::any::Any;
#[cfg(unix)]
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::last_failure;
use crate::ffi::frame::status::{ORTSHARD_ERROR_PANIC, ORTSHARD_OK, ortshard_status};

/// Runs the body of a function that is on no object.
pub(in crate::ffi) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> ortshard_status {
    tell(attempt(body), |_| ())
}

/// The objects that a function is on, which keep its failure for other threads to read.
pub(in crate::ffi) enum On {
    One(*const ()),
    All(*const *const (), usize),
}

/// # Safety
/// `object` is NULL or a handle that this library gave, freed or not, until the call returns.
pub(in crate::ffi) unsafe fn on<H>(object: *const H) -> On {
    On::One(object.cast())
}

/// `count` objects that fail together.
///
/// # Safety
/// `objects` is NULL or has `count` handles, each as for [`on`].
pub(in crate::ffi) unsafe fn on_all<H>(objects: *const *mut H, count: usize) -> On {
    On::All(objects.cast(), count)
}

impl On {
    /// Runs the body of a function that returns a status.
    pub(in crate::ffi) fn guard(self, body: impl FnOnce() -> Result<(), Failure>) -> ortshard_status {
        tell(attempt(body), |failure| match self {
            // SAFETY: the promise to `on`.
            Self::One(object) => unsafe { last_failure::note(object, failure) },
            Self::All(objects, count) => {
                // SAFETY: the promise to `on_all`.
                let objects = unsafe { array(objects, count, "objects") };
                for object in objects.iter().flat_map(|objects| objects.iter()) {
                    // SAFETY: as above.
                    unsafe { last_failure::note(*object, failure) };
                }
            }
        })
    }
}

/// Runs the body of a function that leaves the last error alone whatever it returns.
pub(in crate::ffi) fn guard_quietly(body: impl FnOnce() -> Result<(), Failure>) -> ortshard_status {
    attempt(body).map_or_else(|failure| failure.status, |()| ORTSHARD_OK)
}

/// Remembers a failure for its thread, and for what `note` knows.
fn tell(outcome: Result<(), Failure>, note: impl FnOnce(&Failure)) -> ortshard_status {
    let Err(failure) = outcome else { return ORTSHARD_OK };
    last_failure::record(&failure);
    note(&failure);
    failure.status
}

fn attempt(body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let _whole = Uncancelled::new();
    // What a panic leaves behind is memory-safe, as Rust's is, and the header says to free the object.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        Err(Failure::new(ORTSHARD_ERROR_PANIC, format!("ortshard crashed: {}", text(&*payload))))
    })
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

    fn message() -> String {
        last_failure::of_thread().map(|told| told.message.to_string_lossy().into_owned()).unwrap_or_default()
    }

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let status = guard(|| std::panic::resume_unwind(Box::new("the words")));
        assert_eq!(status, ORTSHARD_ERROR_PANIC);
        assert_eq!(message(), "ortshard crashed: the words");
    }

    #[test]
    fn success_leaves_the_last_error_alone() {
        assert_eq!(guard(|| Err(Failure::null("x"))), 101);
        assert_eq!(guard(|| Ok(())), ORTSHARD_OK);
        assert_eq!(message(), "x is NULL");
    }
}
