//! The end of the process.
//!
//! `exit()` destroys ONNX Runtime's static objects while other threads go on. So a handler of this library, which runs
//! before, closes a gate: nobody enters ONNX Runtime any more, and who is inside is told to stop and waited for.
//!
//! Handlers and static objects go in the reverse order of their registration, and ONNX Runtime registers more of them
//! when it first needs them. So the handler is registered again after what may have done that.
#![allow(unsafe_code, reason = "handlers are registered with the C library")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Result, err};

/// How long the end of the process waits for who is inside. The header tells.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How many are inside, and whether the gate is closed.
static GATE: AtomicUsize = AtomicUsize::new(0);
const CLOSED: usize = 1 << (usize::BITS - 1);

thread_local! {
    /// How often this thread is inside.
    static OWN: Cell<usize> = const { Cell::new(0) };
}

/// Held while ONNX Runtime is used.
#[derive(Debug)]
#[must_use]
pub(crate) struct Inside(());

/// Enters ONNX Runtime, also where this thread is inside already.
///
/// # Errors
/// `InvalidState` once the process ends.
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

/// Whether the process ends: what belongs to ONNX Runtime is then left to the system.
pub(super) fn has_begun() -> bool {
    GATE.load(Ordering::SeqCst) & CLOSED != 0
}

/// Gives something back to ONNX Runtime, unless the process ends.
pub(super) fn release(work: impl FnOnce()) {
    if let Ok(_inside) = enter() {
        work();
    }
}

/// Registers the handler, in front of all that is registered by now.
pub(super) fn register() {
    // Nothing is lost where the system has no room for another: there is one already.
    // SAFETY: a function that stays, see `library::load`.
    unsafe { libc::atexit(close) };
}

/// Registers the handler again after a run or another use of ONNX Runtime: each time at first, then less and less often.
pub(super) fn register_again() {
    static USES: AtomicUsize = AtomicUsize::new(0);
    const EACH: usize = 256;
    let uses = USES.fetch_add(1, Ordering::Relaxed) + 1;
    if uses <= EACH || uses.is_power_of_two() {
        register();
    }
}

/// After a fork there is one thread, and only what it holds itself is given back.
pub(super) fn heed_forks() {
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
    // Nobody waits for itself: this may be called from a log message of a run.
    while GATE.load(Ordering::SeqCst) & !CLOSED > OWN.get() && begin.elapsed() < LONGEST_WAIT {
        super::cancel::stop_all();
        super::session::stop_loading();
        std::thread::sleep(Duration::from_millis(1));
    }
}
