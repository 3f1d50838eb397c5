//! The kernels of operations that keep a state of fixed size.
#![allow(unsafe_code, reason = "the batch arrives as an address")]

use super::shared::Shared;
use crate::error::{Result, bail, err};
use crate::graph::op;
use crate::kernels::{self, ConvShape, DeltaInputs, DeltaShape, ScanInputs, ScanShape, StateSegment};
use crate::runtime::native::operator::{Context, Kernel};
use crate::runtime::run::batch::Batch;

/// The segments of the batch in input `input`, with the states of `values` values that are the `kept`th of what the shard keeps.
///
/// # Safety
/// Only one node of a graph may ask for a `kept`.
unsafe fn segments(context: &Context, input: usize, kept: usize, values: usize) -> Result<Vec<StateSegment<'_>>> {
    let [address] = *context.i64(input)? else { bail!(Internal, "the batch input is not one address") };
    // SAFETY: the engine passes the address of the batch it runs, which outlives the run.
    let batch = unsafe { Batch::from_address(address) }.ok_or_else(|| err!(Internal, "no batch"))?;
    // SAFETY: as the caller says.
    unsafe { batch.states(kept, values) }
}

pub(super) struct ShortConv {
    shape: ConvShape,
    /// `[taps, channels]`.
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    kept: usize,
    shared: Shared,
}

impl ShortConv {
    pub(super) fn new(op: &op::ShortConv, shared: Shared) -> Result<Self> {
        let (stored, taps) = (shared.vector(&op.weight)?, op.shape.taps);
        let weights = (0..taps).flat_map(|tap| stored.iter().skip(tap).step_by(taps)).copied().collect();
        let bias = op.bias.as_ref().map(|bias| shared.vector(bias)).transpose()?;
        Ok(Self { shape: op.shape, weights, bias, kept: op.kept, shared })
    }
}

impl Kernel for ShortConv {
    fn compute(&self, context: &Context) -> Result<()> {
        let x = context.f32(0)?;
        // SAFETY: each operation has a place of its own in what the shard keeps.
        let mut segments = unsafe { segments(context, 1, self.kept, self.shape.state()) }?;
        let out = context.output(0, x.len() / self.shape.row, self.shape.channels)?;
        let (pool, isa) = (context.pool(self.shared.threads), self.shared.isa);
        kernels::short_conv(isa, &pool, &self.shape, x, &self.weights, self.bias.as_deref(), &mut segments, out);
        pool.finish()
    }
}

pub(super) struct GatedDelta {
    shape: DeltaShape,
    /// Of each value head `e^A`.
    rates: Vec<f32>,
    shifts: Vec<f32>,
    kept: usize,
    shared: Shared,
}

impl GatedDelta {
    pub(super) fn new(op: &op::GatedDelta, shared: Shared) -> Result<Self> {
        let rates = shared.vector(&op.rates)?.into_iter().map(f32::exp).collect();
        Ok(Self { shape: op.shape, rates, shifts: shared.vector(&op.shifts)?, kept: op.kept, shared })
    }
}

impl Kernel for GatedDelta {
    fn compute(&self, context: &Context) -> Result<()> {
        let (qkv, corrections, decays) = (context.f32(0)?, context.f32(1)?, context.f32(2)?);
        let inputs = DeltaInputs { qkv, corrections, decays, rates: &self.rates, shifts: &self.shifts };
        // SAFETY: each operation has a place of its own in what the shard keeps.
        let mut segments = unsafe { segments(context, 3, self.kept, self.shape.state()) }?;
        let width = self.shape.value_heads * self.shape.value_width;
        let out = context.output(0, qkv.len() / self.shape.row(), width)?;
        let (pool, isa) = (context.pool(self.shared.threads), self.shared.isa);
        kernels::gated_delta(isa, &pool, &self.shape, &inputs, &mut segments, out);
        pool.finish()
    }
}

pub(super) struct SelectiveScan {
    shape: ScanShape,
    /// Of each head `e^A`.
    rates: Vec<f32>,
    shifts: Vec<f32>,
    skips: Vec<f32>,
    kept: usize,
    shared: Shared,
}

impl SelectiveScan {
    pub(super) fn new(op: &op::SelectiveScan, shared: Shared) -> Result<Self> {
        let rates = shared.vector(&op.rates)?.into_iter().map(f32::exp).collect();
        let (shifts, skips) = (shared.vector(&op.shifts)?, shared.vector(&op.skips)?);
        Ok(Self { shape: op.shape, rates, shifts, skips, kept: op.kept, shared })
    }
}

impl Kernel for SelectiveScan {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, steps) = (context.f32(0)?, context.f32(1)?);
        let inputs = ScanInputs { x, steps, rates: &self.rates, shifts: &self.shifts, skips: &self.skips };
        // SAFETY: each operation has a place of its own in what the shard keeps.
        let mut segments = unsafe { segments(context, 2, self.kept, self.shape.state()) }?;
        let out = context.output(0, x.len() / self.shape.row(), self.shape.inner())?;
        let (pool, isa) = (context.pool(self.shared.threads), self.shared.isa);
        kernels::selective_scan(isa, &pool, &self.shape, &inputs, &mut segments, out);
        pool.finish()
    }
}
