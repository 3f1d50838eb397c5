//! Quantised weights: four or eight bits each, with a scale for each row's block of columns.
//!
//! # The format
//!
//! The bytes below are what the kernels read, and also what files hold: written once, mapped ever after, the same on every
//! processor. [`LAYOUT_VERSION`] changes whenever their meaning does, or which of them are chosen for given weights: parts of a
//! model that are quantised at different times belong together.
//!
//! A matrix of `rows x cols` is a sequence of *tiles* of 16 rows, without gaps, the last one filled up with rows of zeros. A tile
//! holds *blocks* of 128 columns ([`Packing::Int4`], [`Packing::Int8`]) or 32 ([`Packing::Int4Fine`], [`Packing::Int8Fine`]), the
//! last one filled up with columns of zeros. Two blocks at a time follow each other:
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
//! Int8, Int8Fine   4 columns a line: byte j of a row is column j
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
pub(super) mod dispatch;
pub(super) mod lines;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub use pack::pack;
pub(super) use unpack::unpack;
pub use unpack::{codes, scales};

use super::packing::Packing;

/// The version of the format described above.
pub const LAYOUT_VERSION: u32 = 2;

impl Packing {
    /// Bytes of scratch memory that a call with `tokens` rows of `cols` activations keeps for them. (Layers in one call share it
    /// if their blocks are equally wide.)
    pub const fn scratch_bytes(self, tokens: usize, cols: usize) -> usize {
        tokens.saturating_mul(activations::row_bytes(self.block(), cols))
    }
}
