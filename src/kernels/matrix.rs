//! Weights as they lie in a file.

use std::fmt;
use std::ops::Range;

use super::fp8::Fp8;
use super::mxfp4::{BLOCK, BLOCK_BYTES, Mxfp4};
use super::packing::Packing;

/// Element type of stored weights, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an `F32`.
    BF16,
}

impl Dtype {
    /// Its name in files, which stays.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// How the bytes of a matrix are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Row-major, as in a checkpoint: `rows * cols * dtype.size()` bytes.
    Rows(Dtype),
    /// Quantised, as [`Packing`] says: `packing.bytes(rows, cols)` bytes.
    Tiles(Packing),
    /// Four-bit floats, whose scales are [`Matrix::scales`].
    Mxfp4(Mxfp4),
    /// Eight-bit floats, row-major, whose scales are [`Matrix::scales`]: those of all of their tensor.
    Fp8(Fp8),
    /// The scales of such: a byte each.
    Scales,
}

/// Just the name of the type of its elements.
impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(dtype) => dtype.fmt(f),
            Self::Tiles(packing) => packing.fmt(f),
            Self::Mxfp4(_) | Self::Fp8(_) | Self::Scales => f.write_str(self.name()),
        }
    }
}

impl Layout {
    /// Its name in files, which stays.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows(dtype) => dtype.name(),
            Self::Tiles(packing) => packing.name(),
            Self::Mxfp4(Mxfp4 { coded: false, .. }) => "mxfp4",
            Self::Mxfp4(Mxfp4 { coded: true, .. }) => "mxfp4 by codes",
            Self::Fp8(_) => "f8_e4m3",
            Self::Scales => "e8m0",
        }
    }

    /// The layout of a matrix's rows from `row` on.
    #[must_use]
    pub const fn behind_rows(self, row: usize) -> Self {
        match self {
            Self::Fp8(fp8) => Self::Fp8(fp8.behind_rows(row)),
            other => other,
        }
    }

    /// Bytes of a matrix; none if they are more than can be counted.
    pub const fn bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match self {
            Self::Rows(dtype) => match rows.checked_mul(cols) {
                Some(values) => values.checked_mul(dtype.size()),
                None => None,
            },
            Self::Tiles(packing) => packing.bytes(rows, cols),
            Self::Mxfp4(_) if cols.is_multiple_of(BLOCK) => rows.checked_mul(cols / BLOCK * BLOCK_BYTES),
            Self::Mxfp4(_) => None,
            Self::Scales | Self::Fp8(_) => rows.checked_mul(cols),
        }
    }
}

/// A matrix as it lies in a file: little-endian, at any alignment.
///
/// A vector (a bias, the weights of a norm) is a matrix of one row.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// What the bytes mean.
    pub layout: Layout,
    /// Rows: the outputs of a linear layer, the words of an embedding table.
    pub rows: usize,
    /// Columns: the inputs of a linear layer, the width of an embedding.
    pub cols: usize,
    /// The elements.
    pub data: &'a [u8],
    /// Of [four-bit](Layout::Mxfp4) and [eight-bit floats](Layout::Fp8) the scales, of others nothing.
    pub scales: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The codes of row `row` of a matrix of such weights from column `col` on, a multiple of 32, and their scales.
    pub(crate) fn mxfp4_row(&self, mxfp4: Mxfp4, row: usize, col: usize) -> (&'a [u8], &'a [u8]) {
        let (blocks, at) = (self.cols / BLOCK, row * mxfp4.step * (self.cols / BLOCK));
        let (from, to) = (at + col / BLOCK, at + blocks);
        (&self.data[from * BLOCK_BYTES..to * BLOCK_BYTES], &self.scales[from..to])
    }
}

impl Matrix<'_> {
    /// Bytes of its elements.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.bytes(self.rows, self.cols).unwrap_or(usize::MAX)
    }

    /// Some of the rows as a matrix: one of several that lie one after another. Of quantised weights the range begins at a
    /// multiple of [`Packing::TILE_ROWS`] and ends at one or at the last row. None if it does not, or if there are no such rows.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.rows {
            return None;
        }
        let tile = Packing::TILE_ROWS;
        let (from, to) = match self.layout {
            Layout::Rows(_) | Layout::Fp8(_) | Layout::Scales => {
                (self.layout.bytes(range.start, self.cols)?, self.layout.bytes(range.end, self.cols)?)
            }
            Layout::Mxfp4(mxfp4) => {
                // Nothing lies behind the last row.
                let [from, to] = [range.start, range.end].map(|row| row * mxfp4.step * (self.cols / BLOCK));
                let [codes, scales] = [(self.data, BLOCK_BYTES), (self.scales, 1)]
                    .map(|(all, block)| all.get(from * block..(to * block).min(all.len())));
                return Some(Self { rows: range.len(), data: codes?, scales: scales?, ..*self });
            }
            Layout::Tiles(packing) => {
                let edge = |row: usize| row.is_multiple_of(tile) || row == self.rows;
                if !range.start.is_multiple_of(tile) || !edge(range.end) {
                    return None;
                }
                (packing.bytes(range.start, self.cols)?, packing.bytes(range.end, self.cols)?)
            }
        };
        let layout = self.layout.behind_rows(range.start);
        Some(Self { layout, rows: range.len(), data: self.data.get(from..to)?, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fours, Packed, Stored};
    use super::*;

    fn values(matrix: &Matrix) -> Vec<f32> {
        let mut values = vec![f32::NAN; matrix.rows * matrix.cols];
        matrix.widen(0, &mut values);
        values
    }

    #[test]
    fn rows_in_turns_are_a_matrix_of_their_own() {
        for step in [1, 2, 3] {
            let all = Fours::new(50, 64, step, false, 1);
            for range in [0..50, 3..4, 49..50, 17..17] {
                let part = all.matrix().rows(range.clone()).unwrap();
                assert_eq!(values(&part), &all.values[range.start * 64..range.end * 64], "{step} {range:?}");
            }
            assert!(all.matrix().rows(40..51).is_none());
        }
    }

    #[test]
    fn rows_are_a_matrix_of_their_own() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let all = Stored::new(50, 7, dtype, 1);
            for range in [0..50, 3..4, 49..50, 17..17] {
                let part = all.matrix().rows(range.clone()).unwrap();
                assert_eq!(values(&part), &all.values[range.start * 7..range.end * 7], "{dtype:?} {range:?}");
            }
            assert!(all.matrix().rows(40..51).is_none());
        }
        for packing in [Packing::Int4, Packing::Int4Fine, Packing::Int8] {
            let all = Packed::new(50, 7, packing, 1);
            for range in [0..50, 16..32, 48..50, 32..32] {
                let part = all.matrix().rows(range.clone()).unwrap();
                assert_eq!(values(&part), &all.values[range.start * 7..range.end * 7], "{packing:?} {range:?}");
            }
            for range in [1..16, 0..17, 32..51, 50..50] {
                assert!(all.matrix().rows(range.clone()).is_none(), "{packing:?} {range:?}");
            }
        }
    }
}
