//! Where a request's results lie.

use std::sync::Arc;

use super::rows::{Best, Kept, Out};
use crate::engine::memory::{Budget, Reservation};
use crate::error::{Error, Result, Site};

/// Memory for the results of a call. The requests of a batch share one block, so that one run writes all their rows.
#[derive(Debug, Default)]
pub(crate) struct Block {
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
pub(crate) struct Results {
    block: Arc<Block>,
    first: usize,
    pub rows: usize,
    pub width: usize,
}

impl Results {
    /// `rows` of `width` values from row `first` on.
    pub(crate) fn new(block: &Arc<Block>, first: usize, rows: usize, width: usize) -> Self {
        Self { block: Arc::clone(block), first, rows, width }
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.block.values[self.first * self.width..][..self.rows * self.width]
    }
}

/// What becomes of the results.
pub(crate) enum Want {
    /// They are the requests' output.
    Rows,
    /// Hidden states of the only request stay on the device.
    Kept,
    /// Of each request's last token come so many of the largest logits, or all if they are not more.
    Best(Vec<usize>),
}

/// What a call has given one request.
#[derive(Debug)]
pub(crate) enum Given {
    Nothing,
    Rows(Results),
    Kept(Kept),
    Best(Best),
}

/// Where the results of a call go, run after run.
#[derive(Debug)]
pub(crate) enum Sink {
    Rows(Writer),
    Kept(Kept),
    Best {
        /// How many of the largest logits each task wants.
        each: Vec<usize>,
        all: Vec<Best>,
        /// Those of the run in progress, and how many of the largest logits each of them is to be.
        run: Vec<Best>,
        counts: Vec<usize>,
    },
}

impl Sink {
    /// For `rows` of `width` values; where they come to this process, see [`Writer::new`].
    pub(crate) fn new(
        want: &Want,
        before: impl Iterator<Item = Results>,
        rows: usize,
        width: usize,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        match want {
            Want::Rows => Writer::new(before, rows, width, budget).map(Self::Rows),
            Want::Kept => Ok(Self::Kept(Kept { total: rows, done: 0, rows: None, memory: None })),
            Want::Best(each) => {
                let each = each.clone();
                Ok(Self::Best { each, all: Vec::new(), run: Vec::new(), counts: Vec::new() })
            }
        }
    }

    /// The row that comes next.
    pub(crate) fn written(&self) -> usize {
        match self {
            Self::Rows(writer) => writer.written,
            Self::Kept(kept) => kept.done,
            Self::Best { all, .. } => all.len(),
        }
    }

    /// How many of the largest logits the task `index` wants, if it is about those.
    pub(crate) fn count(&self, index: usize) -> Option<usize> {
        match self {
            Self::Best { each, .. } => each.get(index).copied(),
            Self::Rows(_) | Self::Kept(_) => None,
        }
    }

    /// Room for the next `rows`, which count once they are [committed](Self::commit).
    pub(crate) fn next(&mut self, rows: usize, wanted: &[usize]) -> Out<'_> {
        match self {
            Self::Rows(writer) => Out::Host(writer.next(rows)),
            Self::Kept(kept) => Out::Kept(kept),
            Self::Best { run, counts, .. } => {
                counts.clear();
                counts.extend_from_slice(wanted);
                Out::Best(counts, run)
            }
        }
    }

    pub(crate) fn commit(&mut self, rows: usize) {
        match self {
            Self::Rows(writer) => writer.written += rows,
            Self::Kept(kept) => kept.done += rows,
            Self::Best { all, run, .. } => all.append(run),
        }
    }

    /// To be handed out.
    pub(crate) fn finish(self) -> Finished {
        match self {
            Self::Rows(writer) => Finished::Rows(Arc::new(writer.block)),
            Self::Kept(kept) => Finished::Kept(Some(kept)),
            Self::Best { all, .. } => Finished::Best(all.into_iter().map(Some).collect()),
        }
    }
}

/// The results of a call.
pub(crate) enum Finished {
    Rows(Arc<Block>),
    Kept(Option<Kept>),
    Best(Vec<Option<Best>>),
}

impl Finished {
    /// The `rows` of a request, from row `first` on.
    pub(crate) fn of(&mut self, first: usize, rows: usize, width: usize) -> Given {
        match self {
            Self::Rows(block) => Given::Rows(Results::new(block, first, rows, width)),
            Self::Kept(kept) => kept.take().map_or(Given::Nothing, Given::Kept),
            Self::Best(all) => all.get_mut(first).and_then(Option::take).map_or(Given::Nothing, Given::Best),
        }
    }
}

/// A block that nobody reads: the runs of a call write it row after row.
#[derive(Debug)]
pub(crate) struct Writer {
    block: Block,
    width: usize,
    written: usize,
}

impl Writer {
    /// Room for `rows` of `width` values: in the largest of the blocks that the requests held before, where no other
    /// request still reads it, else in a new one.
    fn new(before: impl Iterator<Item = Results>, rows: usize, width: usize, budget: &Arc<Budget>) -> Result<Self> {
        // The last reader of a shared block gets it.
        let mut block = before
            .filter_map(|results| Arc::into_inner(results.block))
            .max_by_key(|block| block.values.len())
            .unwrap_or_default();
        block.reserve(rows * width, budget)?;
        Ok(Self { block, width, written: 0 })
    }

    /// The next `rows`.
    fn next(&mut self, rows: usize) -> &mut [f32] {
        &mut self.block.values[self.written * self.width..][..rows * self.width]
    }
}
