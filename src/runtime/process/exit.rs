//! The end of the process.
//!
//! `exit()` destroys ONNX Runtime's static objects while other threads go on. So a handler of this library, which
//! runs before that, closes a gate: no thread enters ONNX Runtime any more, and those inside are told to stop and
//! waited for.
//!
//! Handlers run, and static objects are destroyed, in the reverse order of their registration. ONNX Runtime registers
//! some objects only when it first needs them. So the handler is registered again after each use of ONNX Runtime that
//! may have registered one.
#![allow(unsafe_code, reason = "handlers are registered with the C library")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Result, err};

/// How long the end of the process waits for threads inside ONNX Runtime. The header states it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How many calls are inside ONNX Runtime, and whether the gate is closed.
static GATE: AtomicUsize = AtomicUsize::new(0);
const CLOSED: usize = 1 << (usize::BITS - 1);

thread_local! {
    /// How many of these calls are this thread's.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// Held during a call into ONNX Runtime.
#[derive(Debug)]
#[must_use]
pub(crate) struct Inside(());

/// Enters ONNX Runtime. A thread that is inside may enter again.
///
/// # Errors
/// `InvalidState` once the process has begun to end.
pub(crate) fn enter() -> Result<Inside> {
    if GATE.fetch_add(1, Ordering::SeqCst) & CLOSED != 0 {
        GATE.fetch_sub(1, Ordering::SeqCst);
        return Err(err!(InvalidState, "the process is ending: exit() was called, and ONNX Runtime goes with it"));
    }
    OWN.set(OWN.get() + 1);
    Ok(Inside(()))
}

impl Drop for Inside {
    fn drop(&mut self) {
        OWN.set(OWN.get() - 1);
        GATE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the process has begun to end. Then objects of ONNX Runtime are not released any more; the system takes
/// them back.
pub(in crate::runtime) fn has_begun() -> bool {
    GATE.load(Ordering::SeqCst) & CLOSED != 0
}

/// Does `work`, which releases something of ONNX Runtime's, unless the process has begun to end.
pub(in crate::runtime) fn release(work: impl FnOnce()) {
    if let Ok(_inside) = enter() {
        work();
    }
}

/// Registers the handler, which then runs before all that are registered by now.
pub(in crate::runtime) fn register() {
    // If the system has no room for another handler, the one that is registered has to do. SAFETY: a function that
    // stays, see `library::load`.
    unsafe { libc::atexit(close) };
}

/// Registers the handler again after a use of ONNX Runtime: at first after each, then less and less often.
pub(in crate::runtime) fn register_again() {
    static USES: AtomicUsize = AtomicUsize::new(0);
    const EACH: usize = 256;
    let uses = USES.fetch_add(1, Ordering::Relaxed) + 1;
    if uses <= EACH || uses.is_power_of_two() {
        register();
    }
}

/// Makes a child process after a fork count only its one thread's own calls: the other threads do not exist there.
pub(in crate::runtime) fn heed_forks() {
    extern "C" fn child() {
        GATE.store(OWN.get() | GATE.load(Ordering::SeqCst) & CLOSED, Ordering::SeqCst);
    }
    #[cfg(unix)]
    // SAFETY: as in `register`.
    unsafe {
        libc::pthread_atfork(None, None, Some(child));
    }
}

extern "C" fn close() {
    static DONE: AtomicBool = AtomicBool::new(false);
    GATE.fetch_or(CLOSED, Ordering::SeqCst);
    if DONE.swap(true, Ordering::SeqCst) {
        return;
    }
    let begin = Instant::now();
    // This thread's own calls are not waited for: `exit()` may be called in a log message of a run.
    while GATE.load(Ordering::SeqCst) & !CLOSED > OWN.get() && begin.elapsed() < LONGEST_WAIT {
        crate::runtime::run::cancel::stop_all();
        crate::runtime::run::session::stop_loading();
        std::thread::sleep(Duration::from_millis(1));
    }
}
