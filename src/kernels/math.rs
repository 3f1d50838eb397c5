//! Functions of a register that no instruction set has.

use super::simd::Simd;

/// Below this `exp` would leave the normal numbers; it is held at 2^-126 there.
const LOW: f32 = -87.336_54;
/// Above this the exponent would overflow; `exp` is held at `e^88` there.
const HIGH: f32 = 88.0;
/// `1.5 * 2^23`: adding it rounds to an integer and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x` within 2 units in the last place on [-87.33, 88], held constant outside; exactly 1 at 0.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, `ln 2` in two parts so that `r` is exact to the last bits (Cody & Waite 1980), and a
/// polynomial of degree 7 for `e^r` with the coefficients of Cephes' `expf` (Moshier 1992).
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    let c = |value| simd.splat(value);
    let x = simd.max(c(LOW), simd.min(c(HIGH), x));
    let shifted = simd.mul_add(x, c(std::f32::consts::LOG2_E), c(ROUND));
    let n = simd.sub(shifted, c(ROUND));
    let r = simd.mul_add(n, c(-355.0 / 512.0), x);
    let r = simd.mul_add(n, c(2.121_944_4e-4), r);
    let p = simd.mul_add(c(1.987_569_2e-4), r, c(1.398_199_9e-3));
    let p = simd.mul_add(p, r, c(8.333_452e-3));
    let p = simd.mul_add(p, r, c(4.166_579_6e-2));
    let p = simd.mul_add(p, r, c(1.666_666_6e-1));
    let p = simd.mul_add(p, r, c(0.5));
    let p = simd.add(simd.mul_add(simd.mul(r, r), p, r), c(1.0));
    simd.mul(p, simd.power_of_two(shifted))
}

/// `x / (1 + e^-x)`, the sigmoid linear unit (Elfwing et al. 2018; "swish").
#[inline(always)]
pub(super) fn silu<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    simd.div(x, simd.add(one, exp(simd, simd.sub(simd.splat(0.0), x))))
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::simd::Kernel;
    use super::*;

    /// Maps every value, a register at a time.
    struct Each<'a>(&'a mut [f32], bool);

    impl Kernel for Each<'_> {
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for values in self.0.chunks_mut(S::LANES) {
                // SAFETY: as many lanes as values.
                unsafe {
                    let v = simd.load_part(values.as_ptr(), values.len());
                    let v = if self.1 { exp(simd, v) } else { silu(simd, v) };
                    simd.store_part(v, values.as_mut_ptr(), values.len());
                }
            }
        }
    }

    #[test]
    fn exp_is_within_two_units_of_the_last_place() {
        for isa in Isa::available() {
            let x: Vec<f32> = (-873_300..=880_000_i32).step_by(7).map(|i| i as f32 * 1e-4).collect();
            let mut y = x.clone();
            isa.run(Each(&mut y, true));
            for (x, y) in x.iter().zip(&y) {
                let expected = f64::from(*x).exp();
                assert!(
                    (f64::from(*y) / expected - 1.0).abs() < 2.0 * f64::from(f32::EPSILON),
                    "{isa:?}: exp({x}) is {y}"
                );
            }
            let mut special = [0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
            isa.run(Each(&mut special, true));
            assert_eq!(special[..2], [1.0, 1.0]);
            assert!(special[2] < 2e-38 && special[3] > 1e38 && special[4].is_nan(), "{isa:?}: {special:?}");
        }
    }

    #[test]
    fn silu_is_exact_to_a_few_units() {
        for isa in Isa::available() {
            let x: Vec<f32> = (-80_000..=80_000_i32).step_by(3).map(|i| i as f32 * 1e-3).collect();
            let mut y = x.clone();
            isa.run(Each(&mut y, false));
            for (x, y) in x.iter().zip(&y) {
                let expected = f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
                let error = (f64::from(*y) - expected).abs();
                assert!(error <= 4.0 * f64::from(f32::EPSILON) * expected.abs(), "{isa:?}: silu({x}) is {y}");
            }
            let mut special = [-1e30, 1e30, f32::NAN];
            isa.run(Each(&mut special, false));
            assert!(special[0].abs() < 1e-7 && special[1] > 9e29 && special[2].is_nan(), "{isa:?}: {special:?}");
        }
    }
}
