//! How far llguidance may go, and what it says when it fails.

use std::panic::AssertUnwindSafe;

use llguidance::api::ParserLimits;

/// Bytes of a grammar.
pub(super) const LONGEST: usize = 1 << 20;

/// How often a grammar's compiler may call itself: levels within each other, of all rules and referenced schemas together, since
/// each may lead to the next. Of the stack each takes some 20 KiB without optimisation.
pub(super) const DEEPEST: usize = 6_000;

/// Bytes of a token; longer ones never come under a grammar.
pub(super) const LONGEST_TOKEN: usize = 200;

/// What compiling and each step may take. The documentation of the C interface tells what follows from it.
pub(super) fn limits() -> ParserLimits {
    ParserLimits { max_lexer_states: 100_000, verbose_errors: false, ..ParserLimits::default() }
}

/// Runs a call into llguidance, whose panics become errors. What has panicked must not be used again.
pub(super) fn guarded<T>(call: impl FnOnce() -> anyhow::Result<T>) -> Result<T, String> {
    llguidance::panic_utils::catch_unwind(AssertUnwindSafe(call)).map_err(|error| format!("{error:#}"))
}

/// The part of a message of llguidance that says what is wrong, without the grammar and without traces.
pub(super) fn reason(message: &str) -> &str {
    message.lines().next().unwrap_or_default().trim()
}
