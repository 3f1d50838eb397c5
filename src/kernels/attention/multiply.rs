//! The one product of small matrices that attention is made of: rows of coefficients times rows of values.
//!
//! Every element of the result is a sum over the rows of `right`, taken from the first to the last by one multiply-add each, so
//! it does not depend on the rows computed beside it.

use super::super::simd::Simd;
use std::ops::Range;

/// Most rows of coefficients at once.
pub(super) const TILE: usize = 6;

/// Coefficients, a row for each row of the product.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) at: &'a [f32],
    pub(super) stride: usize,
}

/// The matrix whose rows are combined.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) at: &'a [f32],
    pub(super) stride: usize,
    /// Its columns; only whole registers of them are read beyond the last whole register with care.
    pub(super) width: usize,
}

/// The next block's keys and values, asked for a few cache lines at a time while this block is computed on, so that a long
/// context streams from memory all the while. Eight places are asked for in turn: memory serves several streams faster than one.
pub(super) struct Ahead {
    keys: *const u8,
    values: *const u8,
    /// Bytes from one place to the next; also where each ends.
    apart: usize,
    at: usize,
}

impl Ahead {
    /// `bytes` each of keys and values.
    pub(super) fn new(keys: *const u8, values: *const u8, bytes: usize) -> Self {
        Self { keys, values, apart: bytes / 4, at: 0 }
    }

    /// Asks for the next eight lines, if any are left.
    #[inline(always)]
    pub(super) fn ask<S: Simd>(&mut self, simd: S) {
        if self.at < self.apart {
            for place in 0..4 {
                simd.prefetch(self.keys.wrapping_add(place * self.apart + self.at));
                simd.prefetch(self.values.wrapping_add(place * self.apart + self.at));
            }
            self.at += 64;
        }
    }

    /// Asks for all that are left.
    #[inline(always)]
    pub(super) fn ask_all<S: Simd>(&mut self, simd: S) {
        while self.at < self.apart {
            self.ask(simd);
        }
    }
}

/// `sums[m] += left[m][k] * right[k]` for `k` in `range`, in that order, for `rows <= TILE` rows. `sums` has `sum_stride` values a
/// row, whole registers.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the state of the loops around it")]
pub(super) fn multiply<S: Simd>(
    simd: S,
    rows: usize,
    left: Left,
    right: Right,
    range: Range<usize>,
    sums: &mut [f32],
    sum_stride: usize,
    ahead: &mut Ahead,
) {
    if range.start >= range.end {
        return;
    }
    match rows {
        1 => multiply_rows::<S, 1>(simd, left, right, range, sums, sum_stride, ahead),
        2 => multiply_rows::<S, 2>(simd, left, right, range, sums, sum_stride, ahead),
        3 => multiply_rows::<S, 3>(simd, left, right, range, sums, sum_stride, ahead),
        4 => multiply_rows::<S, 4>(simd, left, right, range, sums, sum_stride, ahead),
        5 => multiply_rows::<S, 5>(simd, left, right, range, sums, sum_stride, ahead),
        _ => multiply_rows::<S, 6>(simd, left, right, range, sums, sum_stride, ahead),
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the state of the loops around it")]
fn multiply_rows<S: Simd, const M: usize>(
    simd: S,
    left: Left,
    right: Right,
    range: Range<usize>,
    sums: &mut [f32],
    sum_stride: usize,
    ahead: &mut Ahead,
) {
    let mut from = 0;
    if S::REGISTERS >= 32 {
        while from + 4 * S::LANES <= right.width {
            multiply_tile::<S, M, 4>(simd, left, right, range.clone(), sums, sum_stride, from, ahead);
            from += 4 * S::LANES;
        }
    }
    while from + 2 * S::LANES <= right.width {
        multiply_tile::<S, M, 2>(simd, left, right, range.clone(), sums, sum_stride, from, ahead);
        from += 2 * S::LANES;
    }
    while from < right.width {
        multiply_tile::<S, M, 1>(simd, left, right, range.clone(), sums, sum_stride, from, ahead);
        from += S::LANES;
    }
}

/// Columns `from..from + N * LANES` of `M` rows.
#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    clippy::needless_range_loop,
    reason = "the state of the loops around it; indices are places"
)]
fn multiply_tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    left: Left,
    right: Right,
    range: Range<usize>,
    sums: &mut [f32],
    sum_stride: usize,
    from: usize,
    ahead: &mut Ahead,
) {
    let last = range.end - 1;
    let columns = right.width - from;
    let l = left.at[..(M - 1) * left.stride + range.end].as_ptr();
    let r = right.at[from..][..last * right.stride + columns.min(N * S::LANES)].as_ptr();
    let s = sums[from..][..(M - 1) * sum_stride + N * S::LANES].as_mut_ptr();
    let mut acc = [[simd.splat(0.0); N]; M];
    // SAFETY: the three slices hold what is read: M rows of coefficients up to range.end, rows of `right` up to the last in the
    // range with at least the columns of these registers (a part of one register where the width ends), and M rows of sums.
    unsafe {
        for m in 0..M {
            for n in 0..N {
                acc[m][n] = simd.load(s.add(m * sum_stride + n * S::LANES));
            }
        }
        if columns >= N * S::LANES {
            for k in range {
                // With fewer registers the addresses would be spilled, and transposing has asked for most of it.
                if S::REGISTERS >= 32 && k % 4 == 0 {
                    ahead.ask(simd);
                }
                let mut row = [simd.splat(0.0); N];
                for n in 0..N {
                    row[n] = simd.load(r.add(k * right.stride + n * S::LANES));
                }
                for m in 0..M {
                    let by = simd.splat(*l.add(m * left.stride + k));
                    for n in 0..N {
                        acc[m][n] = simd.mul_add(by, row[n], acc[m][n]);
                    }
                }
            }
        } else {
            for k in range {
                let row = simd.load_part(r.add(k * right.stride), columns);
                for m in 0..M {
                    acc[m][0] = simd.mul_add(simd.splat(*l.add(m * left.stride + k)), row, acc[m][0]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                simd.store(acc[m][n], s.add(m * sum_stride + n * S::LANES));
            }
        }
    }
}
