//! Root mean square normalisation (Zhang & Sennrich 2019).

use super::shared::{Output, Scratch};
use super::simd::{Kernel, Simd};
use super::{Isa, Matrix, Parallel};

/// Rows of one task are at least this many values in all: below that a thread is not worth waking.
const TASK_VALUES: usize = 1 << 15;

/// `y = x / sqrt(mean(x^2) + eps) * weight` for each row of `x`, all in `f32`; `weight` is `1 x width`.
pub fn rms_norm(isa: Isa, par: &dyn Parallel, x: &[f32], weight: &Matrix, eps: f32, y: &mut [f32]) {
    let width = weight.cols;
    if width == 0 || x.is_empty() {
        return;
    }
    let rows = x.len() / width;
    let per_task = (TASK_VALUES / width).max(1);
    let y = Output::new(par, y);
    let mut scratch = Scratch::take(width);
    let wide = &mut scratch.values()[..width];
    weight.widen(0, wide);
    let wide = &*wide;
    par.run(rows.div_ceil(per_task), &|task| {
        let from = task * per_task;
        let count = per_task.min(rows - from);
        let x = &x[from * width..][..count * width];
        // SAFETY: every task has its own rows.
        let y = unsafe { y.slice(from * width, count * width) };
        isa.run(Rows { x, weight: wide, eps, y });
    });
}

/// Some rows to normalise.
struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            normalise(simd, x, self.weight, self.eps, y);
        }
    }
}

/// Normalises one row. `x`, `weight` and `y` are equally long.
#[inline(always)]
pub(super) fn normalise<S: Simd>(simd: S, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let width = x.len().min(weight.len()).min(y.len());
    let (whole, rest) = (width / S::LANES * S::LANES, width % S::LANES);
    // Four sums, so that one addition need not wait for the last.
    let mut sums = [simd.splat(0.0); 4];
    for (i, at) in (0..whole).step_by(S::LANES).enumerate() {
        // SAFETY: at + LANES <= whole <= width.
        let v = unsafe { simd.load(x.as_ptr().add(at)) };
        sums[i % 4] = simd.mul_add(v, v, sums[i % 4]);
    }
    // SAFETY: whole + rest == width.
    let v = unsafe { simd.load_part(x.as_ptr().add(whole), rest) };
    sums[0] = simd.mul_add(v, v, sums[0]);
    let sum = simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])));
    #[allow(clippy::cast_precision_loss, reason = "no model is 2^24 wide")]
    let scale = simd.splat(1.0 / (sum / width as f32 + eps).sqrt());
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: at + LANES <= whole <= width.
        unsafe {
            let v = simd.mul(simd.load(x.as_ptr().add(at)), scale);
            simd.store(simd.mul(v, simd.load(weight.as_ptr().add(at))), y.as_mut_ptr().add(at));
        }
    }
    // SAFETY: whole + rest == width.
    unsafe {
        let v = simd.mul(simd.load_part(x.as_ptr().add(whole), rest), scale);
        let w = simd.load_part(weight.as_ptr().add(whole), rest);
        simd.store_part(simd.mul(v, w), y.as_mut_ptr().add(whole), rest);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, Stored, Threads, bits};
    use super::super::{Dtype, Serial};
    use super::*;

    #[test]
    fn every_width_agrees_with_f64_and_rows_are_independent() {
        for isa in Isa::available() {
            for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
                for width in [1, 7, 16, 31, 33, 50, 64, 896] {
                    let rows = if width == 896 { 90 } else { 5 };
                    let x = Random::new(1).values(rows * width);
                    let weight = Stored::new(1, width, dtype, 2);
                    let mut y = vec![f32::NAN; rows * width];
                    rms_norm(isa, &Threads(3), &x, &weight.matrix(), 1e-6, &mut y);
                    for (x, y) in x.chunks(width).zip(y.chunks(width)) {
                        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                        for (i, y) in y.iter().enumerate() {
                            let expected = f64::from(x[i]) * f64::from(weight.values[i]) / (mean + 1e-6).sqrt();
                            assert!(
                                (f64::from(*y) - expected).abs() <= 1e-5 * expected.abs(),
                                "{isa:?} {dtype:?} {width}: {y}"
                            );
                        }
                        let mut alone = vec![f32::NAN; width];
                        rms_norm(isa, &Serial, x, &weight.matrix(), 1e-6, &mut alone);
                        assert_eq!(bits(&alone), bits(y));
                    }
                }
            }
        }
    }
}
