//! Asks beforehand for the memory that the `tokenizers` crate will take.
//!
//! The crate ends the process if memory runs out. The most that a call can take follows from the length of its input.
//! So that much is taken from the allocator and given back before the call; if that fails, the call is an error.
//! Other threads may take the memory in between; to keep that unlikely, long texts are encoded in pieces that need a
//! few megabytes each.

use crate::error::{self, Error, Result, Site};
use crate::json::Makeup;

/// Bytes that the crate takes for each byte of a text that it encodes, results and all. Measured: 140.
const ENCODING: usize = 200;

/// Bytes that the crate takes for each token that it decodes, beside those of its text. Measured: 110.
const DECODING: usize = 200;

/// Bytes that an added token takes while tokens are sorted into a tree that finds them in texts.
const SORTING: usize = 4 << 10;

/// Bytes that are taken beside what depends on a length.
pub(super) const SPARE: usize = 1 << 20;

fn refused(bytes: usize, what: &str) -> Error {
    Error::oom(Site::Run, "cpu", bytes as u64, what)
}

/// Fails if `bytes` bytes cannot be had.
pub(super) fn probe(bytes: usize, what: &str) -> Result<()> {
    error::probe(Site::Run, bytes, what)
}

/// Fails if the crate has too little memory to open `json`, a `tokenizer.json`. Its commas and colons tell how many tokens
/// and merges there are. Measured with seven published vocabularies and one of short words.
pub(super) fn to_open(json: &[u8]) -> Result<()> {
    error::probe(Site::Load, SPARE + Makeup::of(json).memory(6, 200, 350, 0), "opening a tokenizer")
}

/// Bytes that the crate takes to encode a text of `length` bytes.
pub(super) fn encoding(length: usize) -> usize {
    length.saturating_mul(ENCODING)
}

/// Fails if the crate has too little memory to encode a text of `length` bytes.
pub(super) fn to_encode(length: usize) -> Result<()> {
    probe(encoding(length), "encoding a text")
}

/// Fails if the crate has too little memory to decode `tokens` tokens.
pub(super) fn to_decode(tokens: usize) -> Result<()> {
    probe(tokens.saturating_mul(DECODING), "decoding tokens")
}

/// Fails if there is too little memory to find `tokens` added tokens in texts by new rules.
pub(super) fn to_sort(tokens: usize) -> Result<()> {
    probe(SPARE + tokens.saturating_mul(SORTING), "sorting the added tokens")
}

/// Makes room for `more` bytes at the end of `bytes`.
pub(super) fn reserve(bytes: &mut Vec<u8>, more: usize) -> Result<()> {
    bytes.try_reserve(more).map_err(|_| refused(bytes.len() + more, "a text"))
}

/// Takes token ids as they come.
pub(super) trait Ids {
    fn take(&mut self, more: impl ExactSizeIterator<Item = u32>) -> Result<()>;
}

impl Ids for Vec<u32> {
    fn take(&mut self, more: impl ExactSizeIterator<Item = u32>) -> Result<()> {
        self.try_reserve(more.len()).map_err(|_| refused(4 * (self.len() + more.len()), "token ids"))?;
        self.extend(more);
        Ok(())
    }
}

/// Counts ids instead of keeping them.
pub(super) struct Count(pub(super) usize);

impl Ids for Count {
    fn take(&mut self, more: impl ExactSizeIterator<Item = u32>) -> Result<()> {
        self.0 += more.len();
        Ok(())
    }
}

/// Makes room for `more` bytes at the end of `text`.
pub(super) fn reserve_text(text: &mut String, more: usize) -> Result<()> {
    text.try_reserve(more).map_err(|_| refused(text.len() + more, "a text"))
}

/// Appends `more` to `text`, behind which there is room for a NUL.
pub(super) fn append(text: &mut String, more: &str) -> Result<()> {
    reserve_text(text, more.len() + 1)?;
    text.push_str(more);
    Ok(())
}
