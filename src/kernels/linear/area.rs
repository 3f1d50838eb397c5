//! One task's area of a layer: some tokens by some rows of weights, cut into tiles in one of two ways.

use super::super::shared::{Output, Scratch};
use super::super::simd::{BF16, F16, F32};
use super::super::simd::{Kernel, Simd};
use super::super::{Dtype, Layout, Matrix};
use super::finish::Finish;
use super::source::{Eights, Fours, Plain, Source};
use super::tile::{Ahead, Rows, accumulate, fold};
use std::ops::Range;

/// Up to this many tokens the weights are widened where they are used, again for every three tokens; beyond, once into a panel
/// that all tokens share.
pub(super) const DIRECT_TOKENS: usize = 9;
/// Tokens that use a panel before the next rows are widened into it, where there are 16 registers (AVX2): their columns of a panel,
/// 229 KB, stay in the second-level cache of 256 or 512 KB that such processors have. With 32 registers it is all of a task.
const PANEL_TOKENS: usize = 64;

/// Values from one token to the next.
#[derive(Clone, Copy)]
pub(in super::super) struct Apart {
    /// In what goes in.
    pub(in super::super) x: usize,
    /// In the result.
    pub(in super::super) y: usize,
}

/// An area of one layer: these tokens by these rows of weights.
pub(super) struct PlainArea<'a> {
    pub(super) x: &'a [f32],
    pub(super) weights: &'a Matrix<'a>,
    pub(super) bias: Option<&'a Matrix<'a>>,
    pub(super) finish: &'a Finish<'a>,
    pub(super) y: &'a Output<'a>,
    pub(super) apart: Apart,
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

impl Kernel for PlainArea<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.weights.layout {
            Layout::Rows(Dtype::F32) => self.strips(simd, Plain::<F32>::new(self.weights)),
            Layout::Rows(Dtype::F16) => self.strips(simd, Plain::<F16>::new(self.weights)),
            Layout::Rows(Dtype::BF16) => self.strips(simd, Plain::<BF16>::new(self.weights)),
            Layout::Mxfp4(mxfp4) => self.strips(simd, Fours::new(self.weights, mxfp4)),
            Layout::Fp8(fp8) if fp8.is_readable() => self.strips(simd, Eights::new(self.weights, fp8)),
            Layout::Tiles(_) | Layout::Fp8(_) | Layout::Scales => self.y.incomplete(),
        }
    }
}

impl PlainArea<'_> {
    /// As many rows at once as the registers hold beside three tokens: 3 x 8 or 3 x 4 sums.
    #[inline(always)]
    fn strips<S: Simd, W: Source>(&self, simd: S, source: W) {
        let (rows, tokens) = (self.rows.len(), self.tokens.len());
        let panel_len = 8 * source.panel_cols();
        let bias_len = rows.next_multiple_of(16);
        let mut scratch = Scratch::take(panel_len + bias_len + tokens * rows);
        let (panel, rest) = scratch.values().split_at_mut(panel_len);
        let (bias, totals) = rest.split_at_mut(bias_len);
        let totals = &mut totals[..tokens * rows];
        match (tokens <= DIRECT_TOKENS, S::REGISTERS >= 32) {
            (true, true) => self.direct::<S, W, 8>(simd, source, totals),
            (true, false) => self.direct::<S, W, 4>(simd, source, totals),
            (false, true) => self.shared::<S, W, 8>(simd, source, panel, totals),
            (false, false) => self.shared::<S, W, 4>(simd, source, &mut panel[..panel_len / 2], totals),
        }
        let bias = &mut bias[..rows];
        match self.bias {
            Some(matrix) => matrix.widen(self.rows.start, bias),
            None => bias.fill(0.0),
        }
        for (token, totals) in totals.chunks_exact(rows.max(1)).enumerate() {
            let from = (self.tokens.start + token) * self.apart.y + self.rows.start;
            // SAFETY: no other task has these tokens of these rows.
            unsafe { self.finish.write(simd, self.y, from, totals, bias) };
        }
    }

    /// Few tokens, straight from the weights. A tile's rows lie far apart, each the next of its own run of rows: memory serves
    /// several long streams faster than one (measured: 16 GB/s a core against 11).
    #[inline(always)]
    fn direct<S: Simd, W: Source, const N: usize>(&self, simd: S, source: W, totals: &mut [f32]) {
        let rows = self.rows.len();
        let apart = rows / N;
        for row in 0..apart {
            self.direct_strip::<S, W, N>(simd, source, (row, apart), totals);
        }
        for row in apart * N..rows {
            self.direct_strip::<S, W, 1>(simd, source, (row, 1), totals);
        }
    }

    /// Rows `row`, `row + apart` and so on of the area, all tokens.
    #[inline(always)]
    fn direct_strip<S: Simd, W: Source, const N: usize>(
        &self,
        simd: S,
        source: W,
        rows: (usize, usize),
        totals: &mut [f32],
    ) {
        let mut token = 0;
        while token < self.tokens.len() {
            let take = share::<S, N>(self.tokens.len() - token);
            match take {
                2 if S::TOKENS >= 2 && N > 1 => self.direct_tile::<S, W, 2, N>(simd, source, rows, token, totals),
                3 if S::TOKENS >= 3 && N > 1 => self.direct_tile::<S, W, 3, N>(simd, source, rows, token, totals),
                _ => self.direct_tile::<S, W, 1, N>(simd, source, rows, token, totals),
            }
            token += take;
        }
    }

    #[inline(always)]
    fn direct_tile<S: Simd, W: Source, const M: usize, const N: usize>(
        &self,
        simd: S,
        source: W,
        (row, apart): (usize, usize),
        token: usize,
        totals: &mut [f32],
    ) {
        let (rows, cols) = (self.rows.len(), self.weights.cols);
        let stride = self.apart.x;
        let x = self.x[(self.tokens.start + token) * stride..][..(M - 1) * stride + cols].as_ptr();
        let panel_cols = source.panel_cols();
        for from in (0..cols).step_by(panel_cols) {
            let count = panel_cols.min(cols - from);
            // SAFETY: the slice holds M rows of cols values. Only the first tokens meet the weights in memory.
            let sums = unsafe {
                let x = Rows { at: x.add(from), stride };
                source.sums::<S, M, N>(simd, x, (self.rows.start + row, apart), (from, count), token == 0)
            };
            for (m, sums) in sums.iter().enumerate() {
                let totals = totals[(token + m) * rows + row..].iter_mut().step_by(apart);
                for (total, sum) in totals.zip(fold(simd, sums)) {
                    // Zero first, as in the panels: it makes a difference to minus zero.
                    *total = sum + if from == 0 { 0.0 } else { *total };
                }
            }
        }
    }

    /// Many tokens: `N` rows of a panel are widened once and used by all, or by as many as [`PANEL_TOKENS`]. Panel by panel, so
    /// that the tokens' columns of one panel stay in the second-level cache while the weights pass by; the folded sums wait in
    /// scratch memory.
    #[inline(always)]
    fn shared<S: Simd, W: Source, const N: usize>(&self, simd: S, source: W, panel: &mut [f32], totals: &mut [f32]) {
        let (rows, cols, all) = (self.rows.len(), self.weights.cols, self.tokens.len());
        let panel_cols = source.panel_cols();
        let parts = if S::REGISTERS >= 32 { 1 } else { all.div_ceil(PANEL_TOKENS) };
        let each = all.div_ceil(parts).next_multiple_of(S::TOKENS);
        totals.fill(0.0);
        for from in (0..cols).step_by(panel_cols) {
            let count = panel_cols.min(cols - from);
            for token in (0..all).step_by(each) {
                let tokens = token..(token + each).min(all);
                let mut part = PanelPart { row: 0, tokens, from, count };
                while part.row + N <= rows {
                    self.shared_strip::<S, W, N>(simd, source, &part, panel, totals);
                    part.row += N;
                }
                while part.row < rows {
                    self.shared_strip::<S, W, 1>(simd, source, &part, &mut panel[..panel_cols], totals);
                    part.row += 1;
                }
            }
        }
    }

    /// `N` rows of one panel, some tokens.
    #[inline(always)]
    fn shared_strip<S: Simd, W: Source, const N: usize>(
        &self,
        simd: S,
        source: W,
        part: &PanelPart,
        panel: &mut [f32],
        totals: &mut [f32],
    ) {
        let row = self.rows.start + part.row;
        let stride = panel.len() / N;
        for n in 0..N {
            source.widen(simd, row + n, part.from, &mut panel[n * stride..][..part.count]);
        }
        let times = part.tokens.len().div_ceil(S::TOKENS);
        let ahead = source.ahead::<N>(row + N, part.from, part.count, times);
        simd.run_apart(PanelStrip::<N> { area: self, part, panel, ahead, totals });
    }

    /// One tile's share of one panel.
    #[inline(always)]
    fn panel_tile<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        part: &PanelPart,
        token: usize,
        panel: &[f32],
        totals: &mut [f32],
    ) {
        let apart = self.apart.x;
        let x = self.x[(self.tokens.start + token) * apart + part.from..][..(M - 1) * apart + part.count].as_ptr();
        let stride = panel.len() / N;
        let w = panel[..(N - 1) * stride + part.count].as_ptr().cast();
        // SAFETY: x holds M rows of cols values from column `from` on, the panel N rows of `stride` values.
        let sums = unsafe {
            accumulate::<S, F32, M, N>(
                simd,
                Rows { at: x, stride: apart },
                Rows { at: w, stride: stride * 4 },
                part.count,
                false,
            )
        };
        let rows = self.rows.len();
        for (m, sums) in sums.iter().enumerate() {
            let totals = &mut totals[(token + m) * rows + part.row..][..N];
            for (total, sum) in totals.iter_mut().zip(fold(simd, sums)) {
                *total += sum;
            }
        }
    }
}

/// `N` rows of a panel by some tokens, whatever the weights were widened from.
struct PanelStrip<'a, const N: usize> {
    area: &'a PlainArea<'a>,
    part: &'a PanelPart,
    panel: &'a [f32],
    ahead: Ahead,
    totals: &'a mut [f32],
}

impl<const N: usize> Kernel for PanelStrip<'_, N> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { area, part, panel, mut ahead, totals } = self;
        let mut token = part.tokens.start;
        while token < part.tokens.end {
            ahead.ask(simd);
            let take = share::<S, N>(part.tokens.end - token);
            match take {
                2 if S::TOKENS >= 2 && N > 1 => area.panel_tile::<S, 2, N>(simd, part, token, panel, totals),
                3 if S::TOKENS >= 3 && N > 1 => area.panel_tile::<S, 3, N>(simd, part, token, panel, totals),
                _ => area.panel_tile::<S, 1, N>(simd, part, token, panel, totals),
            }
            token += take;
        }
    }
}

/// How many of the tokens left the next tile of `N` rows takes: 4 as 2 + 2, not 3 + 1. Single rows, which are what is left over, take
/// one: they are too few for a shape of their own.
#[inline(always)]
fn share<S: Simd, const N: usize>(left: usize) -> usize {
    match (N, left) {
        (1, _) => 1,
        (_, 4) if S::TOKENS == 3 => 2,
        _ => left.min(S::TOKENS),
    }
}

/// Part of a panel's work: its first row and tokens, counted from the area's first, and the panel's columns.
struct PanelPart {
    row: usize,
    tokens: Range<usize>,
    from: usize,
    count: usize,
}
