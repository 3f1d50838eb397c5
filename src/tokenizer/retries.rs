//! How long a regular expression may try. One of the few places with `unsafe`.
//!
//! Oniguruma steps back 10,000,000 times for each character that a match could start at, before it gives up: a pattern
//! made to take long would keep a text of 64 KiB busy for hours. The crates in between offer no way to say less, so it
//! is said to Oniguruma itself, which is linked into this library and serves nobody else.
#![allow(unsafe_code, reason = "the engine's limits can only be set through its C interface")]

use std::sync::Once;

/// Steps back in one match. Those of published tokenizers take two for each character of a run of spaces.
const IN_MATCH: u32 = 1_000_000;

/// Steps back until the next match is found. One for each character that cannot start a match.
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
