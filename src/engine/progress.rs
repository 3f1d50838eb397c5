//! Telling the caller how far loading is, and hearing that it should stop.

use std::ops::ControlFlow;

use super::options::{OnProgress, Progress, Stage};
use crate::error::{Result, err};
use crate::source::Transfer;
use crate::weights::Event;

/// The caller's callback and the state it is told.
pub(super) struct Report<'a, 'b> {
    callback: Option<&'a mut OnProgress<'b>>,
    now: Progress,
}

impl<'a, 'b> Report<'a, 'b> {
    pub(super) fn new(callback: Option<&'a mut OnProgress<'b>>) -> Self {
        let now = Progress { stage: Stage::Inspect, bytes_done: 0, bytes_total: 0, tensors_done: 0, tensors_total: 0 };
        Self { callback, now }
    }

    /// Nobody to tell.
    pub(super) fn silent() -> Self {
        Self::new(None)
    }

    /// A new step begins.
    pub(super) fn stage(&mut self, stage: Stage) -> Result<()> {
        self.now.stage = stage;
        if stage > Stage::Weights {
            self.now.bytes_total = self.now.bytes_done;
        }
        self.tell()
    }

    /// The weights come next, `total` tensors.
    pub(super) fn tensors(&mut self, total: usize) -> Result<()> {
        self.now.tensors_total = total;
        self.stage(Stage::Fetch)
    }

    /// Files are brought here, so many bytes of them by now.
    pub(super) fn fetched(&mut self, now: Transfer) -> Result<()> {
        (self.now.bytes_done, self.now.bytes_total) = (now.bytes_done, now.bytes_total);
        self.tell()
    }

    /// Something small is on its way: a chance to cancel.
    pub(super) fn waiting(&mut self) -> Result<()> {
        self.tell()
    }

    /// What the loading of weights tells.
    pub(super) fn hear(&mut self, event: Event) -> Result<()> {
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
