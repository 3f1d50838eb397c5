//! Rows of which only the largest values are kept, found by where they lie in a normal distribution instead of by sorting (Gemma 3n).

use super::elementwise::each_row;
use super::norm::sum;
use super::simd::{Kernel, Simd};
use super::{Isa, Parallel};

/// `y = max(x - cutoff, 0)` in rows of `width` values, with each row's mean and so many standard deviations as its cutoff.
pub fn above_mean(isa: Isa, par: &dyn Parallel, x: &[f32], width: usize, deviations: f32, y: &mut [f32]) {
    if width == 0 {
        return;
    }
    each_row(par, x.len() / width, width, y, |row, y| isa.run(Above { x: &x[row * width..][..width], deviations, y }));
}

struct Above<'a> {
    x: &'a [f32],
    deviations: f32,
    y: &'a mut [f32],
}

impl Kernel for Above<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, deviations, y } = self;
        #[allow(clippy::cast_precision_loss, reason = "no model is 2^24 wide")]
        let count = x.len() as f32;
        let mean = sum::<S, false>(simd, x, [simd.splat(0.0); 2]) / count;
        // Lanes without a value have no mean either.
        let lanes = [mean; 16];
        // SAFETY: fewer than LANES <= 16.
        let last = unsafe { simd.load_part(lanes.as_ptr(), x.len() % S::LANES) };
        let deviation = (sum::<S, true>(simd, x, [simd.splat(mean), last]) / count).sqrt();
        let cutoff = simd.splat(mean + deviation * deviations);
        let len = x.len().min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let above = simd.sub(simd.load_part(x.as_ptr().add(at), count), cutoff);
                simd.store_part(simd.max(simd.splat(0.0), above), y.as_mut_ptr().add(at), count);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_precision_loss, reason = "test values are small")]
mod tests {
    use super::super::testing::{Random, Threads};
    use super::*;

    #[test]
    fn values_above_the_cutoff_agree_with_f64() {
        for isa in Isa::available() {
            for (rows, width) in [(1, 1), (5, 7), (3, 33), (700, 100)] {
                for deviations in [-0.5, 0.0, 1.25] {
                    let x: Vec<f32> = Random::new(1).values(rows * width).iter().map(|x| x + 0.25).collect();
                    let mut y = vec![f32::NAN; x.len()];
                    above_mean(isa, &Threads(3), &x, width, deviations, &mut y);
                    for (x, y) in x.chunks(width).zip(y.chunks(width)) {
                        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
                        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
                        let cutoff = mean + variance.sqrt() * f64::from(deviations);
                        for (x, y) in x.iter().zip(y) {
                            let expected = (f64::from(*x) - cutoff).max(0.0);
                            assert!((f64::from(*y) - expected).abs() < 1e-6, "{isa:?} {rows} {width}: {y}");
                        }
                    }
                }
            }
        }
    }
}
