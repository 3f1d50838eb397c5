//! Where a request's results lie.

use std::sync::Arc;

use super::budget::{Budget, Reservation};
use crate::error::{Error, Result, Site};

/// Memory for the results of a call. The requests of a batch share one block, so that one run writes all their rows.
#[derive(Debug, Default)]
pub(super) struct Block {
    values: Vec<f32>,
    memory: Vec<Reservation>,
}

impl Block {
    /// Room for `len` values, taken from the budget. Grows only, so that decoding allocates nothing.
    fn reserve(&mut self, len: usize, budget: &Arc<Budget>) -> Result<()> {
        if len > self.values.len() {
            let bytes = (len * size_of::<f32>()) as u64;
            let held = (self.values.len() * size_of::<f32>()) as u64;
            let more = budget.reserve(bytes - held, Site::Run, "the output")?;
            self.values
                .try_reserve_exact(len - self.values.len())
                .map_err(|_| Error::oom(Site::Run, "cpu", bytes, "the output"))?;
            self.values.resize(len, 0.0);
            self.memory.push(more);
        }
        Ok(())
    }
}

/// One request's rows of a block.
#[derive(Debug, Clone)]
pub(super) struct Results {
    block: Arc<Block>,
    first: usize,
    pub rows: usize,
    pub width: usize,
}

impl Results {
    /// `rows` of `width` values from row `first` on.
    pub(super) fn new(block: &Arc<Block>, first: usize, rows: usize, width: usize) -> Self {
        Self { block: Arc::clone(block), first, rows, width }
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.block.values[self.first * self.width..][..self.rows * self.width]
    }
}

/// A block that nobody reads: the runs of a call write it row after row.
#[derive(Debug)]
pub(super) struct Writer {
    block: Block,
    width: usize,
    written: usize,
}

impl Writer {
    /// Room for `rows` of `width` values: in the largest of the blocks that the requests held before, where no other
    /// request still reads it, else in a new one.
    pub(super) fn new(
        before: impl Iterator<Item = Results>,
        rows: usize,
        width: usize,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        // The last reader of a shared block gets it.
        let mut block = before
            .filter_map(|results| Arc::into_inner(results.block))
            .max_by_key(|block| block.values.len())
            .unwrap_or_default();
        block.reserve(rows * width, budget)?;
        Ok(Self { block, width, written: 0 })
    }

    /// The row that is written next.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// The next `rows`. They count once they are [committed](Self::commit).
    pub(super) fn next(&mut self, rows: usize) -> &mut [f32] {
        &mut self.block.values[self.written * self.width..][..rows * self.width]
    }

    pub(super) fn commit(&mut self, rows: usize) {
        self.written += rows;
    }

    pub(super) fn finish(self) -> Arc<Block> {
        Arc::new(self.block)
    }
}
