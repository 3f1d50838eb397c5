//! Telling the caller how far loading is, and hearing that it should stop.

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
    /// Finding the files that hold the shard's tensors, and bringing those that are not here.
    Fetch,
    /// Mapping weights.
    Weights,
    /// Quantising them, for a [`Precision`] other than exact that is not in the [`PackCache`] yet.
    Pack,
    /// Creating the session.
    Session,
    /// Done.
    Ready,
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The present step.
    pub stage: Stage,
    /// Bytes of files brought here ([`Stage::Fetch`]), of weights quantised ([`Stage::Pack`]) or mapped (others) so far.
    pub bytes_done: u64,
    /// Bytes in all; 0 while that is not known.
    pub bytes_total: u64,
    /// Tensors mapped so far.
    pub tensors_done: usize,
    /// Tensors in all.
    pub tensors_total: usize,
}

/// Hears how far loading is; [`ControlFlow::Break`] cancels it.
pub type OnProgress<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

/// The caller's callback and the state it is told.
pub(crate) struct Report<'a, 'b> {
    callback: Option<&'a mut OnProgress<'b>>,
    now: Progress,
}

impl<'a, 'b> Report<'a, 'b> {
    pub(crate) fn new(callback: Option<&'a mut OnProgress<'b>>) -> Self {
        let now = Progress { stage: Stage::Inspect, bytes_done: 0, bytes_total: 0, tensors_done: 0, tensors_total: 0 };
        Self { callback, now }
    }

    /// Nobody to tell.
    pub(crate) fn silent() -> Self {
        Self::new(None)
    }

    /// A new step begins.
    pub(crate) fn stage(&mut self, stage: Stage) -> Result<()> {
        self.now.stage = stage;
        if stage > Stage::Weights {
            self.now.bytes_total = self.now.bytes_done;
        }
        self.tell()
    }

    /// The weights come next, `total` tensors.
    pub(crate) fn tensors(&mut self, total: usize) -> Result<()> {
        self.now.tensors_total = total;
        self.stage(Stage::Fetch)
    }

    /// Files are brought here, so many bytes of them by now.
    pub(crate) fn fetched(&mut self, now: Transfer) -> Result<()> {
        (self.now.bytes_done, self.now.bytes_total) = (now.bytes_done, now.bytes_total);
        self.tell()
    }

    /// Something small is on its way: a chance to cancel.
    pub(crate) fn waiting(&mut self) -> Result<()> {
        self.tell()
    }

    /// What the loading of weights tells.
    pub(crate) fn hear(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Waiting => self.waiting(),
            Event::Fetched(now) => self.fetched(now),
            Event::Mapped { tensors, bytes } => self.mapped(tensors, bytes),
            Event::Packed { bytes, total } => {
                (self.now.bytes_done, self.now.bytes_total) = (bytes, total);
                self.now.stage = Stage::Pack;
                self.tell()
            }
        }
    }

    /// So many tensors and bytes are mapped.
    fn mapped(&mut self, tensors: usize, bytes: u64) -> Result<()> {
        self.now.tensors_done = tensors;
        (self.now.bytes_done, self.now.bytes_total) = (bytes, 0);
        self.stage(Stage::Weights)
    }

    fn tell(&mut self) -> Result<()> {
        match self.callback.as_mut().map(|callback| callback(&self.now)) {
            Some(ControlFlow::Break(())) => Err(err!(Cancelled, "loading was cancelled by the progress callback")),
            _ => Ok(()),
        }
    }
}
