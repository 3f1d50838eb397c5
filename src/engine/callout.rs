//! Calls out of the library, to callbacks of the program.
//!
//! A log message or a file that is fetched comes in the middle of other calls, with their locks held. What would wait for
//! such a lock must not be called from there: it would wait for itself.

use std::cell::Cell;

use crate::error::{Result, bail};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Calls out: until `callback` has returned, this thread may not load, run or clear.
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

/// Refuses a call that may wait for the one that has called out.
pub(crate) fn refuse_inside() -> Result<()> {
    if INSIDE.get() {
        bail!(InvalidState, "a log or fetch callback must not use an engine, a shard or a request");
    }
    Ok(())
}
