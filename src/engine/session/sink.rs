//! Where the results of a call go.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::memory::{Budget, Reservation};
use crate::error::{Error, Result, Site, err};
use crate::graph::PerPart;
use crate::runtime::DeviceRows;

/// Where the results of a call go, run after run: hidden states of every row, or logits of the rows that are wanted.
#[derive(Debug)]
pub(crate) enum Sink {
    /// The results come to this process and are the requests' output.
    Host(Host),
    /// The hidden states of the only request stay on the device.
    Device(OnDevice),
    /// Only the largest logits of each request's last token come to this process.
    Best(Largest),
}

/// What a call has given one request.
#[derive(Debug)]
pub(crate) enum Given {
    Nothing,
    Rows(Results),
    Device(OnDevice),
    Best(Best),
}

impl Sink {
    /// A sink for the requests' output.
    pub(crate) fn host() -> Self {
        Self::Host(Host { block: None, rows: 0, widths: PerPart::default(), written: 0 })
    }

    /// A sink that leaves hidden states on the device.
    pub(crate) fn device() -> Self {
        Self::Device(OnDevice { total: 0, done: 0, rows: None, memory: None })
    }

    /// A sink for the largest logits.
    pub(crate) fn best() -> Self {
        Self::Best(Largest::default())
    }

    /// Takes over the memory of a request's earlier results, if no other request still reads it and it is the largest so far.
    pub(crate) fn reuse(&mut self, mut before: Results) {
        if let Self::Host(host) = self
            && let Some(block) = Arc::get_mut(&mut before.block)
            && block.values.len() >= host.block.as_ref().map_or(0, |own| own.values.len())
        {
            host.block = Some(before.block);
        }
    }

    /// Makes room for all the rows of a call, of these widths.
    pub(crate) fn reserve(&mut self, rows: usize, widths: PerPart<usize>, budget: &Arc<Budget>) -> Result<()> {
        match self {
            Self::Host(host) => {
                (host.rows, host.widths) = (rows, widths);
                host.block_mut()?.reserve(rows * widths.iter().sum::<usize>(), budget)?;
            }
            Self::Device(kept) => kept.total = rows,
            Self::Best(_) => {}
        }
        Ok(())
    }

    /// Begins a run, and forgets what a failed run has left.
    pub(crate) fn begin(&mut self) {
        if let Self::Best(largest) = self {
            largest.counts.clear();
            largest.run.clear();
        }
    }

    /// Says that of the next row of the run as many as `count` of the largest logits are wanted.
    pub(crate) fn want(&mut self, count: usize) {
        if let Self::Best(largest) = self {
            largest.counts.push(count);
        }
    }

    /// The row of the call that the next run begins with.
    pub(crate) fn written(&self) -> usize {
        match self {
            Self::Host(host) => host.written,
            Self::Device(kept) => kept.done,
            Self::Best(largest) => largest.all.len(),
        }
    }

    /// Keeps these rows of the run that is about to be committed, in rising order, and drops those between.
    pub(crate) fn pick(&mut self, rows: &[Range<usize>]) -> Result<()> {
        let is_whole = rows.iter().try_fold(0, |end, rows| (rows.start == end).then_some(rows.end)).is_some();
        match self {
            Self::Host(host) if !is_whole => host.pick(rows),
            _ => Ok(()),
        }
    }

    /// Ends a run that has given `rows`.
    pub(crate) fn commit(&mut self, rows: usize) {
        match self {
            Self::Host(host) => host.written += rows,
            Self::Device(kept) => kept.done += rows,
            Self::Best(largest) => largest.all.extend(largest.run.drain(..).map(Some)),
        }
    }

    /// Hands out the results of one request: `rows` from row `first` of the call on.
    pub(crate) fn give(&mut self, first: usize, rows: usize) -> Given {
        match self {
            Self::Host(Host { block: None, .. }) => Given::Nothing,
            Self::Host(Host { block: Some(block), rows: all, widths, .. }) => {
                Given::Rows(Results { block: Arc::clone(block), all: *all, first, rows, widths: *widths })
            }
            Self::Device(kept) => {
                let gone = OnDevice { total: 0, done: 0, rows: None, memory: None };
                Given::Device(std::mem::replace(kept, gone))
            }
            Self::Best(largest) => {
                largest.all.get_mut(first).and_then(Option::take).map_or(Given::Nothing, Given::Best)
            }
        }
    }
}

/// The rows of a call in this process, written run after run.
#[derive(Debug)]
pub(crate) struct Host {
    /// Nobody else reads it until the call is over.
    block: Option<Arc<Block>>,
    /// Rows of the whole call.
    rows: usize,
    /// The width of each part of a row.
    widths: PerPart<usize>,
    written: usize,
}

impl Host {
    /// Room for each part of the `rows` of the run in progress, counted from its first one.
    pub(crate) fn rows_mut(&mut self, rows: Range<usize>) -> Result<Vec<&mut [f32]>> {
        let (all, widths, first) = (self.rows, self.widths, self.written);
        let mut rest = &mut self.block_mut()?.values[..];
        let part = |width: &usize| {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(all * width);
            rest = behind;
            &mut part[(first + rows.start) * width..(first + rows.end) * width]
        };
        Ok(widths.iter().map(part).collect())
    }

    fn pick(&mut self, rows: &[Range<usize>]) -> Result<()> {
        let (end, widths) = (rows.last().map_or(0, |rows| rows.end), self.widths);
        for (part, width) in self.rows_mut(0..end)?.into_iter().zip(widths.iter()) {
            let mut to = 0;
            for rows in rows {
                part.copy_within(rows.start * width..rows.end * width, to * width);
                to += rows.len();
            }
        }
        Ok(())
    }

    fn block_mut(&mut self) -> Result<&mut Block> {
        Arc::get_mut(self.block.get_or_insert_default()).ok_or_else(|| err!(Internal, "results that others read"))
    }
}

/// Memory for the results of a call: all rows of a part, then those of the next. The requests of a batch share one block, so that one run writes the rows of all.
#[derive(Debug, Default)]
struct Block {
    values: Vec<f32>,
    memory: Vec<Reservation>,
}

impl Block {
    /// Makes room for `len` values, taken from the budget. A block only grows, so that decoding allocates nothing.
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
    /// Rows of the whole call.
    all: usize,
    first: usize,
    pub rows: usize,
    widths: PerPart<usize>,
}

impl Results {
    /// The values of each part, row after row, and their width.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&[f32], usize)> {
        let begins = self.widths.iter().scan(0, |end, width| {
            *end += self.all * width;
            Some(*end - self.all * width)
        });
        let part = |(begin, width): (usize, &usize)| {
            (&self.block.values[begin + self.first * width..][..self.rows * width], *width)
        };
        begins.zip(self.widths.iter()).map(part)
    }
}

/// The hidden states of a call on the device.
#[derive(Debug)]
pub(crate) struct OnDevice {
    /// Rows of the whole call.
    pub total: usize,
    /// Rows that earlier runs of the call have left there.
    pub done: usize,
    pub rows: Option<DeviceRows>,
    pub memory: Option<Reservation>,
}

/// The largest logits of each request's last token.
#[derive(Debug, Default)]
pub(crate) struct Largest {
    all: Vec<Option<Best>>,
    /// What the run in progress has found.
    pub run: Vec<Best>,
    /// How many of the largest logits each row of the run in progress is to give.
    pub counts: Vec<usize>,
}

/// What sampling gets of a token's logits.
#[derive(Debug)]
pub(crate) enum Best {
    /// The largest logits in falling order, with all that equal the last one that counts.
    Candidates(Vec<(u32, f32)>),
    /// All logits.
    Whole(Vec<f32>),
}
