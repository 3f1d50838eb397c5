//! What a block's weights are stored as: how a tile of them is multiplied, and how rows are widened.

use std::marker::PhantomData;

use super::super::Matrix;
use super::super::fp8::Fp8;
use super::super::mxfp4::{BLOCK, BLOCK_BYTES, Mxfp4, scale};
use super::super::simd::{E4M3, Element, Simd};
use super::tile::{Ahead, PANEL_COLS, Rows, accumulate, panel_cols};

/// Rows of weights that are stored in one way, as a type: so that a kernel is compiled for each.
pub(super) trait Source: Copy {
    /// Columns of a panel: equal shares of all, so it depends on the layer alone.
    fn panel_cols(self) -> usize;

    /// `M * N` registers of sums: those of `x[m] * w[n]` over the columns `cols`, `(from, count)`, each from the first to the last,
    /// where `w[n]` is row `row + n * apart` of `rows`, `(row, apart)`. With `stream` the weights come from memory, and cache lines some way ahead are asked for.
    ///
    /// # Safety
    /// `x` is valid for `M` rows of `count` values, and the rows and columns are the matrix's.
    unsafe fn sums<S: Simd, const M: usize, const N: usize>(
        self,
        simd: S,
        x: Rows<f32>,
        rows: (usize, usize),
        cols: (usize, usize),
        stream: bool,
    ) -> [[S::V; N]; M];

    /// Widens `count` columns of row `row` from `from` on into `to`.
    fn widen<S: Simd>(self, simd: S, row: usize, from: usize, to: &mut [f32]);

    /// Asks for these columns of `N` rows a few cache lines at a time, in so many times.
    fn ahead<const N: usize>(self, row: usize, from: usize, count: usize, times: usize) -> Ahead;
}

/// Elements row by row.
pub(super) struct Plain<'a, E> {
    weights: &'a Matrix<'a>,
    of: PhantomData<E>,
}

impl<E> Clone for Plain<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Plain<'_, E> {}

impl<'a, E: Element> Plain<'a, E> {
    pub(super) fn new(weights: &'a Matrix<'a>) -> Self {
        Self { weights, of: PhantomData }
    }

    fn row_bytes(self) -> usize {
        self.weights.cols * E::SIZE
    }
}

impl<E: Element> Source for Plain<'_, E> {
    #[inline(always)]
    fn panel_cols(self) -> usize {
        panel_cols(self.weights.cols, 16)
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const M: usize, const N: usize>(
        self,
        simd: S,
        x: Rows<f32>,
        (row, apart): (usize, usize),
        (from, count): (usize, usize),
        stream: bool,
    ) -> [[S::V; N]; M] {
        let row_bytes = self.row_bytes();
        let w = self.weights.data[row * row_bytes..][..((N - 1) * apart + 1) * row_bytes].as_ptr();
        // SAFETY: the slice holds N rows `apart` of all columns, and the caller vouches for `x`.
        unsafe {
            let w = Rows { at: w.add(from * E::SIZE), stride: apart * row_bytes };
            accumulate::<S, E, M, N>(simd, x, w, count, stream)
        }
    }

    #[inline(always)]
    fn widen<S: Simd>(self, simd: S, row: usize, from: usize, to: &mut [f32]) {
        let (whole, rest) = (to.len() / S::LANES * S::LANES, to.len() % S::LANES);
        let w = self.weights.data[(row * self.weights.cols + from) * E::SIZE..][..to.len() * E::SIZE].as_ptr();
        let to = to.as_mut_ptr();
        // SAFETY: both slices hold as many elements.
        unsafe {
            for at in (0..whole).step_by(S::LANES) {
                simd.store(E::load(simd, w.add(at * E::SIZE)), to.add(at));
            }
            simd.store_part(E::load_part(simd, w.add(whole * E::SIZE), rest), to.add(whole), rest);
        }
    }

    #[inline(always)]
    fn ahead<const N: usize>(self, row: usize, from: usize, count: usize, times: usize) -> Ahead {
        let start = self.weights.data.as_ptr().wrapping_add(row * self.row_bytes() + from * E::SIZE);
        Ahead::new::<N>(start, self.row_bytes(), count * E::SIZE, times)
    }
}

/// Four-bit floats.
#[derive(Clone, Copy)]
pub(super) struct Fours<'a> {
    weights: &'a Matrix<'a>,
    mxfp4: Mxfp4,
}

impl<'a> Fours<'a> {
    pub(super) fn new(weights: &'a Matrix<'a>, mxfp4: Mxfp4) -> Self {
        Self { weights, mxfp4 }
    }
}

/// How far ahead of its use a code is asked for, in each row of a tile.
const PREFETCH_BYTES: usize = 1 << 9;
/// Most scales of a row of a panel.
const PANEL_BLOCKS: usize = PANEL_COLS / BLOCK;

impl Source for Fours<'_> {
    #[inline(always)]
    fn panel_cols(self) -> usize {
        panel_cols(self.weights.cols, BLOCK)
    }

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "the indices are also places in memory")]
    unsafe fn sums<S: Simd, const M: usize, const N: usize>(
        self,
        simd: S,
        x: Rows<f32>,
        (row, apart): (usize, usize),
        (from, count): (usize, usize),
        stream: bool,
    ) -> [[S::V; N]; M] {
        let blocks = count / BLOCK;
        let mut codes = [self.weights.data.as_ptr(); N];
        let mut scales = [[0.0; PANEL_BLOCKS]; N];
        for n in 0..N {
            let (row_codes, row_scales) = self.weights.mxfp4_row(self.mxfp4, row + n * apart, from);
            codes[n] = row_codes[..blocks * BLOCK_BYTES].as_ptr();
            for (to, byte) in scales[n][..blocks].iter_mut().zip(row_scales) {
                *to = scale(*byte);
            }
        }
        let mut sums = [[simd.splat(0.0); N]; M];
        // SAFETY: `codes` and the caller's `x` are valid for so many blocks; prefetches may lie anywhere.
        unsafe {
            for block in 0..blocks {
                for n in 0..N {
                    let at = codes[n].add(block * BLOCK_BYTES);
                    let fours = simd.fours(scales[n][block]);
                    for part in 0..BLOCK / S::LANES {
                        let weight = simd.load_fours(fours, at, part);
                        for m in 0..M {
                            let x = simd.load(x.at.add(m * x.stride + block * BLOCK + part * S::LANES));
                            sums[m][n] = simd.mul_add(x, weight, sums[m][n]);
                        }
                    }
                    if stream && block % 4 == 0 {
                        simd.prefetch(at.wrapping_add(PREFETCH_BYTES));
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn widen<S: Simd>(self, simd: S, row: usize, from: usize, to: &mut [f32]) {
        let (codes, scales) = self.weights.mxfp4_row(self.mxfp4, row, from);
        let blocks = codes.as_chunks::<BLOCK_BYTES>().0.iter().zip(scales);
        for (to, (codes, byte)) in to.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks) {
            let fours = simd.fours(scale(*byte));
            for part in 0..BLOCK / S::LANES {
                // SAFETY: a block of codes, and of values.
                unsafe {
                    let values = simd.load_fours(fours, codes.as_ptr(), part);
                    simd.store(values, to.as_mut_ptr().add(part * S::LANES));
                }
            }
        }
    }

    #[inline(always)]
    fn ahead<const N: usize>(self, row: usize, from: usize, count: usize, times: usize) -> Ahead {
        let row_bytes = self.weights.cols / BLOCK * BLOCK_BYTES * self.mxfp4.step;
        let start = self.weights.data.as_ptr().wrapping_add(row * row_bytes + from / BLOCK * BLOCK_BYTES);
        Ahead::new::<N>(start, row_bytes, count / BLOCK * BLOCK_BYTES, times)
    }
}

/// Eight-bit floats.
#[derive(Clone, Copy)]
pub(super) struct Eights<'a> {
    weights: &'a Matrix<'a>,
    fp8: Fp8,
}

impl<'a> Eights<'a> {
    pub(super) fn new(weights: &'a Matrix<'a>, fp8: Fp8) -> Self {
        Self { weights, fp8 }
    }
}

impl Source for Eights<'_> {
    #[inline(always)]
    fn panel_cols(self) -> usize {
        panel_cols(self.weights.cols, 16)
    }

    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "the indices are also places in memory")]
    unsafe fn sums<S: Simd, const M: usize, const N: usize>(
        self,
        simd: S,
        x: Rows<f32>,
        (row, apart): (usize, usize),
        (from, count): (usize, usize),
        stream: bool,
    ) -> [[S::V; N]; M] {
        let (cols, stride) = (self.weights.cols, apart * self.weights.cols);
        let codes = self.weights.data[row * cols + from..][..(N - 1) * stride + count].as_ptr();
        let mut sums = [[simd.splat(0.0); N]; M];
        let mut at = 0;
        // SAFETY: every access is below column `count` of a row of the slice, or of one of `x` that the caller vouches for; prefetches
        // may lie anywhere.
        unsafe {
            while at < count {
                let end = (at + self.fp8.alike(from + at)).min(count);
                let mut scales = [simd.splat(0.0); N];
                for n in 0..N {
                    scales[n] = simd.splat(self.fp8.scale(self.weights.scales, row + n * apart, from + at));
                    if stream {
                        for line in (at..end).step_by(64) {
                            simd.prefetch(codes.wrapping_add(n * stride + line + PREFETCH_BYTES));
                        }
                    }
                }
                while at + S::LANES <= end {
                    let mut row = [simd.splat(0.0); M];
                    for m in 0..M {
                        row[m] = simd.load(x.at.add(m * x.stride + at));
                    }
                    for n in 0..N {
                        let weight = simd.mul(simd.load_e4m3(codes.add(n * stride + at)), scales[n]);
                        for m in 0..M {
                            sums[m][n] = simd.mul_add(row[m], weight, sums[m][n]);
                        }
                    }
                    at += S::LANES;
                }
                // A block is a whole number of registers; only the last may be cut short.
                if at < end {
                    let rest = end - at;
                    for n in 0..N {
                        let weight = simd.mul(E4M3::load_part(simd, codes.add(n * stride + at), rest), scales[n]);
                        for m in 0..M {
                            let x = simd.load_part(x.at.add(m * x.stride + at), rest);
                            sums[m][n] = simd.mul_add(x, weight, sums[m][n]);
                        }
                    }
                    at = end;
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn widen<S: Simd>(self, simd: S, row: usize, from: usize, to: &mut [f32]) {
        let codes = self.weights.data[row * self.weights.cols + from..][..to.len()].as_ptr();
        let mut at = 0;
        while at < to.len() {
            let end = (at + self.fp8.alike(from + at)).min(to.len());
            let scale = simd.splat(self.fp8.scale(self.weights.scales, row, from + at));
            while at < end {
                let count = S::LANES.min(end - at);
                // SAFETY: at + count is inside both slices.
                unsafe {
                    let to = to.as_mut_ptr().add(at);
                    if count == S::LANES {
                        simd.store(simd.mul(simd.load_e4m3(codes.add(at)), scale), to);
                    } else {
                        simd.store_part(simd.mul(E4M3::load_part(simd, codes.add(at), count), scale), to, count);
                    }
                }
                at += count;
            }
        }
    }

    #[inline(always)]
    fn ahead<const N: usize>(self, row: usize, from: usize, count: usize, times: usize) -> Ahead {
        let start = self.weights.data.as_ptr().wrapping_add(row * self.weights.cols + from);
        Ahead::new::<N>(start, self.weights.cols, count, times)
    }
}
