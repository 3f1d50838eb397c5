//! Quantised weights back to `f32`.

use super::super::simd::portable::widen_bf16;
#[cfg(test)]
use super::super::{Layout, Matrix};
use super::{LINE, Packing};

/// The values of row `row` from column `col` on, as many as `to` holds. `data` is a whole matrix of `cols` columns.
pub(in crate::kernels) fn unpack(packing: Packing, data: &[u8], cols: usize, row: usize, col: usize, to: &mut [f32]) {
    let tile = Tile::of(packing, data, cols, row);
    let zero = i32::from(packing.zero());
    for (col, to) in (col..).zip(to) {
        *to = (i32::from(tile.code(col)) - zero) as f32 * tile.scale(col / packing.block());
    }
}

/// A quantised matrix as `MatMulNBits` has it: row after row, blocks filled up with zeros.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Codes {
    /// Bits of a code: 4 or 8.
    pub(crate) bits: usize,
    /// Columns that share a scale.
    pub(crate) block: usize,
    /// `[rows, blocks, block]`, the code of zero being half of all; two codes of four bits to a byte, the first one low.
    pub(crate) bytes: Vec<u8>,
    /// `[rows, blocks]`.
    pub(crate) scales: Vec<f32>,
}

/// The codes of rows `rows` of a quantised matrix; none if it is not quantised.
#[cfg(test)]
pub(crate) fn codes(matrix: &Matrix, rows: std::ops::Range<usize>) -> Option<Codes> {
    let Layout::Tiles(packing) = matrix.layout else { return None };
    let (bits, block) = (if packing.zero() == 8 { 4 } else { 8 }, packing.block());
    let blocks = matrix.cols.div_ceil(block);
    let mut all = Codes { bits, block, bytes: Vec::new(), scales: Vec::new() };
    for row in rows {
        let tile = Tile::of(packing, matrix.data, matrix.cols, row);
        all.scales.extend((0..blocks).map(|block| tile.scale(block)));
        let code = |col| if col < matrix.cols { tile.code(col) } else { packing.zero() };
        match bits {
            8 => all.bytes.extend((0..blocks * block).map(code)),
            _ => all.bytes.extend((0..blocks * block).step_by(2).map(|col| code(col) | code(col + 1) << 4)),
        }
    }
    Some(all)
}

/// One row's part of its tile.
struct Tile<'a> {
    packing: Packing,
    bytes: &'a [u8],
    lane: usize,
}

impl<'a> Tile<'a> {
    fn of(packing: Packing, data: &'a [u8], cols: usize, row: usize) -> Self {
        let len = packing.tile_bytes(cols);
        Self { packing, bytes: &data[row / Packing::TILE_ROWS * len..][..len], lane: row % Packing::TILE_ROWS }
    }

    fn scale(&self, block: usize) -> f32 {
        let at = self.packing.place(block).0 + 2 * self.lane;
        widen_bf16(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    fn code(&self, col: usize) -> u8 {
        let packing = self.packing;
        let (codes, within) = (packing.place(col / packing.block()).1, col % packing.block());
        let (line, within) = (within / packing.line_cols(), within % packing.line_cols());
        let byte = self.bytes[codes + line * LINE + 4 * self.lane + within % 4];
        match packing {
            Packing::Int8 => byte,
            Packing::Int4 | Packing::Int4Fine => byte >> (within / 4 * 4) & 15,
        }
    }
}
