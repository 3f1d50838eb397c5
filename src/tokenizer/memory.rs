//! Memory that the `tokenizers` crate takes, asked for beforehand.
//!
//! The crate allocates as if memory could not run out, so that a text too long would end the process. What a call may
//! take at most is known from the length of what it is given; that much is asked of the allocator, and given back,
//! before the call. Threads that take memory between the two can still make the crate fail; then only as much as one
//! piece of a text needs, a few megabytes.

use crate::error::{Error, Result, Site};

/// Bytes that the crate takes for each byte of a text that it encodes, results and all. Measured: 140.
const ENCODING: usize = 200;

/// Bytes that the crate takes for each token that it decodes, beside those of its text. Measured: 110.
const DECODING: usize = 200;

fn refused(bytes: usize, what: &str) -> Error {
    Error::oom(Site::Run, "cpu", bytes as u64, what)
}

/// That so many bytes can be had, all at once.
pub(super) fn probe(bytes: usize, what: &str) -> Result<()> {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|_| refused(bytes, what))
}

/// That the crate can encode a text of so many bytes.
pub(super) fn to_encode(length: usize) -> Result<()> {
    probe(length.saturating_mul(ENCODING), "encoding a text")
}

/// That the crate can decode so many tokens.
pub(super) fn to_decode(tokens: usize) -> Result<()> {
    probe(tokens.saturating_mul(DECODING), "decoding tokens")
}

/// Room for `more` behind `bytes`.
pub(super) fn reserve(bytes: &mut Vec<u8>, more: usize) -> Result<()> {
    bytes.try_reserve(more).map_err(|_| refused(bytes.len() + more, "a text"))
}

/// `ids` with `more` behind them.
pub(super) fn extend(ids: &mut Vec<u32>, more: impl ExactSizeIterator<Item = u32>) -> Result<()> {
    ids.try_reserve(more.len()).map_err(|_| refused(4 * (ids.len() + more.len()), "token ids"))?;
    ids.extend(more);
    Ok(())
}

/// `text` with `more` behind it.
pub(super) fn append(text: &mut String, more: &str) -> Result<()> {
    text.try_reserve(more.len()).map_err(|_| refused(text.len() + more.len(), "a text"))?;
    text.push_str(more);
    Ok(())
}
