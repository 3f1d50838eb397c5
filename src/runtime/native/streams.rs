//! The kernels of hidden states of several streams.

use super::shared::Shared;
use crate::error::Result;
use crate::graph::op;
use crate::kernels::{self, Streams};
use crate::runtime::native::operator::{Context, Kernel};

pub(super) struct MixStreams {
    width: usize,
    others: usize,
    shared: Shared,
}

impl MixStreams {
    pub(super) fn new(op: &op::MixStreams, shared: Shared) -> Self {
        Self { width: op.first.width, others: op.others.width, shared }
    }
}

impl Kernel for MixStreams {
    fn compute(&self, context: &Context) -> Result<()> {
        let (first, others, coefficients) = (context.f32(0)?, context.f32(1)?, context.f32(2)?);
        let rows = first.len() / self.width;
        let (y, z) = (context.output(0, rows, self.width)?, context.output(1, rows, self.others)?);
        let pool = context.pool(self.shared.threads);
        kernels::mix_streams(self.shared.isa, &pool, Streams { first, others, width: self.width }, coefficients, y, z);
        pool.finish()
    }
}

pub(super) struct AddToStreams {
    width: usize,
    all: usize,
    shared: Shared,
}

impl AddToStreams {
    pub(super) fn new(op: &op::AddToStreams, shared: Shared) -> Self {
        Self { width: op.add.width, all: op.x.width, shared }
    }
}

impl Kernel for AddToStreams {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, add) = (context.f32(0)?, context.f32(1)?);
        let out = context.output(0, x.len() / self.all, self.all)?;
        let pool = context.pool(self.shared.threads);
        kernels::add_to_streams(self.shared.isa, &pool, x, self.width, add, context.optional(2)?, out);
        pool.finish()
    }
}

pub(super) struct MatchRms {
    width: usize,
    least: f32,
    shared: Shared,
}

impl MatchRms {
    pub(super) fn new(op: &op::MatchRms, shared: Shared) -> Self {
        Self { width: op.x.width, least: op.least, shared }
    }
}

impl Kernel for MatchRms {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, like) = (context.f32(0)?, context.f32(1)?);
        let out = context.output(0, x.len() / self.width, self.width)?;
        let pool = context.pool(self.shared.threads);
        kernels::match_rms(self.shared.isa, &pool, x, like, self.width, self.least, out);
        pool.finish()
    }
}
