//! Reports to the caller how far loading has come, and learns from the caller whether to stop.

use std::ops::ControlFlow;

use crate::error::{Result, err};
use crate::source::Transfer;
use crate::weights::Event;

/// A step of loading a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Reading config.json.
    Inspect,
    /// Finding the files that hold the shard's tensors, and fetching the ones that are not here.
    Fetch,
    /// Mapping weights.
    Weights,
    /// Quantising weights, if the [`Precision`](crate::Precision) is not exact and the [`PackCache`](crate::PackCache) does not have them yet.
    Pack,
    /// Creating the session.
    Session,
    /// Done.
    Ready,
}

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The present step.
    pub stage: Stage,
    /// Bytes of files fetched ([`Stage::Fetch`]), of weights quantised ([`Stage::Pack`]) or of weights mapped (other stages) so far.
    pub bytes_done: u64,
    /// Bytes in all; 0 while the number is not known.
    pub bytes_total: u64,
    /// Tensors mapped so far.
    pub tensors_done: usize,
    /// Tensors in all.
    pub tensors_total: usize,
}

/// A callback that learns how far loading has come. [`ControlFlow::Break`] cancels the loading.
pub type OnProgress<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// The caller's callback, and the progress to report to it.
pub(crate) struct Report<'a, 'b> {
    callback: Option<&'a mut OnProgress<'b>>,
    now: Progress,
}

impl<'a, 'b> Report<'a, 'b> {
    pub(crate) fn new(callback: Option<&'a mut OnProgress<'b>>) -> Self {
        let now = Progress { stage: Stage::Inspect, bytes_done: 0, bytes_total: 0, tensors_done: 0, tensors_total: 0 };
        Self { callback, now }
    }

    /// A report to nobody.
    pub(crate) fn silent() -> Self {
        Self::new(None)
    }

    /// Reports that a step begins.
    pub(crate) fn stage(&mut self, stage: Stage) -> Result<()> {
        self.now.stage = stage;
        if stage > Stage::Weights {
            self.now.bytes_total = self.now.bytes_done;
        }
        self.call_back()
    }

    /// Reports that the weights come next, `total` tensors.
    pub(crate) fn tensors(&mut self, total: usize) -> Result<()> {
        self.now.tensors_total = total;
        self.stage(Stage::Fetch)
    }

    /// Reports how many bytes of files have been fetched.
    pub(crate) fn fetched(&mut self, now: Transfer) -> Result<()> {
        (self.now.bytes_done, self.now.bytes_total) = (now.bytes_done, now.bytes_total);
        self.call_back()
    }

    /// Lets the caller cancel while something small is being fetched.
    pub(crate) fn waiting(&mut self) -> Result<()> {
        self.call_back()
    }

    /// Reports an event of the loading of weights.
    pub(crate) fn event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Waiting => self.waiting(),
            Event::Fetched(now) => self.fetched(now),
            Event::Mapped { tensors, bytes } => self.mapped(tensors, bytes),
            Event::Packed { bytes, total } => {
                (self.now.bytes_done, self.now.bytes_total) = (bytes, total);
                self.now.stage = Stage::Pack;
                self.call_back()
            }
        }
    }

    /// Reports how many tensors and bytes have been mapped.
    fn mapped(&mut self, tensors: usize, bytes: u64) -> Result<()> {
        self.now.tensors_done = tensors;
        (self.now.bytes_done, self.now.bytes_total) = (bytes, 0);
        self.stage(Stage::Weights)
    }

    fn call_back(&mut self) -> Result<()> {
        match self.callback.as_mut().map(|callback| callback(&self.now)) {
            Some(ControlFlow::Break(())) => Err(err!(Cancelled, "loading was cancelled by the progress callback")),
            _ => Ok(()),
        }
    }
}
