//! Blocks of dot products in registers.
//!
//! The smallest unit is a tile of `M` tokens by `N` rows of weights: `M * N` registers of running sums, each fed from the first
//! column to the last by one fused multiply-add per register of columns. The order of additions within one sum is therefore the
//! same in every tile shape.

use super::super::element::{BF16, Element, F16, F32};
use super::super::math::silu;
use super::super::shared::{Output, with_scratch};
use super::super::simd::{Kernel, Simd};
use super::super::{Dtype, Matrix};
use std::ops::Range;

/// Up to this many tokens the weights are widened where they are used; beyond, once into a panel that all tokens share.
pub(super) const DIRECT_TOKENS: usize = 3;
/// Columns of a panel: its rows and a tile's tokens stay in the first-level cache together.
const PANEL_COLS: usize = 512;
/// How far ahead of its use a weight is asked for.
const PREFETCH_BYTES: usize = 8 << 10;
/// Bytes of a cache line.
const LINE: usize = 64;

/// What happens to a finished sum.
pub(super) enum Finish<'a> {
    /// It is the result.
    Store,
    /// This, `[tokens, rows]`, is added.
    Add(&'a [f32]),
    /// The result already holds a gate: `y = silu(y) * sum`.
    Gate,
}

/// A block of one layer: these tokens by these rows of weights.
pub(super) struct Block<'a> {
    pub(super) x: &'a [f32],
    pub(super) weights: &'a Matrix<'a>,
    pub(super) bias: Option<&'a Matrix<'a>>,
    pub(super) finish: &'a Finish<'a>,
    pub(super) y: &'a Output<'a>,
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

impl Kernel for Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.weights.dtype {
            Dtype::F32 => self.strips::<S, F32>(simd),
            Dtype::F16 => self.strips::<S, F16>(simd),
            Dtype::BF16 => self.strips::<S, BF16>(simd),
        }
    }
}

impl Block<'_> {
    /// As many rows at once as the registers hold beside three tokens: 3 x 8 or 3 x 4 sums.
    #[inline(always)]
    fn strips<S: Simd, E: Element>(&self, simd: S) {
        if S::REGISTERS >= 32 { self.strips_of::<S, E, 8>(simd) } else { self.strips_of::<S, E, 4>(simd) }
    }

    #[inline(always)]
    fn strips_of<S: Simd, E: Element, const N: usize>(&self, simd: S) {
        let many = self.tokens.len() > DIRECT_TOKENS;
        let mut row = self.rows.start;
        while row + N <= self.rows.end {
            if many {
                self.shared_strip::<S, E, N>(simd, row)
            } else {
                self.direct_strip::<S, E, N>(simd, row)
            }
            row += N;
        }
        while row < self.rows.end {
            if many {
                self.shared_strip::<S, E, 1>(simd, row)
            } else {
                self.direct_strip::<S, E, 1>(simd, row)
            }
            row += 1;
        }
    }

    /// `N` rows for few tokens, straight from the weights.
    #[inline(always)]
    fn direct_strip<S: Simd, E: Element, const N: usize>(&self, simd: S, row: usize) {
        match self.tokens.len() {
            1 => self.direct_tile::<S, E, 1, N>(simd, row),
            2 => self.direct_tile::<S, E, 2, N>(simd, row),
            _ => self.direct_tile::<S, E, 3, N>(simd, row),
        }
    }

    #[inline(always)]
    fn direct_tile<S: Simd, E: Element, const M: usize, const N: usize>(&self, simd: S, row: usize) {
        let cols = self.weights.cols;
        let x = self.x[self.tokens.start * cols..][..M * cols].as_ptr();
        let w = self.weights.data[row * cols * E::SIZE..][..N * cols * E::SIZE].as_ptr();
        let mut sums = [[simd.splat(0.0); N]; M];
        // SAFETY: the slices hold M and N rows of cols elements.
        unsafe { accumulate::<S, E, M, N, true>(simd, x, cols, w, cols * E::SIZE, cols, &mut sums) };
        self.finish(simd, row, self.tokens.start, &sums);
    }

    /// `N` rows for many tokens: a panel of columns at a time is widened and used by all tokens, whose sums wait in scratch
    /// memory between the panels.
    #[inline(always)]
    fn shared_strip<S: Simd, E: Element, const N: usize>(&self, simd: S, row: usize) {
        let cols = self.weights.cols;
        let tokens = self.tokens.len();
        let panel_len = N * PANEL_COLS;
        let waiting_len = if cols > PANEL_COLS { tokens * N * S::LANES } else { 0 };
        with_scratch(panel_len + waiting_len, |scratch| {
            let (panel, waiting) = scratch.split_at_mut(panel_len);
            for from in (0..cols).step_by(PANEL_COLS) {
                let count = PANEL_COLS.min(cols - from);
                self.widen::<S, E, N>(simd, row, from, count, panel);
                let mut token = 0;
                while token < tokens {
                    // Even shares: 4 tokens as 2 + 2, not 3 + 1.
                    let left = tokens - token;
                    let take = left.div_ceil(left.div_ceil(3));
                    let at = Part { row, token, from, count };
                    match take {
                        1 => self.panel_tile::<S, 1, N>(simd, &at, panel, waiting),
                        2 => self.panel_tile::<S, 2, N>(simd, &at, panel, waiting),
                        _ => self.panel_tile::<S, 3, N>(simd, &at, panel, waiting),
                    }
                    token += take;
                }
            }
        });
    }

    /// Widens `count` columns of `N` rows into a panel.
    #[inline(always)]
    fn widen<S: Simd, E: Element, const N: usize>(
        &self,
        simd: S,
        row: usize,
        from: usize,
        count: usize,
        panel: &mut [f32],
    ) {
        let cols = self.weights.cols;
        let (whole, rest) = (count / S::LANES * S::LANES, count % S::LANES);
        for n in 0..N {
            let w = self.weights.data[((row + n) * cols + from) * E::SIZE..][..count * E::SIZE].as_ptr();
            let to = panel[n * PANEL_COLS..][..count].as_mut_ptr();
            // SAFETY: both slices hold count elements.
            unsafe {
                for at in (0..whole).step_by(S::LANES) {
                    simd.store(E::load(simd, w.add(at * E::SIZE)), to.add(at));
                }
                simd.store_part(E::load_part(simd, w.add(whole * E::SIZE), rest), to.add(whole), rest);
            }
        }
    }

    /// One tile's share of one panel.
    #[inline(always)]
    fn panel_tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        at: &Part,
        panel: &[f32],
        waiting: &mut [f32],
    ) {
        let cols = self.weights.cols;
        let mut sums = [[simd.splat(0.0); N]; M];
        let token = self.tokens.start + at.token;
        let x = self.x[token * cols + at.from..][..(M - 1) * cols + at.count].as_ptr();
        let (first, last) = (at.from == 0, at.from + at.count == cols);
        if !first {
            let waiting = waiting[at.token * N * S::LANES..][..M * N * S::LANES].as_ptr();
            for (i, sum) in sums.as_flattened_mut().iter_mut().enumerate() {
                // SAFETY: the slice holds M * N registers.
                *sum = unsafe { simd.load(waiting.add(i * S::LANES)) };
            }
        }
        let w = panel[..(N - 1) * PANEL_COLS + at.count].as_ptr().cast();
        // SAFETY: x holds M rows of cols values from column `from` on, the panel N rows of PANEL_COLS values.
        unsafe { accumulate::<S, F32, M, N, false>(simd, x, cols, w, PANEL_COLS * 4, at.count, &mut sums) };
        if last {
            self.finish(simd, at.row, token, &sums);
            return;
        }
        let waiting = waiting[at.token * N * S::LANES..][..M * N * S::LANES].as_mut_ptr();
        for (i, sum) in sums.as_flattened().iter().enumerate() {
            // SAFETY: the slice holds M * N registers.
            unsafe { simd.store(*sum, waiting.add(i * S::LANES)) }
        }
    }

    /// Folds a tile's sums and writes them.
    #[inline(always)]
    fn finish<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        row: usize,
        token: usize,
        sums: &[[S::V; N]; M],
    ) {
        // 24 sums at most, a whole number of registers.
        let mut folded = [0.0_f32; 32];
        let flat = sums.as_flattened();
        for (i, to) in folded.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            if i * 4 >= M * N {
                break;
            }
            let get = |j: usize| if i * 4 + j < M * N { flat[i * 4 + j] } else { simd.splat(0.0) };
            *to = simd.sum4([get(0), get(1), get(2), get(3)]);
        }
        let mut bias = [0.0_f32; N];
        if let Some(matrix) = self.bias {
            matrix.widen(row, &mut bias);
        }
        let mut gates = [0.0_f32; 32];
        let rows = self.weights.rows;
        for m in 0..M {
            let sums = &mut folded[m * N..][..N];
            for n in 0..N {
                sums[n] += bias[n];
            }
            let at = (token + m) * rows + row;
            match self.finish {
                Finish::Store => {}
                Finish::Add(residual) => {
                    for (sum, residual) in sums.iter_mut().zip(&residual[at..][..N]) {
                        *sum += residual;
                    }
                }
                Finish::Gate => {
                    // SAFETY: no other task has these tokens of these rows.
                    let y = unsafe { self.y.slice(at, N) };
                    for (gate, y) in gates[m * N..].iter_mut().zip(y) {
                        *gate = *y;
                    }
                }
            }
        }
        if matches!(self.finish, Finish::Gate) {
            for i in (0..M * N).step_by(S::LANES) {
                // SAFETY: both arrays have 32 values, and i + LANES <= 32 because LANES divides 32.
                unsafe {
                    let gate = silu(simd, simd.load(gates.as_ptr().add(i)));
                    let value = simd.mul(gate, simd.load(folded.as_ptr().add(i)));
                    simd.store(value, folded.as_mut_ptr().add(i));
                }
            }
        }
        for (m, sums) in folded[..M * N].chunks_exact(N).enumerate() {
            // SAFETY: no other task has these tokens of these rows.
            let y = unsafe { self.y.slice((token + m) * rows + row, N) };
            y.copy_from_slice(sums);
        }
    }
}

/// A tile's place: its first row and token (counted from the block's first), and the panel's columns.
struct Part {
    row: usize,
    token: usize,
    from: usize,
    count: usize,
}

/// `sums[m][n] += x[m] * w[n]` over `cols` columns, from the first to the last. Strides: `x` in values, `w` in bytes.
///
/// # Safety
/// `x` is valid for `M` rows and `w` for `N` rows of `cols` elements, at these strides.
#[inline(always)]
unsafe fn accumulate<S: Simd, E: Element, const M: usize, const N: usize, const STREAM: bool>(
    simd: S,
    x: *const f32,
    x_stride: usize,
    w: *const u8,
    w_stride: usize,
    cols: usize,
    sums: &mut [[S::V; N]; M],
) {
    let mut acc = *sums;
    let step = 2 * S::LANES;
    let mut at = 0;
    // SAFETY: every access is below column `cols` of a row the caller vouches for; prefetches may lie anywhere.
    unsafe {
        while at + step <= cols {
            for half in 0..2 {
                let at = at + half * S::LANES;
                let mut row = [simd.splat(0.0); M];
                for m in 0..M {
                    row[m] = simd.load(x.add(m * x_stride + at));
                }
                for n in 0..N {
                    let weight = E::load(simd, w.add(n * w_stride + at * E::SIZE));
                    for m in 0..M {
                        acc[m][n] = simd.mul_add(row[m], weight, acc[m][n]);
                    }
                }
            }
            if STREAM {
                for n in 0..N {
                    let ahead = w.wrapping_add(n * w_stride + at * E::SIZE + PREFETCH_BYTES);
                    for line in (0..step * E::SIZE).step_by(LINE) {
                        simd.prefetch(ahead.wrapping_add(line));
                    }
                }
            }
            at += step;
        }
        while at < cols {
            let count = S::LANES.min(cols - at);
            let mut row = [simd.splat(0.0); M];
            for m in 0..M {
                row[m] = simd.load_part(x.add(m * x_stride + at), count);
            }
            for n in 0..N {
                let weight = E::load_part(simd, w.add(n * w_stride + at * E::SIZE), count);
                for m in 0..M {
                    acc[m][n] = simd.mul_add(row[m], weight, acc[m][n]);
                }
            }
            at += S::LANES;
        }
    }
    *sums = acc;
}
