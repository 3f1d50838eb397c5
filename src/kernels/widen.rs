//! How stored weights become `f32`.

use super::fp8::{self, Fp8};
use super::matrix::{Dtype, Layout, Matrix};
use super::mxfp4::{BLOCK, Mxfp4, VALUES, scale};
use super::packed::unpack;
use super::simd::narrow;

impl Matrix<'_> {
    /// Widens the elements from `from` on, counted in row-major order, into `to`.
    pub fn widen(&self, from: usize, to: &mut [f32]) {
        let dtype = match self.layout {
            Layout::Rows(dtype) => dtype,
            Layout::Tiles(packing) => {
                return self.row_by_row(from, to, |row, col, to| unpack(packing, self.data, self.cols, row, col, to));
            }
            Layout::Mxfp4(mxfp4) => {
                return self.row_by_row(from, to, |row, col, to| self.widen_mxfp4(mxfp4, row, col, to));
            }
            Layout::Fp8(fp8) => return self.row_by_row(from, to, |row, col, to| self.widen_fp8(fp8, row, col, to)),
            Layout::Scales => return widen_each(&self.data[from..], to, |[byte]| scale(byte)),
        };
        let bytes = &self.data[from * dtype.size()..][..to.len() * dtype.size()];
        match dtype {
            Dtype::F32 => widen_each(bytes, to, f32::from_le_bytes),
            Dtype::F16 => widen_each(bytes, to, |b| narrow::widen_f16(u16::from_le_bytes(b))),
            Dtype::BF16 => widen_each(bytes, to, |b| narrow::widen_bf16(u16::from_le_bytes(b))),
        }
    }

    /// Widens the elements from `from` on by a function that takes those of row and column from there on.
    fn row_by_row(&self, from: usize, mut to: &mut [f32], widen: impl Fn(usize, usize, &mut [f32])) {
        let (mut row, mut col) = (from / self.cols.max(1), from % self.cols.max(1));
        while !to.is_empty() {
            let (part, rest) = to.split_at_mut(to.len().min(self.cols - col));
            widen(row, col, part);
            (row, col, to) = (row + 1, 0, rest);
        }
    }

    /// The values of row `row` from column `col` on.
    fn widen_mxfp4(&self, mxfp4: Mxfp4, row: usize, col: usize, to: &mut [f32]) {
        let (codes, scales) = self.mxfp4_row(mxfp4, row, 0);
        for (col, to) in (col..).zip(to) {
            *to = VALUES[usize::from(codes[col / 2] >> (col % 2 * 4) & 15)] * scale(scales[col / BLOCK]);
        }
    }
}

impl Matrix<'_> {
    /// The values of row `row` from column `col` on.
    fn widen_fp8(&self, fp8: Fp8, row: usize, col: usize, to: &mut [f32]) {
        let codes = &self.data[row * self.cols + col..][..to.len()];
        for ((col, to), code) in (col..).zip(to).zip(codes) {
            *to = fp8::value(*code) * fp8.scale(self.scales, row, col);
        }
    }
}

fn widen_each<const SIZE: usize>(bytes: &[u8], to: &mut [f32], widen: impl Fn([u8; SIZE]) -> f32) {
    for (to, bytes) in to.iter_mut().zip(bytes.as_chunks::<SIZE>().0) {
        *to = widen(*bytes);
    }
}
