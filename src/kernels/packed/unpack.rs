//! Quantised weights back to `f32`, and their codes in the order of other programs.

use super::super::Matrix;
use super::super::packing::{LINE, Packing};
use super::super::simd::narrow::widen_bf16;

/// The values of row `row` from column `col` on, as many as `to` holds. `data` is a whole matrix of `cols` columns.
pub(crate) fn unpack(packing: Packing, data: &[u8], cols: usize, row: usize, col: usize, to: &mut [f32]) {
    let tile = Tile::of(packing, data, cols, row);
    let zero = i32::from(packing.zero());
    for (col, to) in (col..).zip(to) {
        *to = (i32::from(tile.code(col)) - zero) as f32 * tile.scale(col / packing.block());
    }
}

/// Appends the codes of row `row` of a whole matrix as `MatMulNBits` has them: block after block, the last one filled up with
/// codes of zero, which are half of all; two codes of four bits to a byte, the first one low.
pub fn codes(packing: Packing, matrix: &Matrix, row: usize, to: &mut Vec<u8>) {
    let tile = Tile::of(packing, matrix.data, matrix.cols, row);
    for block in 0..matrix.cols.div_ceil(packing.block()) {
        let lines = &tile.bytes[packing.place(block).1..][..packing.block_bytes()];
        for line in lines.as_chunks::<LINE>().0 {
            let [a, b, c, d] = line.as_chunks().0[tile.lane];
            match packing {
                Packing::Int8 | Packing::Int8Fine => to.extend([a, b, c, d]),
                // The low halves are four columns, the high ones the next four.
                Packing::Int4 | Packing::Int4Fine => {
                    to.extend([a & 0x0f | b << 4, c & 0x0f | d << 4, a >> 4 | b & 0xf0, c >> 4 | d & 0xf0]);
                }
            }
        }
    }
}

/// The scales of row `row` of a whole matrix, block after block.
pub fn scales(packing: Packing, matrix: &Matrix, row: usize) -> impl Iterator<Item = f32> {
    let tile = Tile::of(packing, matrix.data, matrix.cols, row);
    (0..matrix.cols.div_ceil(packing.block())).map(move |block| tile.scale(block))
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
            Packing::Int8 | Packing::Int8Fine => byte,
            Packing::Int4 | Packing::Int4Fine => byte >> (within / 4 * 4) & 15,
        }
    }
}
