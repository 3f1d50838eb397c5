//! Limits how long a regular expression may try. One of the few places with `unsafe`.
//!
//! By default Oniguruma gives up after 10,000,000 steps back for each character that a match could start at: a
//! pattern made to take long would take hours for a text of 64 KiB. The crates that call Oniguruma offer no way to
//! change that. So the limits are set in Oniguruma itself, which is linked into this library and serves nobody else.
#![allow(unsafe_code, reason = "the engine's limits can only be set through its C interface")]

use std::sync::Once;

/// The most steps back in one match. Patterns of published tokenizers take two for each character of a run of spaces.
const IN_MATCH: u32 = 1_000_000;

/// The most steps back until the next match is found. Each character that cannot start a match takes one.
const IN_SEARCH: u32 = 100_000_000;

/// Sets the limits, once.
pub(super) fn limit() {
    static SET: Once = Once::new();
    // SAFETY: plain setters of global numbers; `Once` keeps other threads out until they are set, and every tokenizer
    // comes by here before it compiles its first pattern.
    SET.call_once(|| unsafe {
        onig_sys::onig_set_retry_limit_in_match(IN_MATCH.into());
        onig_sys::onig_set_retry_limit_in_search(IN_SEARCH.into());
    });
}
