//! From sums to results.

use super::super::Matrix;
use super::super::packing::Packing;
use super::super::shared::Output;
use super::super::simd::{Kernel, Simd};

/// What happens to a finished sum.
pub(super) enum Finish<'a> {
    /// The sum is the result.
    Store,
    /// These values, `[tokens, rows]`, are added to the sum.
    Add(&'a [f32]),
    /// The result already holds a factor: `y = y * sum`.
    Multiply,
    /// The result already holds a factor, and the sum is held between minus and plus this limit: `y = y * (sum + 1)`.
    MultiplyClamped(f32),
}

impl Finish<'_> {
    /// Writes one token's finished sums, with the bias added, to the places from `from` on of `y` (and of a residual).
    ///
    /// # Safety
    /// No other task has these places.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(&self, simd: S, y: &Output, from: usize, sums: &[f32], bias: &[f32]) {
        // SAFETY: the caller's promise.
        let y = unsafe { y.slice(from, sums.len()) };
        let len = y.len().min(bias.len());
        let residual = match self {
            Finish::Add(residual) => residual[from..][..len].as_ptr(),
            _ => sums.as_ptr(),
        };
        let mut at = 0;
        while at < len {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count is inside all of these.
            unsafe {
                let to = y.as_mut_ptr().add(at);
                let sum = simd
                    .add(simd.load_part(sums.as_ptr().add(at), count), simd.load_part(bias.as_ptr().add(at), count));
                let value = match self {
                    Finish::Store => sum,
                    Finish::Add(_) => simd.add(sum, simd.load_part(residual.add(at), count)),
                    Finish::Multiply => simd.mul(simd.load_part(to, count), sum),
                    Finish::MultiplyClamped(limit) => {
                        let sum = simd.max(simd.splat(-limit), simd.min(simd.splat(*limit), sum));
                        simd.mul(simd.load_part(to, count), simd.add(sum, simd.splat(1.0)))
                    }
                };
                simd.store_part(value, to, count);
            }
            at += count;
        }
    }
}

/// The layer that weights may be only a part of.
#[derive(Clone, Copy)]
pub(super) struct PartOf {
    /// Values of the result from one token to the next: in most layers all its rows.
    pub(super) apart: usize,
    /// The row that the first one of the weights is.
    pub(super) first: usize,
}

/// Finished sums of some tokens by some tiles of sixteen rows. Their way to the result is compiled once, not with every shape of
/// block that sums come from.
pub(super) struct Tiles<'a> {
    pub(super) finish: &'a Finish<'a>,
    pub(super) y: &'a Output<'a>,
    pub(super) bias: Option<&'a Matrix<'a>>,
    pub(super) part_of: PartOf,
    /// The first token.
    pub(super) token: usize,
    /// The first row of the first tile, and behind the last one of all the task has.
    pub(super) row: usize,
    pub(super) end: usize,
    /// Rows from one tile to the next.
    pub(super) apart: usize,
    /// How many tiles there are.
    pub(super) count: usize,
    /// Token by token, tile by tile.
    pub(super) sums: &'a [[f32; Packing::TILE_ROWS]],
}

impl Kernel for Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for tile in 0..self.count {
            let row = self.row + tile * self.apart;
            let rows = Packing::TILE_ROWS.min(self.end - row);
            let mut bias = [0.0; Packing::TILE_ROWS];
            if let Some(matrix) = self.bias {
                matrix.widen(self.part_of.first + row, &mut bias[..rows]);
            }
            for (token, sums) in self.sums.iter().skip(tile).step_by(self.count).enumerate() {
                let from = (self.token + token) * self.part_of.apart + self.part_of.first + row;
                // SAFETY: the task has these tokens of these rows, and no other does.
                unsafe { self.finish.write(simd, self.y, from, &sums[..rows], &bias[..rows]) };
            }
        }
    }
}
