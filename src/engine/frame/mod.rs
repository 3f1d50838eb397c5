//! Frames: what travels between two shards that are not in one process. A frame is bytes; it says of which model, boundary and tokens
//! it is, and holds the parts of the boundary, so that nothing else has to be sent and nothing wrong is run.
//!
//! In one process there are none: a chain hands the parts over as they lie.

mod check;
mod header;
mod narrow;
mod options;
mod sides;

use std::borrow::Cow;

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use twox_hash::XxHash3_64;

use super::session::Results;
use crate::error::{Error, Result, Site, bail, err};
use crate::graph::{PerPart, Role};
pub(crate) use check::{Expected, check};
use header::bytes_of;
pub(crate) use header::{Header, PartHeader, header_bytes};
pub(crate) use narrow::narrow_into;
pub use options::{Beyond, FrameOptions, PartType};
pub(crate) use sides::{Sides, hex, numbers_of};

/// A frame that has been read: whole, undamaged, and of a version that this library knows. Whether a request can take it shows when
/// it runs.
#[derive(Debug)]
pub struct Frame<'a> {
    header: Header,
    parts: Vec<FramePart<'a>>,
}

/// One part of a frame: `[tokens, width]`.
#[derive(Debug)]
pub struct FramePart<'a> {
    /// What it is.
    pub role: Role,
    /// What its values are in the frame.
    pub dtype: PartType,
    /// Values of a token.
    pub width: usize,
    /// The values as they lie in the frame.
    pub bytes: &'a [u8],
    /// The values: those in the frame, if they are `F32` and aligned, else a copy.
    values: Cow<'a, [f32]>,
}

impl FramePart<'_> {
    /// The values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl<'a> Frame<'a> {
    /// How many of a frame's bytes tell how many there are in all.
    pub const START: usize = header::START;

    /// How many bytes the frame has whose first [`START`](Self::START) are `start`, for a program that reads it from a stream. They
    /// are not checked yet, so that a stranger may say any size.
    ///
    /// # Errors
    /// `Malformed` if no frame begins so; `Unsupported` for a version that this library does not know.
    pub fn size(start: &[u8]) -> Result<u64> {
        header::size(start)
    }

    /// Reads the frame that `bytes` are. Float32 parts are not copied where they are aligned, as they are in memory that is aligned
    /// to 64 bytes.
    ///
    /// # Errors
    /// `Malformed` for bytes that are cut, too many, damaged or no frame; `Unsupported` for a version, role or type that this library
    /// does not know; `OutOfMemory`.
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let header = Header::read(bytes)?;
        let (places, _) = header.places().ok_or_else(|| err!(Malformed, "frame: it is too large"))?;
        let part = |(part, place): (&PartHeader, &(usize, usize))| -> Result<_> {
            let PartHeader { role, dtype, width } = *part;
            let bytes = bytes.get(place.0..place.0 + place.1);
            let bytes = bytes.ok_or_else(|| err!(Malformed, "frame: {} lies outside of it", role.name()))?;
            Ok(FramePart { role, dtype, width: width as usize, bytes, values: widened(bytes, dtype)? })
        };
        let parts = header.parts.iter().zip(places.iter()).map(part).collect::<Result<Vec<_>>>()?;
        Ok(Self { header, parts })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// What it says of the model's numbers, as hexadecimal digits: as [`Boundary::model`](crate::Boundary::model).
    pub fn model(&self) -> String {
        hex(&self.header.sides.numbers)
    }

    /// The precision of the weights that computed it, by its number in the C interface.
    pub(crate) fn precision(&self) -> u32 {
        self.header.sides.precision
    }

    /// The layer in front of the boundary that it passes.
    pub fn layer(&self) -> u32 {
        self.header.layer
    }

    /// The position of its first token.
    pub fn position(&self) -> usize {
        self.header.position as usize
    }

    /// The number of its tokens.
    pub fn tokens(&self) -> usize {
        self.header.tokens as usize
    }

    /// Whether positions are rotated as in a long text, where the model makes a difference.
    pub fn is_long(&self) -> bool {
        self.header.is_long
    }

    /// Its parts, hidden states first.
    pub fn parts(&self) -> &[FramePart<'a>] {
        &self.parts
    }

    /// Copies the values that lie in memory of which `is_shared` is true of the first byte's address.
    pub(crate) fn copy_where(&mut self, is_shared: impl Fn(usize) -> bool) -> Result<()> {
        for part in &mut self.parts {
            if let Cow::Borrowed(values) = part.values
                && is_shared(values.as_ptr().addr())
            {
                let mut copy = room(values.len())?;
                copy.extend_from_slice(values);
                part.values = Cow::Owned(copy);
            }
        }
        Ok(())
    }
}

/// A frame to be sent: its bytes in some pieces, one after another. Float32 parts are not copied.
#[derive(Debug)]
pub struct FramePieces {
    head: Vec<u8>,
    /// Each part, and how many zeros are in front of it.
    parts: Vec<(usize, PartBytes)>,
}

#[derive(Debug)]
enum PartBytes {
    /// Where a request's results have this part.
    Wide(Results, usize),
    Narrow(Vec<u16>),
}

impl PartBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Wide(results, part) => {
                bytemuck::cast_slice(results.parts().nth(*part).map_or(&[], |(values, _)| values))
            }
            Self::Narrow(values) => bytemuck::cast_slice(values),
        }
    }
}

/// What lies between parts.
static ZEROS: [u8; header::ALIGNMENT] = [0; header::ALIGNMENT];

impl FramePieces {
    /// The frame of `results`, which have what `header` says.
    pub(crate) fn new(header: &Header, results: &Results, beyond: Beyond) -> Result<Self> {
        let (places, size) = header.places().ok_or_else(|| err!(OutOfRange, "frame: it would be too large"))?;
        let head = header.write(size);
        let (mut pieces, mut end) = (Self { head, parts: Vec::with_capacity(places.len()) }, 0);
        for (index, (part, place)) in header.parts.iter().zip(places.iter()).enumerate() {
            let values = results.parts().nth(index).map_or(&[][..], |(values, _)| values);
            if bytes_of(part.dtype, values.len(), 1) != Some(place.1) {
                bail!(Internal, "{} of {} values in a frame with room for others", part.role.name(), values.len());
            }
            let zeros = if end == 0 { 0 } else { place.0 - end };
            end = place.0 + place.1;
            let bytes = match part.dtype {
                PartType::F32 => PartBytes::Wide(results.clone(), index),
                dtype => {
                    PartBytes::Narrow(narrow::narrow(values, part.width as usize, dtype, beyond, part.role.name())?)
                }
            };
            pieces.parts.push((zeros, bytes));
        }
        let mut hash = XxHash3_64::with_seed(0);
        pieces.pieces().enumerate().for_each(|(index, piece)| {
            std::hash::Hasher::write(&mut hash, if index == 0 { &piece[header::START..] } else { piece });
        });
        let hash = std::hash::Hasher::finish(&hash);
        pieces.head[header::START - 8..header::START].copy_from_slice(&hash.to_le_bytes());
        Ok(pieces)
    }

    /// The pieces in their order; none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let parts = self.parts.iter().flat_map(|(zeros, part)| [&ZEROS[..*zeros], part.bytes()]);
        std::iter::once(&self.head[..]).chain(parts).filter(|piece| !piece.is_empty())
    }

    /// Bytes of the whole frame.
    pub fn size(&self) -> usize {
        self.pieces().map(<[u8]>::len).sum()
    }

    /// The whole frame.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let (size, mut whole) = (self.size(), Vec::new());
        whole.try_reserve_exact(size).map_err(|_| Error::oom(Site::Run, "cpu", size as u64, "a frame"))?;
        self.pieces().for_each(|piece| whole.extend_from_slice(piece));
        Ok(whole)
    }
}

/// Bytes of a frame with these parts, each a role, a type and a width, of so many tokens; `None` if they are more than there can be.
pub(crate) fn size_of(parts: PerPart<PartHeader>, tokens: usize) -> Option<usize> {
    let header = Header { parts, tokens: tokens as u64, ..Header::empty() };
    header.places().map(|(_, size)| size)
}

fn widened(bytes: &[u8], dtype: PartType) -> Result<Cow<'_, [f32]>> {
    if dtype == PartType::F32 {
        if let Ok(values) = bytemuck::try_cast_slice(bytes) {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = room(bytes.len() / 4)?;
        values.extend(bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])));
        return Ok(Cow::Owned(values));
    }
    let count = bytes.len() / 2;
    let copy: Vec<u16>;
    let narrow = if let Ok(narrow) = bytemuck::try_cast_slice(bytes) {
        narrow
    } else {
        copy = bytes.chunks_exact(2).map(|value| u16::from_le_bytes([value[0], value[1]])).collect();
        &copy[..]
    };
    let mut values = room(count)?;
    values.resize(count, 0.0);
    match dtype {
        PartType::F16 => narrow.reinterpret_cast::<f16>().convert_to_f32_slice(&mut values),
        _ => narrow.reinterpret_cast::<bf16>().convert_to_f32_slice(&mut values),
    }
    Ok(Cow::Owned(values))
}

fn room(count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let bytes = 4 * count as u64;
    values.try_reserve_exact(count).map_err(|_| Error::oom(Site::Run, "cpu", bytes, "the values of a frame"))?;
    Ok(values)
}

#[cfg(test)]
mod tests;
