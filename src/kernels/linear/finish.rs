//! From sums to results.

use super::super::shared::Output;
use super::super::simd::Simd;

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
