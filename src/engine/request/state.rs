//! A request's state as bytes, for another process or another time.
//!
//! The bytes: magic, version, the shard's fingerprint, the position from which on it is and the position up to which, whether positions are rotated as in a long text (0 or 1, 8 bytes),
//! what every layer keeps ([`KeptState::read`]: rows as they lie in the cache, little-endian values or `kernels::RowType`), the input of
//! these tokens if a layer has a state of fixed size ([`History::write`]), and the SHA-256 of all that.
//!
//! [`KeptState::read`]: crate::kept::KeptState::read
//! [`History::write`]: super::history::History::write

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::history::History;
use crate::engine::identity::Fingerprint;
use crate::engine::memory::KeptStore;
use crate::error::{Error, Result, Site, bail, err};

const MAGIC: &[u8; 8] = b"ORTSHKV\0";
const VERSION: u32 = 6;
const HASH: usize = 32;
/// Magic, version, fingerprint, both positions, whether the text is a long one.
const HEADER: usize = 8 + 4 + HASH + 8 + 8 + 8;

/// Bytes of what a request with `cache` keeps of `tokens`, and of `input` bytes of input.
pub(super) fn size(tokens: Range<usize>, cache: &KeptStore, input: usize) -> Result<usize> {
    Ok(HEADER + cache.state_bytes(tokens)? + input + HASH)
}

/// Appends what a request with `cache` keeps of `tokens`, whose text is a long one or not, and the `input` of them if it keeps that.
pub(super) fn write(
    fingerprint: &Fingerprint,
    tokens: Range<usize>,
    is_long: bool,
    cache: &KeptStore,
    input: Option<(&History, usize)>,
    state: &mut Vec<u8>,
) -> Result<()> {
    let size = size(tokens.clone(), cache, input.map_or(0, |(_, bytes)| bytes))?;
    state.try_reserve_exact(size).map_err(|_| Error::oom(Site::Kv, "cpu", size as u64, "the exported state"))?;
    let begin = state.len();
    state.extend_from_slice(MAGIC);
    state.extend_from_slice(&VERSION.to_le_bytes());
    state.extend_from_slice(fingerprint);
    for position in [tokens.start, tokens.end] {
        state.extend_from_slice(&(position as u64).to_le_bytes());
    }
    state.extend_from_slice(&u64::from(is_long).to_le_bytes());
    cache.read(tokens.clone(), state)?;
    if let Some((input, _)) = input {
        input.write(tokens, state);
    }
    let hash = Sha256::digest(&state[begin..]);
    state.extend_from_slice(&hash);
    Ok(())
}

/// What is in an exported state.
pub(super) struct State<'s> {
    pub fingerprint: &'s [u8],
    pub tokens: Range<usize>,
    pub is_long: bool,
    /// What the layers keep, and the input.
    pub kept: &'s [u8],
}

/// What is in the bytes `state`.
pub(super) fn read(state: &[u8]) -> Result<State<'_>> {
    if state.len() < HEADER + HASH {
        bail!(Malformed, "state: {} bytes are too few", state.len());
    }
    let (content, hash) = state.split_at(state.len() - HASH);
    let (head, kept) = content.split_at(HEADER);
    if &head[..8] != MAGIC {
        bail!(Malformed, "state: this is no exported request state");
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if version != VERSION {
        bail!(Unsupported, "state: version {version}, this library reads version {VERSION}");
    }
    if Sha256::digest(content).as_slice() != hash {
        bail!(Malformed, "state: the bytes are damaged, their hash does not match");
    }
    let (fingerprint, numbers) = head[12..].split_at(HASH);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let (positions, is_long) = numbers.split_at(16);
    let position = |bytes| {
        let position = number(bytes);
        usize::try_from(position).map_err(|_| err!(Malformed, "state: position {position}"))
    };
    let tokens = position(&positions[..8])?..position(&positions[8..])?;
    if tokens.start > tokens.end {
        bail!(Malformed, "state: it begins at position {}, and ends at position {}", tokens.start, tokens.end);
    }
    let is_long = match number(is_long) {
        0 => false,
        1 => true,
        other => bail!(Malformed, "state: {other}, where it says whether the text is long (0 or 1)"),
    };
    Ok(State { fingerprint, tokens, is_long, kept })
}
