//! Requests without a KV cache: they keep what went into the shard, and compute everything anew in each call.

use std::ops::Range;
use std::sync::Arc;

use ndarray::ArrayView2;

use super::batch::{Source, Task, run_together};
use super::{Input, Logits, Request};
use crate::engine::memory::Reservation;
use crate::engine::session::Want;
use crate::engine::shard::Shard;
use crate::error::{Error, ErrorKind, Result, Site};

/// The input of every token so far: the request's memory between calls.
#[derive(Debug)]
pub(crate) struct History {
    rows: Rows,
    _memory: Reservation,
}

#[derive(Debug)]
enum Rows {
    Ids(Vec<i64>),
    /// Hidden states of this width.
    Hidden(Vec<f32>, usize),
}

impl History {
    /// Room for `capacity` tokens of input to `shard`, so that a call never fails for lack of it: 8 bytes a token for
    /// ids, 4 x `hidden_size` for hidden states. The system commits its pages as tokens come.
    pub(crate) fn new(shard: &Shard, capacity: usize) -> Result<Self> {
        shard.with(|_| Ok(()))?;
        let width = shard.info().hidden_size as usize;
        let row = if shard.info().is_first { size_of::<i64>() } else { width * size_of::<f32>() };
        let bytes = (capacity as u64).saturating_mul(row as u64);
        let memory = shard.budget.reserve(bytes, Site::Kv, "the input of a request without a cache")?;
        let refused = |_| Error::oom(Site::Kv, "cpu", bytes, "the input of a request without a cache");
        let rows = if shard.info().is_first {
            let mut ids = Vec::new();
            ids.try_reserve_exact(capacity).map_err(refused)?;
            Rows::Ids(ids)
        } else {
            let mut values = Vec::new();
            values.try_reserve_exact(capacity.saturating_mul(width)).map_err(refused)?;
            Rows::Hidden(values, width)
        };
        Ok(Self { rows, _memory: memory })
    }

    /// Adds what has been run.
    pub(crate) fn push(&mut self, input: &Input) {
        match (&mut self.rows, input) {
            (Rows::Ids(ids), Input::Ids(more)) => ids.extend_from_slice(more),
            (Rows::Hidden(values, _), Input::Hidden(more)) => values.extend_from_slice(more.as_slice().unwrap_or(&[])),
            // The request has checked that the input is of its shard's kind.
            _ => {}
        }
    }

    /// Forgets every token from `position` on.
    pub(crate) fn truncate(&mut self, position: usize) {
        match &mut self.rows {
            Rows::Ids(ids) => ids.truncate(position),
            Rows::Hidden(values, width) => values.truncate(position * *width),
        }
    }

    /// The input of the tokens `range`.
    pub(crate) fn input(&self, range: Range<usize>) -> Result<Input<'_>> {
        match &self.rows {
            Rows::Ids(ids) => Ok(Input::Ids(&ids[range])),
            Rows::Hidden(values, width) => {
                ArrayView2::from_shape((range.len(), *width), &values[range.start * width..range.end * width])
                    .map(Input::Hidden)
                    .map_err(|e| Error::new(ErrorKind::Internal, "the history has another width").with_source(e))
            }
        }
    }
}

impl Request {
    /// Before a call of `tokens` tokens: gives a request without a KV cache one that has room for just them and what is
    /// behind them, and fills it. Since any cut of a sequence into runs gives the same bits, so does this.
    pub(crate) fn lend_cache(&mut self, tokens: usize) -> Result<()> {
        let Some(history) = self.history.take() else { return Ok(()) };
        let position = self.position();
        let filled = self.shard().new_cache(position + tokens, self.chunk()).and_then(|cache| {
            self.cache = cache;
            self.set_position(0);
            self.replay(&history, position)
        });
        // Also where the replay broke off.
        self.set_position(position);
        self.history = Some(history);
        filled
    }

    /// Runs the first `tokens` of `history`, for what they leave in the KV cache.
    fn replay(&mut self, history: &History, tokens: usize) -> Result<()> {
        while self.position() < tokens {
            let end = tokens.min(self.position() + self.chunk());
            let input = history.input(self.position()..end)?;
            let task = Task { request: self, source: Source::Given(input), logits: Logits::None };
            run_together(&mut [task], &Want::Rows).into_iter().try_for_each(|outcome| outcome.map(drop))?;
        }
        Ok(())
    }

    /// After the call: gives the memory of a lent cache back, and remembers the input if it was run.
    pub(crate) fn return_cache(&mut self, ran: Option<&Input>) {
        let Some(history) = &mut self.history else { return };
        if let Some(input) = ran {
            history.push(input);
        }
        self.cache = Arc::default();
    }
}
