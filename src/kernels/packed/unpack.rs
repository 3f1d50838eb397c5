//! Quantised weights back to `f32`.

use super::super::simd::portable::widen_bf16;
use super::{LINE, Packing};

/// The values of row `row` from column `col` on, as many as `to` holds. `data` is a whole matrix of `cols` columns.
pub(in crate::kernels) fn unpack(packing: Packing, data: &[u8], cols: usize, row: usize, col: usize, to: &mut [f32]) {
    let tile_bytes = packing.tile_bytes(cols);
    let tile = &data[row / Packing::TILE_ROWS * tile_bytes..][..tile_bytes];
    let lane = row % Packing::TILE_ROWS;
    let zero = i32::from(packing.zero());
    for (col, to) in (col..).zip(to) {
        let (block, within) = (col / packing.block(), col % packing.block());
        let (scales, codes) = packing.place(block);
        let scale = widen_bf16(u16::from_le_bytes([tile[scales + 2 * lane], tile[scales + 2 * lane + 1]]));
        let (line, within) = (within / packing.line_cols(), within % packing.line_cols());
        let byte = tile[codes + line * LINE + 4 * lane + within % 4];
        let code = match packing {
            Packing::Int8 => byte,
            Packing::Int4 | Packing::Int4Fine => byte >> (within / 4 * 4) & 15,
        };
        *to = (i32::from(code) - zero) as f32 * scale;
    }
}
