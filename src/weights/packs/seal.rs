//! How a pack is known to be whole without reading it each time.
//!
//! Beside a pack lies its seal: the SHA-256 of its bytes, its length and its time of change. As long as length and
//! time are those of the seal, nobody has written to the pack since it was hashed. If they differ, the pack is hashed
//! again. One with the right hash, such as a copy, gets a new seal; a damaged one does not.

use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::super::checkpoint::{Event, OnEvent};
use super::super::mapping::{Identity, Mapping};
use super::super::new_file::NewFile;
use super::hex;
use crate::error::{Result, err};

/// Bytes that are hashed before the caller is asked again whether to stop.
const PIECE_BYTES: usize = 1 << 24;

/// Whether the pack has the content that it was sealed with; `Ok(false)` also if there is no seal.
pub(super) fn holds(seal: &Path, mapping: &Mapping, on: &mut OnEvent<'_>) -> Result<bool> {
    let Ok(text) = std::fs::read_to_string(seal) else { return Ok(false) };
    let mut words = text.split_whitespace();
    let (hash, stamp) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>().join(" "));
    let now = self::stamp(mapping.identity());
    if stamp == now {
        return Ok(true);
    }
    if hash != self::hash(mapping, on)? {
        return Ok(false);
    }
    write(seal, hash, &now)?;
    Ok(true)
}

/// Seals the pack that has this hash.
pub(super) fn put(seal: &Path, hash: &str, mapping: &Mapping) -> Result<()> {
    write(seal, hash, &stamp(mapping.identity()))
}

fn stamp(file: Identity) -> String {
    format!("{} {}", file.len, file.changed)
}

/// The hash of a pack. A large one takes a while, in which the caller may stop.
pub(super) fn hash(mapping: &Mapping, on: &mut OnEvent<'_>) -> Result<String> {
    let mut hash = Sha256::new();
    for piece in mapping.bytes().chunks(PIECE_BYTES) {
        hash.update(piece);
        on(Event::Waiting)?;
    }
    Ok(hex(&hash.finalize()))
}

fn write(seal: &Path, hash: &str, stamp: &str) -> Result<()> {
    let file = NewFile::new(seal)?;
    let written = writeln!(file.as_file(), "{hash} {stamp}");
    written.map_err(|e| err!(Io, "`{}` cannot be written", seal.display()).with_source(e))?;
    file.publish().map(drop)
}
