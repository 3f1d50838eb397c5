//! Quantised weights: four or eight bits each, with a scale for each row's block of columns.
//!
//! # The format
//!
//! The bytes below are what the kernels read, and also what files hold: written once, mapped ever after, the same on every
//! processor. [`LAYOUT_VERSION`] changes whenever their meaning does, or which of them are chosen for given weights: parts of a
//! model that are quantised at different times belong together.
//!
//! A matrix of `rows x cols` is a sequence of *tiles* of 16 rows, without gaps, the last one filled up with rows of zeros. A tile
//! holds *blocks* of 128 columns ([`Packing::Int4`], [`Packing::Int8`]) or 32 ([`Packing::Int4Fine`]), the last one filled up
//! with columns of zeros. Two blocks at a time follow each other:
//!
//! ```text
//! 64 bytes   the scales: bfloat16 little-endian, 16 of the first block's rows, then 16 of the second's
//!  n bytes   the first block's codes
//!  n bytes   the second block's codes: not there (and their scales zero) if the number of blocks is odd
//! ```
//!
//! Codes come in lines of 64 bytes, four bytes of each of the 16 rows, row after row, so that a row is a lane of a register of
//! 32-bit integers:
//!
//! ```text
//! Int4, Int4Fine   8 columns a line: byte j of a row has column j in its low four bits and column 4 + j in its high ones
//! Int8             4 columns a line: byte j of a row is column j
//! ```
//!
//! A code is unsigned, and means `(code - 8) * scale` for four bits and `(code - 128) * scale` for eight, which is never below
//! -127 steps. Scales are finite; they may be negative, and are zero for a block of zeros. What fills up a tile has the code of
//! zero, and a row beyond the last one the scale zero as well.
//!
//! So every tensor is a multiple of 64 bytes, and if it begins at a multiple of 64 then so does every line. `Int4` takes
//! 4.125 bits for a weight, `Int4Fine` 4.5 and `Int8` 8.125, and a little more if the number of blocks is odd.
//!
//! # The arithmetic
//!
//! Activations are quantised once for each call, to eight bits with one scale for each block (see [`activations`]). A block's
//! products are summed in integers, which is exact; its sum times the product of both scales is added to the row's total in
//! `f32`, block after block, multiplication and addition rounded each on its own. Nothing depends on the number of tokens, the
//! threads or the shape of a task, nor on the instruction set: a linear layer has the same bits everywhere. Only where the
//! gate of [`gated`](super::gated) meets the other half, in `f32`, may instruction sets differ in the last bits.

pub(super) mod activations;
pub(super) mod lines;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use pack::pack;
pub(super) use unpack::unpack;
pub use unpack::{codes, scales};

/// The version of the format described above.
pub const LAYOUT_VERSION: u32 = 2;

/// Bytes of a line of codes, and of the scales of two blocks.
pub(super) const LINE: usize = 64;

/// How a matrix is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Four bits, a scale for 128 columns: the smallest and fastest.
    Int4,
    /// Four bits, a scale for 32 columns: more accurate.
    Int4Fine,
    /// Eight bits, a scale for 128 columns: close to the original.
    Int8,
}

impl Packing {
    /// Rows of a tile.
    pub const TILE_ROWS: usize = 16;

    /// Its name in files, which stays.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int4Fine => "int4fine",
            Self::Int8 => "int8",
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> usize {
        match self {
            Self::Int4 | Self::Int4Fine => 4,
            Self::Int8 => 8,
        }
    }

    /// Columns that share a scale.
    pub const fn block(self) -> usize {
        match self {
            Self::Int4 | Self::Int8 => 128,
            Self::Int4Fine => 32,
        }
    }

    /// Columns of a line of codes.
    pub(super) const fn line_cols(self) -> usize {
        match self {
            Self::Int4 | Self::Int4Fine => 8,
            Self::Int8 => 4,
        }
    }

    /// The code of zero.
    pub(super) const fn zero(self) -> u8 {
        match self {
            Self::Int4 | Self::Int4Fine => 8,
            Self::Int8 => 128,
        }
    }

    /// Bytes of a block's codes.
    const fn block_bytes(self) -> usize {
        self.block() / self.line_cols() * LINE
    }

    /// Where a block lies in its tile: its scales and its codes.
    pub(super) const fn place(self, block: usize) -> (usize, usize) {
        let pair = block / 2 * (LINE + 2 * self.block_bytes());
        (pair + block % 2 * (LINE / 2), pair + LINE + block % 2 * self.block_bytes())
    }

    /// Bytes of a tile of `cols` columns; as good as endless (`usize::MAX`) if they are more than can be counted.
    pub const fn tile_bytes(self, cols: usize) -> usize {
        let blocks = cols.div_ceil(self.block());
        blocks.div_ceil(2).saturating_mul(LINE).saturating_add(blocks.saturating_mul(self.block_bytes()))
    }

    /// Bytes of a matrix, a multiple of 64; none if they are more than can be counted.
    pub const fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match self.tile_bytes(cols) {
            usize::MAX => None,
            tile => rows.div_ceil(Self::TILE_ROWS).checked_mul(tile),
        }
    }

    /// Bytes of scratch memory that a call with `tokens` rows of `cols` activations keeps for them. (Layers in one call share it
    /// if their blocks are equally wide.)
    pub const fn scratch_bytes(self, tokens: usize, cols: usize) -> usize {
        tokens.saturating_mul(activations::row_bytes(self.block(), cols))
    }
}
