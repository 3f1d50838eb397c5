//! Blocks of dot products in registers.
//!
//! The smallest unit is a tile of `M` tokens by `N` rows of weights: `M * N` registers of running sums, each fed from the first
//! column of a panel to the last by one fused multiply-add per register of columns, then folded to one value and added to those of
//! the panels before. The order of additions is therefore the same in every tile shape.

use super::super::simd::Element;
use super::super::simd::Simd;

/// Most columns of a panel: its rows and a tile's tokens stay in the first-level cache together (8 rows of 28 KB, 3 of 11 KB).
pub(super) const PANEL_COLS: usize = 896;
/// How far ahead of its use a weight is asked for, in each row of a tile.
const PREFETCH_BYTES: usize = 1 << 10;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Columns of a panel: equal shares of all, each a multiple of `step`, which [`PANEL_COLS`] is.
pub(super) fn panel_cols(cols: usize, step: usize) -> usize {
    cols.div_ceil(cols.div_ceil(PANEL_COLS).max(1)).next_multiple_of(step)
}

/// The sums over the lanes of one token's registers of a tile.
#[inline(always)]
pub(super) fn fold<S: Simd, const N: usize>(simd: S, sums: &[S::V; N]) -> [f32; N] {
    let mut folded = [0.0; N];
    for from in (0..N).step_by(4) {
        let mut four = [simd.splat(0.0); 4];
        let count = (N - from).min(4);
        four[..count].copy_from_slice(&sums[from..from + count]);
        folded[from..from + count].copy_from_slice(&simd.sum4(four)[..count]);
    }
    folded
}

/// The next rows' columns, asked for a few cache lines at a time while these are used.
pub(super) struct Ahead {
    start: *const u8,
    stride: usize,
    row_bytes: usize,
    /// The next place to ask for: a row of the panel and its byte.
    row: usize,
    byte: usize,
    rows: usize,
    /// Cache lines each time.
    lines: usize,
}

impl Ahead {
    #[inline(always)]
    pub(super) fn new<const N: usize>(start: *const u8, stride: usize, row_bytes: usize, times: usize) -> Self {
        Self {
            start,
            stride,
            row_bytes,
            row: 0,
            byte: 0,
            rows: N,
            lines: (N * row_bytes.div_ceil(LINE)).div_ceil(times),
        }
    }

    #[inline(always)]
    pub(super) fn ask<S: Simd>(&mut self, simd: S) {
        for _ in 0..self.lines {
            if self.row < self.rows {
                simd.prefetch(self.start.wrapping_add(self.row * self.stride + self.byte));
            }
            self.byte += LINE;
            if self.byte >= self.row_bytes {
                (self.row, self.byte) = (self.row + 1, 0);
            }
        }
    }
}

/// Rows of values or of stored elements.
#[derive(Clone, Copy)]
pub(super) struct Rows<T> {
    pub(super) at: *const T,
    /// From one row to the next, in `T`.
    pub(super) stride: usize,
}

/// `M * N` registers of sums: those of `x[m] * w[n]` over `cols` columns, each from the first column to the last.
///
/// With `stream` the weights come from memory, and cache lines some way ahead are asked for. Beyond a row's last column these are
/// the next row's first.
///
/// # Safety
/// `x` is valid for `M` rows and `w` for `N` rows of `cols` elements.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "the indices are also places in memory")]
pub(super) unsafe fn accumulate<S: Simd, E: Element, const M: usize, const N: usize>(
    simd: S,
    x: Rows<f32>,
    w: Rows<u8>,
    cols: usize,
    stream: bool,
) -> [[S::V; N]; M] {
    let mut sums = [[simd.splat(0.0); N]; M];
    let step = 2 * S::LANES;
    let mut at = 0;
    // SAFETY: every access is below column `cols` of a row the caller vouches for; prefetches may lie anywhere.
    unsafe {
        while at + step <= cols {
            for half in 0..2 {
                let at = at + half * S::LANES;
                let mut row = [simd.splat(0.0); M];
                for m in 0..M {
                    row[m] = simd.load(x.at.add(m * x.stride + at));
                }
                for n in 0..N {
                    let weight = E::load(simd, w.at.add(n * w.stride + at * E::SIZE));
                    for m in 0..M {
                        sums[m][n] = simd.mul_add(row[m], weight, sums[m][n]);
                    }
                }
            }
            if stream {
                for n in 0..N {
                    for line in (0..step * E::SIZE).step_by(LINE) {
                        simd.prefetch(w.at.wrapping_add(n * w.stride + at * E::SIZE + line + PREFETCH_BYTES));
                    }
                }
            }
            at += step;
        }
        while at < cols {
            let count = S::LANES.min(cols - at);
            let mut row = [simd.splat(0.0); M];
            for m in 0..M {
                row[m] = simd.load_part(x.at.add(m * x.stride + at), count);
            }
            for n in 0..N {
                let weight = E::load_part(simd, w.at.add(n * w.stride + at * E::SIZE), count);
                for m in 0..M {
                    sums[m][n] = simd.mul_add(row[m], weight, sums[m][n]);
                }
            }
            at += S::LANES;
        }
    }
    sums
}
