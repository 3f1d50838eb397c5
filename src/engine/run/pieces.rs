//! The pieces that the rows of a run's calls are cut into.

use std::ops::Range;

use parking_lot::MutexGuard;

use super::call::Call;
use super::flags::Flags;
use super::gather::{Gathered, rotated};
use crate::engine::io::Logits;
use crate::engine::memory::{KeptStore, ROWS};
use crate::engine::session::Sink;
use crate::engine::shard::Shard;
use crate::error::{ErrorKind, Result, bail, err};
use crate::runtime::{Batch, Rows};

/// The calls of a run, cut into pieces. It holds the KV caches of the calls.
pub(super) struct Pieces<'r, 'c> {
    shard: &'r Shard,
    calls: &'r mut [Call<'c>],
    sink: &'r mut Sink,
    caches: Vec<MutexGuard<'c, Option<KeptStore>>>,
    /// The most rows of a piece.
    most: usize,
    /// The present piece: the indices of its calls, and which of their rows are in it.
    plan: Vec<(usize, Range<usize>)>,
    /// Rows of the piece whose logits are wanted.
    wanted: Vec<i64>,
    /// Which of its rows are not run again only for the states behind them: of each call those that it gives.
    rows: Vec<Range<usize>>,
    gathered: Gathered,
}

/// The most rows of a piece of `calls`.
fn most(calls: &[Call]) -> usize {
    calls.iter().map(|call| call.chunk).max().unwrap_or(0).max(ROWS)
}

/// Rows that `calls` give and that are there before the next piece is run, at most, besides those that they are given: hidden states of
/// rows that are run again.
pub(super) fn silent_rows(shard: &Shard, calls: &[Call]) -> usize {
    let silent: usize = calls.iter().map(|call| call.silent).sum();
    if shard.info().is_last { 0 } else { silent.min(most(calls)) }
}

/// What goes through the session at once.
pub(super) struct Piece<'p> {
    pub rows: Rows<'p>,
    pub batch: Batch<'p>,
    pub wanted: &'p [i64],
    pub sink: &'p mut Sink,
    pub flags: Flags<'p>,
}

impl<'r, 'c> Pieces<'r, 'c> {
    /// The pieces of the rows of `calls` that are left, for a session that runs at most `rows` at once.
    pub(super) fn new(shard: &'r Shard, rows: usize, calls: &'r mut [Call<'c>], sink: &'r mut Sink) -> Self {
        let caches: Vec<_> = calls.iter().map(|call| call.cache.lock()).collect();
        for (call, _) in calls.iter_mut().zip(&caches).filter(|(_, cache)| cache.is_none()) {
            call.progress.failed.get_or_insert(err!(StaleShard, "the request's shard was retired"));
        }
        let most = rows.min(most(calls));
        let (plan, wanted, rows, gathered) = (Vec::new(), Vec::new(), Vec::new(), Gathered::default());
        Self { shard, calls, sink, caches, most, plan, wanted, rows, gathered }
    }

    /// The next piece; none if all rows have been run.
    pub(super) fn next(&mut self) -> Result<Option<Piece<'_>>> {
        self.calls.iter_mut().filter(|call| call.left() > 0 && call.cancel.is_set()).for_each(Call::fail_cancelled);
        self.plan();
        if self.plan.is_empty() {
            return Ok(None);
        }
        let mut segments = Vec::with_capacity(self.plan.len());
        let is_last = self.shard.info().is_last;
        let (mut row, mut gives) = (0, 0);
        self.wanted.clear();
        self.rows.clear();
        self.sink.begin();
        let mut planned = self.plan.iter().peekable();
        for (index, (call, cache)) in self.calls.iter_mut().zip(&mut self.caches).enumerate() {
            let Some((_, tokens)) = planned.next_if(|(planned, _)| *planned == index) else { continue };
            let Some(cache) = cache.as_mut() else { bail!(Internal, "a run of a retired request") };
            let given = tokens.start.max(call.silent).min(tokens.end)..tokens.end;
            if given.start == call.silent && !given.is_empty() {
                call.progress.first = self.sink.written() + if is_last { self.wanted.len() } else { gives };
            }
            let (start, position) = (call.position + call.silent, call.position + tokens.start);
            let mut segment = cache.segment(start, call.position, position, tokens.len())?;
            segment.is_long = call.is_long;
            segments.push(segment);
            let given = row + given.start - tokens.start..row + tokens.len();
            match call.logits {
                Logits::All => self.wanted.extend(given.start as i64..given.end as i64),
                Logits::Last if tokens.end == call.rows.len() => {
                    self.wanted.push((row + tokens.len()) as i64 - 1);
                    self.sink.want(call.best);
                }
                Logits::Last | Logits::None => {}
            }
            row += tokens.len();
            gives += given.len();
            self.rows.push(given);
        }
        let part = |(index, tokens): &(usize, Range<usize>)| self.calls[*index].rows.slice(tokens.clone());
        let rows = match &self.plan[..] {
            [one] => part(one),
            several => {
                self.gathered = Gathered::new(&several.iter().map(part), &self.shard.budget)?;
                self.gathered.rows()
            }
        };
        Ok(Some(Piece {
            rows,
            batch: rotated(&self.shard.config().ropes, segments),
            wanted: &self.wanted,
            sink: self.sink,
            flags: Flags::join(self.plan.iter().map(|(index, _)| self.calls[*index].cancel)),
        }))
    }

    /// Ends the piece that [`next`](Self::next) has given. The outcome of its run is `done`.
    pub(super) fn done(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Ok(()) => {
                if self.shard.info().is_last {
                    self.sink.commit(self.wanted.len());
                } else {
                    self.sink.pick(&self.rows)?;
                    self.sink.commit(self.rows.iter().map(Range::len).sum());
                }
                for (index, tokens) in &self.plan {
                    self.calls[*index].progress.done = tokens.end;
                    self.caches[*index].iter_mut().for_each(KeptStore::ran);
                }
                Ok(())
            }
            Err(error) if error.kind() != ErrorKind::Cancelled => Err(error),
            Err(error) => {
                let mut was_set = false;
                for (index, _) in &self.plan {
                    let call = &mut self.calls[*index];
                    if call.cancel.was_set() {
                        call.fail_cancelled();
                        was_set = true;
                    }
                }
                // The same rows are run again without the calls whose flag it was.
                if was_set { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Plans the next piece. It has no more rows of a call than the call's chunk.
    fn plan(&mut self) {
        let mut room = self.most;
        self.plan.clear();
        for (index, call) in self.calls.iter().enumerate() {
            let take = call.left().min(call.chunk).min(room);
            if take > 0 {
                let done = call.progress.done;
                self.plan.push((index, done..done + take));
                room -= take;
            }
            // The next piece begins with the rest of this call, so that its rows stay together.
            if take < call.left() {
                break;
            }
        }
    }
}
