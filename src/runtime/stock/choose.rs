//! The largest logits, found on the device: what sampling needs instead of all of them.
#![allow(unsafe_code, reason = "tensors are bound over memory that the choice keeps")]

use std::sync::Arc;

use super::bound::{Bound, HostBuffer};
use super::rows::DeviceRows;
use crate::error::Result;
use crate::graph::names::{LOGITS, choice};
use crate::runtime::device::memory::DeviceMemory;
use crate::runtime::run::tensor::Kind;

/// The search for the `count` largest logits of some rows, to be made again and again.
#[derive(Debug)]
pub(super) struct Choice {
    // Before the memory that it is over.
    run: Bound,
    _k: HostBuffer,
    best: HostBuffer,
    ids: HostBuffer,
    sums: HostBuffer,
    _logits: DeviceRows,
    rows: usize,
    count: usize,
}

/// What was found, for each row.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    /// The largest logits of each row, in falling order: `[rows, count]`.
    pub best: &'a [f32],
    /// Whose they are; among equals the lower id comes first.
    pub ids: &'a [i64],
    /// The sum of each whole row: no finite number if one of its logits is none.
    pub sums: &'a [f32],
}

impl Choice {
    pub(super) fn new(logits: &DeviceRows, rows: usize, count: usize) -> Result<Self> {
        let mut k = HostBuffer::new(size_of::<i64>())?;
        k.values_mut::<i64>(0, 1)[0] = count as i64;
        let best = HostBuffer::new(rows * count * size_of::<f32>())?;
        let ids = HostBuffer::new(rows * count * size_of::<i64>())?;
        let sums = HostBuffer::new(rows * size_of::<f32>())?;
        let mut run = Bound::new();
        // SAFETY: static names; all memory is kept beside the values.
        unsafe {
            run.input(LOGITS.c(), logits.tensor(0..rows)?);
            run.input(choice::K.c(), k.tensor(0, Kind::of::<i64>(), &[1])?);
            run.output(choice::BEST.c(), best.tensor(0, Kind::of::<f32>(), &[rows, count])?);
            run.output(choice::IDS.c(), ids.tensor(0, Kind::of::<i64>(), &[rows, count])?);
            run.output(choice::SUMS.c(), sums.tensor(0, Kind::of::<f32>(), &[rows])?);
        }
        Ok(Self { run, _k: k, best, ids, sums, _logits: logits.clone(), rows, count })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn run(&mut self, memory: &Arc<DeviceMemory>) -> Result<Candidates<'_>> {
        memory.choose(|session, control| self.run.run(session, control, false))?;
        Ok(Candidates {
            best: self.best.values(0, self.rows * self.count),
            ids: self.ids.values(0, self.rows * self.count),
            sums: self.sums.values(0, self.rows),
        })
    }
}
