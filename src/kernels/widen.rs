//! How stored weights become `f32`.

use super::matrix::{Dtype, Layout, Matrix};
use super::packed::unpack;
use super::packing::Packing;
use super::simd::narrow;

impl Matrix<'_> {
    /// Widens the elements from `from` on, counted in row-major order, into `to`.
    pub fn widen(&self, from: usize, to: &mut [f32]) {
        let dtype = match self.layout {
            Layout::Rows(dtype) => dtype,
            Layout::Tiles(packing) => return self.unpack(packing, from, to),
        };
        let bytes = &self.data[from * dtype.size()..][..to.len() * dtype.size()];
        match dtype {
            Dtype::F32 => widen_each(bytes, to, f32::from_le_bytes),
            Dtype::F16 => widen_each(bytes, to, |b| narrow::widen_f16(u16::from_le_bytes(b))),
            Dtype::BF16 => widen_each(bytes, to, |b| narrow::widen_bf16(u16::from_le_bytes(b))),
        }
    }

    /// Unpacks quantised weights, row by row.
    fn unpack(&self, packing: Packing, from: usize, mut to: &mut [f32]) {
        let (mut row, mut col) = (from / self.cols.max(1), from % self.cols.max(1));
        while !to.is_empty() {
            let (part, rest) = to.split_at_mut(to.len().min(self.cols - col));
            unpack(packing, self.data, self.cols, row, col, part);
            (row, col, to) = (row + 1, 0, rest);
        }
    }
}

fn widen_each<const SIZE: usize>(bytes: &[u8], to: &mut [f32], widen: impl Fn([u8; SIZE]) -> f32) {
    for (to, bytes) in to.iter_mut().zip(bytes.as_chunks::<SIZE>().0) {
        *to = widen(*bytes);
    }
}
