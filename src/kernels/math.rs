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

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    simd.div(one, simd.add(one, exp(simd, simd.sub(simd.splat(0.0), x))))
}

/// `tanh x` within 3 units in the last place: `x p(x^2) / q(x^2)` on [-7.9, 7.9], beyond which it is 1 to the last bits (the
/// coefficients of Eigen's and XLA's `tanh`).
#[inline(always)]
pub(super) fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    const BOUND: f32 = 7.905_311;
    let c = |value| simd.splat(value);
    let x = simd.max(c(-BOUND), simd.min(c(BOUND), x));
    let squared = simd.mul(x, x);
    let p = simd.mul_add(c(-2.760_768_5e-16), squared, c(2.000_188e-13));
    let p = simd.mul_add(p, squared, c(-8.604_672e-11));
    let p = simd.mul_add(p, squared, c(5.122_297e-8));
    let p = simd.mul_add(p, squared, c(1.485_722_4e-5));
    let p = simd.mul_add(p, squared, c(6.372_619_5e-4));
    let p = simd.mul_add(p, squared, c(4.893_524_7e-3));
    let q = simd.mul_add(c(1.198_258_4e-6), squared, c(1.185_347_1e-4));
    let q = simd.mul_add(q, squared, c(2.268_434_6e-3));
    let q = simd.mul_add(q, squared, c(4.893_525e-3));
    simd.div(simd.mul(x, p), q)
}

/// `x (1 + erf(x / sqrt 2)) / 2`, the Gaussian error linear unit (Hendrycks & Gimpel 2016), as
/// `max(x, 0) - |x| erfc(|x| / sqrt 2) / 2`, in which nothing cancels. The complementary error function is that of Numerical
/// Recipes (`erfcc`, Press et al. 1992): a relative error of `1.2e-7` beside that of the exponential.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::V) -> S::V {
    let c = |value| simd.splat(value);
    // From 20 on `erfc` is nothing.
    let magnitude = simd.min(c(20.0), simd.max(x, simd.sub(c(0.0), x)));
    let z = simd.mul(magnitude, c(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.div(c(1.0), simd.mul_add(z, c(0.5), c(1.0)));
    let p = simd.mul_add(c(0.170_872_77), t, c(-0.822_152_23));
    let p = simd.mul_add(p, t, c(1.488_515_9));
    let p = simd.mul_add(p, t, c(-1.135_204));
    let p = simd.mul_add(p, t, c(0.278_868_07));
    let p = simd.mul_add(p, t, c(-0.186_288_06));
    let p = simd.mul_add(p, t, c(0.096_784_18));
    let p = simd.mul_add(p, t, c(0.374_091_96));
    let p = simd.mul_add(p, t, c(1.000_023_7));
    let p = simd.mul_add(p, t, c(-1.265_512_2));
    let half_erfc = simd.mul(simd.mul(t, c(0.5)), exp(simd, simd.sub(p, simd.mul(z, z))));
    simd.sub(simd.max(c(0.0), x), simd.mul(magnitude, half_erfc))
}

/// `x (1 + tanh u) / 2` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, what is called GELU's tanh approximation. It is
/// `x / (1 + e^-2u)`, in which nothing cancels.
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    // 2 sqrt(2 / pi).
    const SCALE: f32 = 1.595_769;
    let cubic = simd.mul_add(simd.mul(x, x), simd.splat(-SCALE * 0.044_715), simd.splat(-SCALE));
    simd.div(x, simd.add(simd.splat(1.0), exp(simd, simd.mul(x, cubic))))
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
