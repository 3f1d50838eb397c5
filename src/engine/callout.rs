//! Calls out of the library, to callbacks of the program.
//!
//! The library calls the program's log and fetch callbacks in the middle of other calls, with their locks held. A callback must not
//! call a function that waits for such a lock: the function would wait for its own caller.

use std::cell::Cell;

use crate::error::{Result, bail};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls `callback`. Until it has returned, this thread may not load, run or clear.
pub(crate) fn call_out<T>(callback: impl FnOnce() -> T) -> T {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _reset = Reset(INSIDE.replace(true));
    callback()
}

/// Refuses a call from within a callback, because it may wait for the call that the callback interrupts.
pub(crate) fn refuse_inside() -> Result<()> {
    if INSIDE.get() {
        bail!(InvalidState, "a log or fetch callback must not use an engine, a shard or a request");
    }
    Ok(())
}
