//! Normalisation of rows: by the root mean square (Zhang & Sennrich 2019), or by mean and variance (Ba et al. 2016).

use super::shared::{Output, Scratch};
use super::simd::{Kernel, Simd};
use super::{Isa, Matrix, Parallel};

/// Rows of one task are at least this many values in all: below that a thread is not worth waking.
const TASK_VALUES: usize = 1 << 15;

/// What a row is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// The root of the mean of its squares.
    Rms,
    /// Its standard deviation, after its mean was taken off (`LayerNorm`).
    Layer,
}

/// How rows are normalised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// What a row is divided by.
    pub kind: NormKind,
    /// Added to every weight, in `f32`: 1 where a checkpoint has the weights' distances from one (Gemma), else 0.
    pub offset: f32,
    /// Added to the mean of the squares.
    pub eps: f32,
}

impl Norm {
    /// By the root mean square, with weights as they are.
    #[must_use]
    pub const fn rms(eps: f32) -> Self {
        Self { kind: NormKind::Rms, offset: 0.0, eps }
    }

    /// By mean and variance, with weights as they are.
    #[must_use]
    pub const fn layer(eps: f32) -> Self {
        Self { kind: NormKind::Layer, offset: 0.0, eps }
    }

    /// The weights that rows are multiplied by: ones if there are none.
    pub(super) fn widen(&self, weight: Option<&Matrix>, to: &mut [f32]) {
        let Some(weight) = weight else { return to.fill(1.0) };
        weight.widen(0, to);
        if self.offset != 0.0 {
            for weight in to {
                *weight += self.offset;
            }
        }
    }
}

/// Normalises each row of `width` values of `x`, multiplies it by `weight` and adds `bias`, both `1 x width`, all in `f32`.
///
/// A row may also be one head of several: heads that share a weight are rows one after another. A `weight` of `heads x width` has a
/// row for each head in turn.
#[allow(clippy::too_many_arguments, reason = "it is the formula")]
pub fn norm(
    isa: Isa,
    par: &dyn Parallel,
    norm: &Norm,
    x: &[f32],
    width: usize,
    weight: Option<&Matrix>,
    bias: Option<&Matrix>,
    y: &mut [f32],
) {
    if width == 0 || x.is_empty() {
        return;
    }
    let rows = x.len() / width;
    let per_task = (TASK_VALUES / width).max(1);
    let y = Output::new(par, y);
    let heads = weight.map_or(1, |weight| (weight.rows * weight.cols / width).max(1));
    let mut scratch = Scratch::take((heads + 1) * width);
    let (weights, wide_bias) = scratch.values()[..(heads + 1) * width].split_at_mut(heads * width);
    norm.widen(weight, weights);
    if let Some(bias) = bias {
        bias.widen(0, wide_bias);
    }
    let (weights, bias) = (&*weights, bias.map(|_| &*wide_bias));
    par.run(rows.div_ceil(per_task), &|task| {
        let from = task * per_task;
        let count = per_task.min(rows - from);
        let x = &x[from * width..][..count * width];
        // SAFETY: every task has its own rows.
        let y = unsafe { y.slice(from * width, count * width) };
        isa.run(Rows { norm: *norm, x, width, first: from, weights, bias, y });
    });
}

/// Some rows to normalise.
struct Rows<'a> {
    norm: Norm,
    x: &'a [f32],
    width: usize,
    /// The number of the first one.
    first: usize,
    /// A row for each head.
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { norm, x, width, first, weights, bias, y } = self;
        let heads = weights.len() / width;
        for (row, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
            let weight = &weights[(first + row) % heads * width..][..width];
            Weighted { norm, weight, bias }.normalise(simd, x, y);
        }
    }
}

/// A norm with its weights.
#[derive(Clone, Copy)]
pub(super) struct Weighted<'a> {
    pub(super) norm: Norm,
    pub(super) weight: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
}

impl Weighted<'_> {
    /// Normalises one row. `x`, the weights and `y` are equally long.
    #[inline(always)]
    pub(super) fn normalise<S: Simd>(&self, simd: S, x: &[f32], y: &mut [f32]) {
        // SAFETY: both are as long.
        unsafe { self.between(simd, x.as_ptr(), y.as_mut_ptr(), x.len().min(y.len())) }
    }

    /// The same in place.
    #[inline(always)]
    pub(super) fn normalise_in_place<S: Simd>(&self, simd: S, x: &mut [f32]) {
        let x_ptr = x.as_mut_ptr();
        // SAFETY: the row is as long.
        unsafe { self.between(simd, x_ptr, x_ptr, x.len()) }
    }

    /// # Safety
    /// `x` has `width` values to read and `y` room for as many; they are one place, or do not overlap.
    #[inline(always)]
    unsafe fn between<S: Simd>(&self, simd: S, x: *const f32, y: *mut f32, width: usize) {
        let Self { norm, weight, bias } = self;
        let width = width.min(weight.len()).min(bias.map_or(usize::MAX, <[f32]>::len));
        let (whole, rest) = (width / S::LANES * S::LANES, width % S::LANES);
        #[allow(clippy::cast_precision_loss, reason = "no model is 2^24 wide")]
        let count = width as f32;
        // To take off a mean of zero leaves every value as it is.
        // SAFETY: as above, and nothing is written as long as the row is read as a slice.
        let row = || unsafe { std::slice::from_raw_parts(x, width) };
        let mean = match norm.kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => sum::<S, false>(simd, row(), [simd.splat(0.0); 2]) / count,
        };
        // Lanes without a value have no mean either.
        let (means, lanes) = (simd.splat(mean), [mean; 16]);
        // SAFETY: rest < LANES <= 16.
        let last_means = unsafe { simd.load_part(lanes.as_ptr(), rest) };
        let squares = sum::<S, true>(simd, row(), [means, last_means]);
        let scale = simd.splat(1.0 / (squares / count + norm.eps).sqrt());
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: at + LANES <= whole <= width, and values are read before others are written in their place.
            unsafe {
                let v = simd.mul(simd.sub(simd.load(x.add(at)), means), scale);
                let w = simd.load(weight.as_ptr().add(at));
                let v = match bias {
                    None => simd.mul(v, w),
                    Some(bias) => simd.mul_add(v, w, simd.load(bias.as_ptr().add(at))),
                };
                simd.store(v, y.add(at));
            }
        }
        // SAFETY: whole + rest == width.
        unsafe {
            let v = simd.mul(simd.sub(simd.load_part(x.add(whole), rest), last_means), scale);
            let w = simd.load_part(weight.as_ptr().add(whole), rest);
            let v = match bias {
                None => simd.mul(v, w),
                Some(bias) => simd.mul_add(v, w, simd.load_part(bias.as_ptr().add(whole), rest)),
            };
            simd.store_part(v, y.add(whole), rest);
        }
    }
}

/// The sum over a row's values less `means`, of which the second is that of the last register, or of their squares.
#[inline(always)]
pub(super) fn sum<S: Simd, const SQUARES: bool>(simd: S, x: &[f32], means: [S::V; 2]) -> f32 {
    let (whole, rest) = (x.len() / S::LANES * S::LANES, x.len() % S::LANES);
    let one = simd.splat(1.0);
    // Four sums, so that one addition need not wait for the last.
    let mut sums = [simd.splat(0.0); 4];
    for (i, at) in (0..whole).step_by(S::LANES).enumerate() {
        // SAFETY: at + LANES <= whole.
        let v = simd.sub(unsafe { simd.load(x.as_ptr().add(at)) }, means[0]);
        sums[i % 4] = simd.mul_add(v, if SQUARES { v } else { one }, sums[i % 4]);
    }
    // SAFETY: whole + rest is the row's length.
    let v = simd.sub(unsafe { simd.load_part(x.as_ptr().add(whole), rest) }, means[1]);
    sums[0] = simd.mul_add(v, if SQUARES { v } else { one }, sums[0]);
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, Stored, Threads, bits};
    use super::super::{Dtype, Layout, Serial};
    use super::*;

    /// Compares every row with f64 and with the row alone.
    fn check(isa: Isa, how: &Norm, width: usize, dtype: Dtype, [weighted, biased]: [bool; 2]) {
        let rows = if width == 896 { 90 } else { 5 };
        // Not centred, so that the mean matters.
        let x: Vec<f32> = Random::new(1).values(rows * width).iter().map(|x| x + 0.5).collect();
        let [weight, bias] = [2, 3].map(|seed| Stored::new(1, width, dtype, seed));
        let (weight_matrix, bias_matrix) = (weight.matrix(), bias.matrix());
        let run = |par: &dyn Parallel, x: &[f32]| {
            let mut y = vec![f32::NAN; x.len()];
            let (weight, bias) = (weighted.then_some(&weight_matrix), biased.then_some(&bias_matrix));
            norm(isa, par, how, x, width, weight, bias, &mut y);
            y
        };
        let y = run(&Threads(3), &x);
        for (x, y) in x.chunks(width).zip(y.chunks(width)) {
            let exact: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let mean = match how.kind {
                NormKind::Rms => 0.0,
                NormKind::Layer => exact.iter().sum::<f64>() / width as f64,
            };
            let squares = exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            let deviation = (squares + f64::from(how.eps)).sqrt();
            for (i, y) in y.iter().enumerate() {
                let weight = if weighted { f64::from(weight.values[i]) + f64::from(how.offset) } else { 1.0 };
                let bias = if biased { f64::from(bias.values[i]) } else { 0.0 };
                let expected = (exact[i] - mean) / deviation * weight + bias;
                let magnitude = (exact[i].abs() + mean.abs()) / deviation * (weight.abs() + 1e-2) + bias.abs();
                let error = (f64::from(*y) - expected).abs();
                assert!(error <= 2e-6 * magnitude, "{isa:?} {how:?} {dtype:?} {width}: {y}, expected {expected}");
            }
            assert_eq!(bits(&run(&Serial, x)), bits(y), "{isa:?} {how:?} {width}");
        }
    }

    #[test]
    fn every_width_agrees_with_f64_and_rows_are_independent() {
        for isa in Isa::available() {
            for width in [1, 7, 16, 31, 33, 50, 64, 896] {
                for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
                    check(isa, &Norm::rms(1e-6), width, dtype, [true, false]);
                }
                let offset = Norm { offset: 1.0, ..Norm::rms(1e-6) };
                check(isa, &offset, width, Dtype::BF16, [true, false]);
                for norm in [Norm::rms(1e-6), Norm::layer(1e-5)] {
                    for has in [[true, true], [true, false], [false, true], [false, false]] {
                        check(isa, &norm, width, Dtype::F32, has);
                    }
                }
            }
        }
    }

    /// A head's row is what it is under its own weight alone, whichever task it is in.
    #[test]
    fn heads_may_have_weights_of_their_own() {
        const HEADS: usize = 3;
        for isa in Isa::available() {
            for (width, tokens) in [(7, 4), (48, 600)] {
                let x = Random::new(1).values(tokens * HEADS * width);
                let weights: Vec<_> =
                    (0..HEADS as u64).map(|head| Stored::new(1, width, Dtype::F32, 2 + head)).collect();
                let data: Vec<u8> =
                    weights.iter().flat_map(|weight| &weight.values).flat_map(|value| value.to_le_bytes()).collect();
                let all =
                    Matrix { layout: Layout::Rows(Dtype::F32), rows: HEADS, cols: width, data: &data, scales: &[] };
                let mut y = vec![f32::NAN; x.len()];
                norm(isa, &Threads(3), &Norm::layer(1e-5), &x, width, Some(&all), None, &mut y);
                for (row, (x, y)) in x.chunks(width).zip(y.chunks(width)).enumerate() {
                    let mut alone = vec![f32::NAN; width];
                    let weight = weights[row % HEADS].matrix();
                    norm(isa, &Serial, &Norm::layer(1e-5), x, width, Some(&weight), None, &mut alone);
                    assert_eq!(bits(&alone), bits(y), "{isa:?} {width} {row}");
                }
            }
        }
    }

    #[test]
    fn a_bad_value_stays_in_its_row() {
        for isa in Isa::available() {
            for how in [Norm::rms(1e-6), Norm::layer(1e-5)] {
                let mut x = Random::new(1).values(3 * 33);
                x[40] = f32::NAN;
                let mut y = vec![0.0; 3 * 33];
                norm(isa, &Serial, &how, &x, 33, None, None, &mut y);
                assert!(y[33..66].iter().all(|y| y.is_nan()), "{isa:?}");
                assert!(y[..33].iter().chain(&y[66..]).all(|y| y.is_finite()), "{isa:?}");
            }
        }
    }
}
