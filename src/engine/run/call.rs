//! A call of one request.

use crate::engine::io::Logits;
use crate::engine::memory::KeptCell;
use crate::engine::session::{Given, Sink};
use crate::engine::shard::Shard;
use crate::error::{Error, Result, err};
use crate::runtime::{Cancel, Rows};

/// A call of one request: what goes in, where the request's KV cache is, and how far the call has come.
#[derive(Debug)]
pub(crate) struct Call<'c> {
    pub rows: Rows<'c>,
    /// So many of the first rows are run again, to come to the states that the others go on from: they give nothing.
    pub silent: usize,
    pub logits: Logits,
    /// How many of the largest logits are wanted, if the sink takes only those.
    pub best: usize,
    pub cache: &'c KeptCell,
    /// The position of the first row.
    pub position: usize,
    /// Whether positions are rotated as those of long texts are.
    pub is_long: bool,
    /// The most rows of the call that go into one piece.
    pub chunk: usize,
    pub cancel: &'c Cancel,
    pub progress: CallProgress,
}

/// How far a call has come.
#[derive(Debug, Default)]
pub(crate) struct CallProgress {
    /// Rows that have been run.
    pub(super) done: usize,
    /// The call's first row among the results.
    pub(super) first: usize,
    pub(super) failed: Option<Error>,
}

impl Call<'_> {
    /// Rows that are still to be run.
    pub(super) fn left(&self) -> usize {
        if self.progress.failed.is_none() { self.rows.len() - self.progress.done } else { 0 }
    }

    pub(super) fn fail_cancelled(&mut self) {
        self.progress.failed = Some(err!(Cancelled, "the request was cancelled"));
    }

    /// How many rows the call gives.
    pub(super) fn output_rows(&self, shard: &Shard) -> usize {
        shard.info().output_shape(self.rows.len() - self.silent, self.logits).0
    }

    /// What the call, which was run on `shard`, has been given, or why it has failed: for a reason of its own or because the whole
    /// run was `stopped`.
    pub(crate) fn end(self, shard: &Shard, sink: &mut Sink, stopped: Option<&Error>) -> Result<Given> {
        let rows = self.output_rows(shard);
        match self.progress.failed.or_else(|| stopped.map(Error::copy)) {
            Some(error) => Err(error),
            None => Ok(sink.give(self.progress.first, rows)),
        }
    }
}
