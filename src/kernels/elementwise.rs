//! Functions of each value on its own.

use super::math::{sigmoid, silu, tanh};
use super::shared::Output;
use super::simd::{Kernel, Simd};
use super::{Isa, Parallel};

/// Values of one task: below that a thread is not worth waking.
pub(super) const TASK_VALUES: usize = 1 << 15;

/// `y = x * factor`.
pub fn scale(isa: Isa, par: &dyn Parallel, x: &[f32], factor: f32, y: &mut [f32]) {
    each(isa, par, x, Scale(factor), y);
}

/// `y = x * factors` in each row, a factor for each of its columns.
pub fn scale_columns(isa: Isa, par: &dyn Parallel, x: &[f32], factors: &[f32], y: &mut [f32]) {
    let width = factors.len();
    let rows = x.len().checked_div(width).unwrap_or(0);
    if x.len() != rows * width || y.len() != x.len() {
        par.incomplete();
        return;
    }
    each_row(par, rows, width, y, |row, y| {
        isa.run(Multiply { x: &x[row * width..][..width], gates: factors, gate: Gate::Plain, y });
    });
}

/// Calls `row` with the number of each row and its `width` values of `y`, several rows in one task.
pub(super) fn each_row(
    par: &dyn Parallel,
    rows: usize,
    width: usize,
    y: &mut [f32],
    row: impl Fn(usize, &mut [f32]) + Sync,
) {
    let y = Output::new(par, y);
    let per_task = (TASK_VALUES / width.max(1)).max(1);
    par.run(rows.div_ceil(per_task), &|task| {
        for index in task * per_task..rows.min((task + 1) * per_task) {
            // SAFETY: every task has its own rows.
            row(index, unsafe { y.slice(index * width, width) });
        }
    });
}

/// `y = a + b * factor`, the product rounded before the sum.
pub fn add(isa: Isa, par: &dyn Parallel, a: &[f32], b: &[f32], factor: f32, y: &mut [f32]) {
    let len = a.len().min(b.len());
    let y = Output::new(par, y);
    par.run(len.div_ceil(TASK_VALUES), &|task| {
        let from = task * TASK_VALUES;
        let count = TASK_VALUES.min(len - from);
        // SAFETY: every task has its own values.
        let y = unsafe { y.slice(from, count) };
        isa.run(Add { a: &a[from..][..count], b: &b[from..][..count], factor, y });
    });
}

/// `y = x * sigmoid(gate)` in rows of `width` values, each with its own gate.
pub fn sigmoid_gate(isa: Isa, par: &dyn Parallel, x: &[f32], width: usize, gates: &[f32], y: &mut [f32]) {
    if x.len() != gates.len() * width {
        par.incomplete();
        return;
    }
    each_row(par, gates.len(), width, y, |row, y| {
        isa.run(SigmoidGate { x: &x[row * width..][..width], gate: gates[row], y });
    });
}

/// What a gate's values become before they multiply others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x / (1 + e^-x)`.
    Silu,
    /// They stay what they are.
    Plain,
}

/// `y = x * gate(gates)`, value by value.
pub fn multiply(isa: Isa, par: &dyn Parallel, x: &[f32], gates: &[f32], gate: Gate, y: &mut [f32]) {
    let len = x.len().min(gates.len());
    let y = Output::new(par, y);
    par.run(len.div_ceil(TASK_VALUES), &|task| {
        let from = task * TASK_VALUES;
        let count = TASK_VALUES.min(len - from);
        // SAFETY: every task has its own values.
        let y = unsafe { y.slice(from, count) };
        isa.run(Multiply { x: &x[from..][..count], gates: &gates[from..][..count], gate, y });
    });
}

/// `y = cap * tanh(x / cap)`.
pub fn soft_cap(isa: Isa, par: &dyn Parallel, x: &[f32], cap: f32, y: &mut [f32]) {
    each(isa, par, x, SoftCap(cap), y);
}

/// A function of a register's lanes, each on its own.
pub(super) trait Function: Copy + Sync {
    /// Its values.
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V;
}

/// Applies a function to every value.
pub(super) fn each<F: Function>(isa: Isa, par: &dyn Parallel, x: &[f32], function: F, y: &mut [f32]) {
    let y = Output::new(par, y);
    par.run(x.len().div_ceil(TASK_VALUES), &|task| {
        let from = task * TASK_VALUES;
        let x = &x[from..][..TASK_VALUES.min(x.len() - from)];
        // SAFETY: every task has its own values.
        let y = unsafe { y.slice(from, x.len()) };
        isa.run(Each { x, function, y });
    });
}

struct Each<'a, F> {
    x: &'a [f32],
    function: F,
    y: &'a mut [f32],
}

impl<F: Function> Kernel for Each<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, function, y } = self;
        let len = x.len().min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let v = function.of(simd, simd.load_part(x.as_ptr().add(at), count));
                simd.store_part(v, y.as_mut_ptr().add(at), count);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Function for Scale {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        simd.mul(x, simd.splat(self.0))
    }
}

/// See [`soft_cap`].
#[derive(Clone, Copy)]
pub(super) struct SoftCap(pub(super) f32);

impl Function for SoftCap {
    #[inline(always)]
    fn of<S: Simd>(self, simd: S, x: S::V) -> S::V {
        let cap = simd.splat(self.0);
        simd.mul(cap, tanh(simd, simd.div(x, cap)))
    }
}

struct SigmoidGate<'a> {
    x: &'a [f32],
    gate: f32,
    y: &'a mut [f32],
}

impl Kernel for SigmoidGate<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, gate, y } = self;
        let factor = sigmoid(simd, simd.splat(gate));
        let len = x.len().min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let v = simd.mul(factor, simd.load_part(x.as_ptr().add(at), count));
                simd.store_part(v, y.as_mut_ptr().add(at), count);
            }
        }
    }
}

struct Multiply<'a> {
    x: &'a [f32],
    gates: &'a [f32],
    gate: Gate,
    y: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { x, gates, gate, y } = self;
        let len = x.len().min(gates.len()).min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let factor = simd.load_part(gates.as_ptr().add(at), count);
                let factor = match gate {
                    Gate::Sigmoid => sigmoid(simd, factor),
                    Gate::Silu => silu(simd, factor),
                    Gate::Plain => factor,
                };
                let v = simd.mul(factor, simd.load_part(x.as_ptr().add(at), count));
                simd.store_part(v, y.as_mut_ptr().add(at), count);
            }
        }
    }
}

struct Add<'a> {
    a: &'a [f32],
    b: &'a [f32],
    factor: f32,
    y: &'a mut [f32],
}

impl Kernel for Add<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { a, b, factor, y } = self;
        let len = a.len().min(b.len()).min(y.len());
        for at in (0..len).step_by(S::LANES) {
            let count = S::LANES.min(len - at);
            // SAFETY: at + count <= len.
            unsafe {
                let (a, b) = (simd.load_part(a.as_ptr().add(at), count), simd.load_part(b.as_ptr().add(at), count));
                simd.store_part(simd.add(a, simd.mul(b, simd.splat(factor))), y.as_mut_ptr().add(at), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, Threads, bits};
    use super::super::{Activation, Serial, activate};
    use super::*;

    type Operation = fn(Isa, &dyn Parallel, &[f32], &mut [f32]);
    type Exact = fn(f64) -> f64;

    #[test]
    fn columns_are_multiplied_by_their_factors() {
        for isa in Isa::available() {
            for (rows, width) in [(1, 1), (3, 7), (700, 100), (0, 4), (3, TASK_VALUES + 5)] {
                let (x, factors) = (Random::new(1).values(rows * width), Random::new(2).values(width));
                let mut y = vec![f32::NAN; x.len()];
                scale_columns(isa, &Threads(3), &x, &factors, &mut y);
                for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                    assert_eq!((x * factors[i % width]).to_bits(), y.to_bits(), "{isa:?} {rows} {width}");
                }
            }
        }
    }

    #[test]
    fn gates_of_each_value_agree_with_f64() {
        for isa in Isa::available() {
            for (gate, exact) in [
                (Gate::Sigmoid, (|x: f64| 1.0 / (1.0 + (-x).exp())) as fn(f64) -> f64),
                (Gate::Silu, |x: f64| x / (1.0 + (-x).exp())),
                (Gate::Plain, |x: f64| x),
            ] {
                let (x, gates) = (Random::new(1).values(TASK_VALUES + 5), Random::new(2).values(TASK_VALUES + 5));
                let gates: Vec<f32> = gates.iter().map(|gate| 8.0 * gate).collect();
                let mut y = vec![f32::NAN; x.len()];
                multiply(isa, &Threads(2), &x, &gates, gate, &mut y);
                for ((x, gate), y) in x.iter().zip(&gates).zip(&y) {
                    let expected = f64::from(*x) * exact(f64::from(*gate));
                    assert!((f64::from(*y) - expected).abs() < 1e-5, "{isa:?}: {y} for {expected}");
                }
            }
        }
    }

    #[test]
    fn gated_rows_agree_with_f64_and_are_independent() {
        for isa in Isa::available() {
            for (rows, width) in [(1, 1), (3, 7), (5, 33), (0, 4), (3, TASK_VALUES + 5)] {
                let (x, gates) = (Random::new(1).values(rows * width), Random::new(2).values(rows));
                let gates: Vec<f32> = gates.iter().map(|gate| 8.0 * gate).collect();
                let mut y = vec![f32::NAN; x.len()];
                sigmoid_gate(isa, &Threads(3), &x, width, &gates, &mut y);
                for ((x, y), gate) in x.chunks(width).zip(y.chunks(width)).zip(&gates) {
                    for (x, y) in x.iter().zip(y) {
                        let expected = f64::from(*x) / (1.0 + f64::from(-gate).exp());
                        let error = (f64::from(*y) - expected).abs();
                        assert!(error <= 6.0 * f64::from(f32::EPSILON) * expected.abs(), "{isa:?} {x} {gate}: {y}");
                    }
                    let mut alone = vec![f32::NAN; width];
                    sigmoid_gate(isa, &Serial, x, width, &[*gate], &mut alone);
                    assert_eq!(bits(&alone), bits(y), "{isa:?} {rows} {width}");
                }
            }
        }
    }

    #[test]
    fn every_length_agrees_with_f64_and_values_are_independent() {
        let operations: [(Operation, Exact); 4] = [
            (|isa, par, x, y| scale(isa, par, x, 0.22, y), |x| x * f64::from(0.22_f32)),
            (|isa, par, x, y| add(isa, par, &vec![3.0; x.len()], x, 0.22, y), |x| 3.0 + x * f64::from(0.22_f32)),
            (|isa, par, x, y| soft_cap(isa, par, x, 30.0, y), |x| 30.0 * (x / 30.0).tanh()),
            (|isa, par, x, y| activate(isa, par, x, Activation::Relu2, y), |x| x.max(0.0).powi(2)),
        ];
        for isa in Isa::available() {
            for (which, (operation, exact)) in operations.iter().enumerate() {
                for len in [0, 1, 7, 16, 33, 100, 3 * TASK_VALUES + 5] {
                    let x: Vec<f32> = Random::new(1).values(len).iter().map(|x| 100.0 * x).collect();
                    let mut y = vec![f32::NAN; len];
                    operation(isa, &Threads(3), &x, &mut y);
                    for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                        let expected = exact(f64::from(*x));
                        // The sum may cancel: its error is relative to its terms.
                        let magnitude = if which == 1 { 6.0 } else { 0.0 } + expected.abs();
                        let error = (f64::from(*y) - expected).abs();
                        assert!(error <= 5.0 * f64::from(f32::EPSILON) * magnitude, "{isa:?} {which}: of {x} is {y}");
                        if i % 1009 < 40 {
                            let mut alone = [f32::NAN];
                            operation(isa, &Serial, &[*x], &mut alone);
                            assert_eq!(bits(&alone), [y.to_bits()], "{isa:?} {which}: of {x}");
                        }
                    }
                }
                let mut y = [0.0; 3];
                operation(isa, &Serial, &[1.0, f32::NAN, 2.0], &mut y);
                assert!(y[0].is_finite() && y[1].is_nan() && y[2].is_finite(), "{isa:?} {which}");
            }
        }
    }
}
