//! The bytes in front of a frame's parts. Numbers are little-endian.
//!
//! ```text
//!   0   8  magic: "ORTSFRM" and a zero
//!   8   4  VERSION
//!  12   4  0
//!  16   8  bytes of the whole frame
//!  24   8  XXH3-64 of all bytes behind it, up to the frame's end
//!  32  16  a hash of the model's numbers        -+
//!  48  16  a hash of the weights of `layer`      +- `identity`
//!  64  16  a hash of those of the layer behind   |
//!  80   4  the precision of the weights         -+
//!  84   4  the layer in front of the boundary
//!  88   8  position of the first token
//!  96   8  tokens
//! 104   4  1: positions are rotated as in a long text, else 0
//! 108   4  parts, and of each 16 bytes:
//!          role, type, values of a token, 0
//! ```
//!
//! Then come the parts, `[tokens, width]` each, every one at the next multiple of 64 bytes behind what is in front of it. What lies
//! between is zero. So a frame of given content has one form only.

use twox_hash::XxHash3_64;

use super::options::PartType;
use super::sides::{Digest, Sides};
use crate::error::{Result, bail, err};
use crate::graph::{PerPart, Role};

pub(super) const MAGIC: &[u8; 8] = b"ORTSFRM\0";
/// The version rises with every change of the format.
pub(super) const VERSION: u32 = 1;
/// The bytes that tell how many the frame has.
pub(super) const START: usize = 32;
/// The bytes up to the list of parts, and of each part in it.
const FIXED: usize = 112;
const PART: usize = 16;
/// Parts begin at multiples of this.
pub(super) const ALIGNMENT: usize = 64;
/// More tokens, positions and values of a token than any model has, and far below what would overflow a size.
const MOST: u64 = 1 << 32;

/// What is said of a frame in front of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub sides: Sides,
    /// The layer in front of the boundary.
    pub layer: u32,
    /// The position of the first token.
    pub position: u64,
    pub tokens: u64,
    pub is_long: bool,
    pub parts: PerPart<PartHeader>,
}

/// What is said of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartHeader {
    pub role: Role,
    pub dtype: PartType,
    pub width: u32,
}

impl Header {
    /// A header of nothing.
    pub(super) fn empty() -> Self {
        let (sides, parts) = (Sides::default(), PerPart::default());
        Self { sides, layer: 0, position: 0, tokens: 0, is_long: false, parts }
    }

    /// Where each part begins and how many bytes it has, and the bytes of the whole frame; `None` if they are more than there can be.
    pub(super) fn places(&self) -> Option<(PerPart<(usize, usize)>, usize)> {
        let mut end = FIXED + PART * self.parts.len();
        let mut places = PerPart::default();
        for part in self.parts.iter() {
            let begin = end.checked_next_multiple_of(ALIGNMENT)?;
            let bytes = bytes_of(part.dtype, usize::try_from(self.tokens).ok()?, part.width as usize)?;
            end = begin.checked_add(bytes).filter(|end| isize::try_from(*end).is_ok())?;
            places = places.iter().copied().chain([(begin, bytes)]).collect();
        }
        Some((places, end))
    }

    /// The header up to the first part, of a frame of `size` bytes, but for the hash.
    pub(super) fn write(&self, size: usize) -> Vec<u8> {
        let mut to = Vec::with_capacity(header_bytes(self.parts.len()));
        to.extend_from_slice(MAGIC);
        to.extend_from_slice(&VERSION.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&(size as u64).to_le_bytes());
        to.extend_from_slice(&[0; 8]);
        to.extend_from_slice(&self.sides.numbers);
        to.extend_from_slice(&self.sides.layer.unwrap_or_default());
        to.extend_from_slice(&self.sides.next.unwrap_or_default());
        to.extend_from_slice(&self.sides.precision.to_le_bytes());
        to.extend_from_slice(&self.layer.to_le_bytes());
        to.extend_from_slice(&self.position.to_le_bytes());
        to.extend_from_slice(&self.tokens.to_le_bytes());
        to.extend_from_slice(&u32::from(self.is_long).to_le_bytes());
        to.extend_from_slice(&(self.parts.len() as u32).to_le_bytes());
        for part in self.parts.iter() {
            for number in [role_code(part.role), part.dtype.code(), part.width, 0] {
                to.extend_from_slice(&number.to_le_bytes());
            }
        }
        to.resize(to.len().next_multiple_of(ALIGNMENT), 0);
        to
    }

    /// What the whole frame `bytes` says in front of its parts. The hash is right.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        check(bytes)?;
        let mut from = Reader(&bytes[START..]);
        let sides = Sides {
            numbers: from.digest()?,
            layer: known(from.digest()?),
            next: known(from.digest()?),
            precision: from.u32()?,
        };
        let (layer, position, tokens) = (from.u32()?, from.u64()?, from.u64()?);
        let is_long = match from.u32()? {
            0 => false,
            1 => true,
            other => bail!(Malformed, "frame: {other}, where it says whether the text is long (0 or 1)"),
        };
        if tokens == 0 || tokens > MOST || position > MOST {
            bail!(Malformed, "frame: {tokens} tokens at position {position}");
        }
        let count = from.u32()? as usize;
        if count == 0 || count > Role::ALL.len() {
            bail!(Unsupported, "frame: {count} parts, this library knows {} and needs one", Role::ALL.len());
        }
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            let (role, dtype, width, zero) = (from.u32()?, from.u32()?, from.u32()?, from.u32()?);
            let role = Role::ALL.into_iter().find(|known| role_code(*known) == role);
            let role =
                role.ok_or_else(|| err!(Unsupported, "frame: a part of a role that this library does not know"))?;
            let Some(dtype) = PartType::of_code(dtype) else {
                bail!(Unsupported, "frame: {} of type {dtype}, which this library does not know", role.name())
            };
            if parts.last().is_some_and(|before: &PartHeader| before.role >= role) || width == 0 || zero != 0 {
                bail!(Malformed, "frame: its list of parts is wrong at {}", role.name());
            }
            parts.push(PartHeader { role, dtype, width });
        }
        let header = Self { sides, layer, position, tokens, is_long, parts: parts.into_iter().collect() };
        match header.places() {
            Some((_, size)) if size == bytes.len() => Ok(header),
            _ => bail!(Malformed, "frame: {} bytes are not what {tokens} tokens of its parts take", bytes.len()),
        }
    }
}

/// Bytes in front of `parts` parts.
pub(crate) fn header_bytes(parts: usize) -> usize {
    (FIXED + PART * parts).next_multiple_of(ALIGNMENT)
}

/// How many bytes the frame has that begins with `start`.
pub(super) fn size(start: &[u8]) -> Result<u64> {
    let Some(start) = start.get(..START) else {
        bail!(Malformed, "frame: {} bytes are too few, it begins with {START}", start.len())
    };
    if &start[..8] != MAGIC {
        bail!(Malformed, "frame: this is none, its first bytes are others");
    }
    let mut from = Reader(&start[8..]);
    let (version, zero, size) = (from.u32()?, from.u32()?, from.u64()?);
    if version != VERSION {
        bail!(Unsupported, "frame: version {version}, this library reads version {VERSION}");
    }
    if zero != 0 || size < (FIXED + PART) as u64 || isize::try_from(size).is_err() {
        bail!(Malformed, "frame: the bytes are damaged, it cannot have {size}");
    }
    Ok(size)
}

/// Finds out whether `bytes` are one frame, whole and undamaged.
fn check(bytes: &[u8]) -> Result<()> {
    let size = size(bytes)?;
    let given = bytes.len() as u64;
    if given < size {
        bail!(Malformed, "frame: it is cut, {given} of its {size} bytes are there");
    }
    if given > size {
        bail!(Malformed, "frame: it has {size} bytes, and {} more were given", given - size);
    }
    if Reader(&bytes[START - 8..]).u64()? != XxHash3_64::oneshot(&bytes[START..]) {
        bail!(Malformed, "frame: the bytes are damaged, their hash does not match");
    }
    Ok(())
}

/// Bytes of a part of so many rows; `None` if they are more than there can be.
pub(super) fn bytes_of(dtype: PartType, rows: usize, width: usize) -> Option<usize> {
    rows.checked_mul(width)?.checked_mul(dtype.size())
}

/// The digest, if the one who wrote it had one.
fn known(digest: Digest) -> Option<Digest> {
    (digest != Digest::default()).then_some(digest)
}

const fn role_code(role: Role) -> u32 {
    match role {
        Role::HiddenStates => 1,
        Role::PerLayerInputs => 2,
        Role::Streams => 3,
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| err!(Malformed, "frame: its header is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn digest(&mut self) -> Result<Digest> {
        self.take()
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
