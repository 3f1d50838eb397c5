//! What the tests of the suite and those beside the code share.
#![allow(clippy::unwrap_used, reason = "a failing test panics")]

use std::collections::BTreeSet;
use std::io::Write;
use std::panic::Location;
use std::sync::Mutex;

/// Says that the test which calls this does not run, or not all of it, and why. The line `SKIPPED test: why` goes to the reader
/// at once: libtest keeps back what a passing test prints by the macros.
#[track_caller]
pub(crate) fn skipped(why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let (thread, place) = (std::thread::current(), Location::caller().to_string());
    // libtest names a test's thread after the test, unless it runs on the main thread (`--test-threads=1`).
    let test = thread.name().filter(|name| *name != "main").unwrap_or(&place);
    let line = format!("SKIPPED {test}: {why}\n");
    if SAID.lock().unwrap().insert(line.clone()) {
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}
