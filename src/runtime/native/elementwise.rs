//! The kernels of operations on single values, or on the columns of a row.

use super::shared::Shared;
use crate::error::Result;
use crate::graph::op;
use crate::kernels::{self, Activation, Gate};
use crate::runtime::native::operator::{Context, Kernel};

/// An operation on each value of a row.
pub(super) struct Elementwise {
    function: Function,
    width: usize,
    shared: Shared,
}

enum Function {
    Activate(Activation),
    Scale(f32),
    /// A factor for each column.
    ScaleColumns(Vec<f32>),
    SoftCap(f32),
    /// The second input, times this, is added.
    Add(f32),
    /// The second input multiplies it so.
    Multiply(Gate),
}

impl Elementwise {
    pub(super) fn activate(op: &op::Activate, shared: Shared) -> Self {
        Self { function: Function::Activate(op.activation), width: op.x.width, shared }
    }

    pub(super) fn scale(op: &op::Scale, shared: Shared) -> Self {
        let function = match op.factors[..] {
            [(_, factor)] => Function::Scale(factor),
            ref ranges => {
                let columns = ranges.iter().flat_map(|(columns, factor)| std::iter::repeat_n(*factor, *columns));
                Function::ScaleColumns(columns.collect())
            }
        };
        Self { function, width: op.x.width, shared }
    }

    pub(super) fn soft_cap(op: &op::SoftCap, shared: Shared) -> Self {
        Self { function: Function::SoftCap(op.cap), width: op.x.width, shared }
    }

    pub(super) fn multiply(op: &op::Multiply, shared: Shared) -> Self {
        Self { function: Function::Multiply(op.gate), width: op.x.width, shared }
    }

    pub(super) fn add(op: &op::Add, shared: Shared) -> Self {
        Self { function: Function::Add(op.factor), width: op.a.width, shared }
    }
}

impl Kernel for Elementwise {
    fn compute(&self, context: &Context) -> Result<()> {
        let x = context.f32(0)?;
        let out = context.output(0, x.len() / self.width, self.width)?;
        let (pool, isa) = (context.pool(self.shared.threads), self.shared.isa);
        match &self.function {
            Function::Activate(activation) => kernels::activate(isa, &pool, x, *activation, out),
            Function::Scale(factor) => kernels::scale(isa, &pool, x, *factor, out),
            Function::ScaleColumns(factors) => kernels::scale_columns(isa, &pool, x, factors, out),
            Function::SoftCap(cap) => kernels::soft_cap(isa, &pool, x, *cap, out),
            Function::Add(factor) => kernels::add(isa, &pool, x, context.f32(1)?, *factor, out),
            Function::Multiply(gate) => kernels::multiply(isa, &pool, x, context.f32(1)?, *gate, out),
        }
        pool.finish()
    }
}

pub(super) struct ScaleColumns {
    width: usize,
    weights: Vec<f32>,
    shared: Shared,
}

impl ScaleColumns {
    pub(super) fn new(op: &op::ScaleColumns, shared: Shared) -> Result<Self> {
        Ok(Self { width: op.x.width, weights: shared.vector(&op.weight)?, shared })
    }
}

impl Kernel for ScaleColumns {
    fn compute(&self, context: &Context) -> Result<()> {
        let x = context.f32(0)?;
        let out = context.output(0, x.len() / self.width, self.width)?;
        let (pool, isa) = (context.pool(self.shared.threads), self.shared.isa);
        match self.weights[..] {
            [factor] => kernels::scale(isa, &pool, x, factor, out),
            ref factors => kernels::scale_columns(isa, &pool, x, factors, out),
        }
        pool.finish()
    }
}

pub(super) struct AboveMean {
    width: usize,
    deviations: f32,
    shared: Shared,
}

impl AboveMean {
    pub(super) fn new(op: &op::AboveMean, shared: Shared) -> Self {
        Self { width: op.x.width, deviations: op.deviations, shared }
    }
}

impl Kernel for AboveMean {
    fn compute(&self, context: &Context) -> Result<()> {
        let x = context.f32(0)?;
        let out = context.output(0, x.len() / self.width, self.width)?;
        let pool = context.pool(self.shared.threads);
        kernels::above_mean(self.shared.isa, &pool, x, self.width, self.deviations, out);
        pool.finish()
    }
}

pub(super) struct SigmoidGate {
    width: usize,
    shared: Shared,
}

impl SigmoidGate {
    pub(super) fn new(op: &op::SigmoidGate, shared: Shared) -> Self {
        Self { width: op.x.width, shared }
    }
}

impl Kernel for SigmoidGate {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, gates) = (context.f32(0)?, context.f32(1)?);
        let out = context.output(0, gates.len(), self.width)?;
        let pool = context.pool(self.shared.threads);
        kernels::sigmoid_gate(self.shared.isa, &pool, x, self.width, gates, out);
        pool.finish()
    }
}
