//! The functions between the two halves of a feed-forward layer.

use std::ops::Range;

use super::elementwise::{Function, each};
use super::math::{gelu, gelu_tanh, sigmoid, silu};
use super::shared::Output;
use super::simd::{Kernel, Simd};
use super::{Isa, Parallel};

/// What a feed-forward layer does to its first product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x / (1 + e^-x)`, also called swish.
    Silu,
    /// `x (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// Its approximation with `tanh`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    Relu2,
    /// `g / (1 + e^-(alpha g))` with `g = min(x, limit)`. What it is multiplied by in a [gated](super::gated) layer is held
    /// between `-limit` and `limit`, and one is added (GPT-OSS).
    ClampedSwiglu {
        /// Multiplies what the sigmoid is taken of.
        alpha: f32,
        /// The largest gate, and the largest magnitude of the other factor.
        limit: f32,
    },
}

impl Function for Activation {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        match self {
            Self::Silu => silu(simd, x),
            Self::Gelu => gelu(simd, x),
            Self::GeluTanh => gelu_tanh(simd, x),
            Self::Relu => simd.max(simd.splat(0.0), x),
            Self::Relu2 => {
                let x = simd.max(simd.splat(0.0), x);
                simd.mul(x, x)
            }
            Self::ClampedSwiglu { alpha, limit } => {
                let x = simd.min(simd.splat(limit), x);
                simd.mul(x, sigmoid(simd, simd.mul(x, simd.splat(alpha))))
            }
        }
    }
}

/// `y = activation(x)`, value by value: a feed-forward layer without a gate.
pub fn activate(isa: Isa, par: &dyn Parallel, x: &[f32], activation: Activation, y: &mut [f32]) {
    each(isa, par, x, activation, y);
}

/// `y = activation(y)` in these rows of these tokens, for the task that has just written them.
pub(super) struct ActivateRows<'a> {
    pub(super) activation: Activation,
    pub(super) y: &'a Output<'a>,
    /// From one token to the next.
    pub(super) stride: usize,
    pub(super) rows: Range<usize>,
    pub(super) tokens: Range<usize>,
}

impl Kernel for ActivateRows<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for token in self.tokens {
            // SAFETY: the task has these tokens of these rows, and no other does.
            let y = unsafe { self.y.slice(token * self.stride + self.rows.start, self.rows.len()) };
            for y in y.chunks_mut(S::LANES) {
                // SAFETY: as many lanes as values.
                unsafe {
                    let v = self.activation.of(simd, simd.load_part(y.as_ptr(), y.len()));
                    simd.store_part(v, y.as_mut_ptr(), y.len());
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Serial;
    use super::*;

    pub(in super::super) const ACTIVATIONS: [Activation; 6] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Relu2,
        Activation::ClampedSwiglu { alpha: 1.702, limit: 7.0 },
    ];

    /// By its series, all of whose terms have one sign.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, 0.0);
        for n in 0..200 {
            sum += term;
            term *= 2.0 * x * x / f64::from(2 * n + 3);
        }
        if x.abs() > 6.0 { x.signum() } else { sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI }
    }

    /// The activation of `x` in f64.
    pub(in super::super) fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) / 2.0,
            Activation::GeluTanh => {
                x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).exp())
            }
            Activation::Relu => x.max(0.0),
            Activation::Relu2 => x.max(0.0).powi(2),
            Activation::ClampedSwiglu { alpha, limit } => {
                let x = x.min(f64::from(limit));
                x / (1.0 + (-f64::from(alpha) * x).exp())
            }
        }
    }

    /// The activation of `gate` times what `up` becomes.
    pub(in super::super) fn exact_gated(activation: Activation, gate: f64, up: f64) -> f64 {
        let up = match activation {
            Activation::ClampedSwiglu { limit, .. } => up.clamp(-f64::from(limit), f64::from(limit)) + 1.0,
            _ => up,
        };
        exact(activation, gate) * up
    }

    #[test]
    fn each_is_exact_to_a_few_units() {
        for isa in Isa::available() {
            for activation in ACTIVATIONS {
                let x: Vec<f32> = (-80_000..=80_000_i32).step_by(3).map(|i| i as f32 * 1e-3).collect();
                let mut y = vec![f32::NAN; x.len()];
                activate(isa, &Serial, &x, activation, &mut y);
                for (x, y) in x.iter().zip(&y) {
                    let expected = exact(activation, f64::from(*x));
                    // What an exponential is taken of carries its own rounding.
                    let exponent = match activation {
                        Activation::Relu | Activation::Relu2 => 0.0,
                        Activation::Gelu => f64::from(x * x) / 2.0,
                        Activation::GeluTanh => f64::from(x.abs() * (1.0 + x * x)),
                        _ => f64::from(x.abs()),
                    };
                    // In this one something cancels in f64.
                    let floor = if activation == Activation::Gelu { 1e-6 } else { 1e-28 };
                    let magnitude = expected.abs() * (1.0 + exponent) + floor;
                    let error = (f64::from(*y) - expected).abs();
                    assert!(
                        error <= 4.0 * f64::from(f32::EPSILON) * magnitude,
                        "{isa:?} {activation:?}: of {x} is {y}"
                    );
                }
                let mut special = [f32::NAN, -1e30, 1e30];
                activate(isa, &Serial, &special.clone(), activation, &mut special);
                let [nan, low, high] = special;
                assert!(nan.is_nan() && low.abs() < 1e-7 && high > 6.9, "{isa:?} {activation:?}: {special:?}");
            }
        }
    }
}
