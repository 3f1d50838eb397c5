//! The input of a request that may have to be run again: of one without a KV cache all of it in each call, of one whose layers keep
//! states what lies behind the states that the request has gone back to.

use std::ops::Range;

use crate::engine::io::Logits;
use crate::engine::memory::{KeptCell, Reservation, input_bytes};
use crate::engine::run::{Call, CallProgress, run_calls};
use crate::engine::session::{Given, Results, Sink};
use crate::engine::shard::Shard;
use crate::error::{Error, Result, Site};
use crate::runtime::{Cancel, OwnedPart, Rows};

/// The input of every token so far: the request's memory between calls.
#[derive(Debug)]
pub(super) struct History {
    input: OwnedRows,
    _memory: Reservation,
}

#[derive(Debug)]
enum OwnedRows {
    Ids(Vec<i64>),
    /// The parts of a boundary.
    Parts(Vec<OwnedPart>),
}

impl History {
    /// A history with room for `capacity` tokens of input to `shard`, so that no call fails for lack of it: 8 bytes a token for ids,
    /// 4 for each value of a token that passes the boundary. The system commits the pages as tokens come.
    pub(super) fn new(shard: &Shard, capacity: usize) -> Result<Self> {
        const WHAT: &str = "the input that a request keeps";
        drop(shard.loaded()?);
        let widths = shard.input_parts();
        let bytes = input_bytes(&widths, capacity);
        let memory = shard.budget.reserve(bytes, Site::Kv, WHAT)?;
        let refused = |_| Error::oom(Site::Kv, "cpu", bytes, WHAT);
        let input = if shard.info().is_first {
            let mut ids = Vec::new();
            ids.try_reserve_exact(capacity).map_err(refused)?;
            OwnedRows::Ids(ids)
        } else {
            let mut parts = Vec::with_capacity(widths.len());
            for (role, width) in widths.iter().copied() {
                let mut values = Vec::new();
                values.try_reserve_exact(capacity.saturating_mul(width)).map_err(refused)?;
                parts.push(OwnedPart { role, values, width });
            }
            OwnedRows::Parts(parts)
        };
        Ok(Self { input, _memory: memory })
    }

    /// Whether the input is the text itself, from which everything can be computed anew. Hidden states have been computed from it.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.input, OwnedRows::Ids(_))
    }

    /// Adds rows.
    pub(super) fn push(&mut self, rows: Rows) {
        match (&mut self.input, rows) {
            (OwnedRows::Ids(ids), Rows::Ids(more)) => ids.extend_from_slice(more),
            (OwnedRows::Parts(parts), Rows::Parts(more)) => {
                for (part, more) in parts.iter_mut().zip(more.iter()) {
                    part.values.extend_from_slice(more.values);
                }
            }
            // The request has checked that the input is of its shard's kind.
            _ => {}
        }
    }

    /// Forgets every token from `position` on.
    pub(super) fn truncate(&mut self, position: usize) {
        match &mut self.input {
            OwnedRows::Ids(ids) => ids.truncate(position),
            OwnedRows::Parts(parts) => {
                for part in parts {
                    part.values.truncate(position * part.width);
                }
            }
        }
    }

    /// Appends the input of `tokens` as bytes, little-endian: ids of 8 bytes, or the parts of the boundary one after another, as
    /// float32.
    pub(super) fn write(&self, tokens: Range<usize>, to: &mut Vec<u8>) {
        match self.rows(tokens) {
            Rows::Ids(ids) => ids.iter().for_each(|id| to.extend_from_slice(&id.to_le_bytes())),
            Rows::Parts(parts) => {
                let values = parts.iter().flat_map(|part| part.values);
                values.for_each(|value| to.extend_from_slice(&value.to_le_bytes()));
            }
            Rows::Device(..) => {}
        }
    }

    /// Takes what [`write`](Self::write) gave for `tokens`, instead of what it has from their start on.
    pub(super) fn read(&mut self, tokens: Range<usize>, from: &[u8]) {
        self.truncate(tokens.start);
        match &mut self.input {
            OwnedRows::Ids(ids) => {
                ids.extend(from.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)));
            }
            OwnedRows::Parts(parts) => {
                let mut values = from.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                for part in parts {
                    part.values.extend(values.by_ref().take(tokens.len() * part.width));
                }
            }
        }
    }

    /// The input of the tokens `range`.
    pub(super) fn rows(&self, range: Range<usize>) -> Rows<'_> {
        match &self.input {
            OwnedRows::Ids(ids) => Rows::Ids(&ids[range]),
            OwnedRows::Parts(parts) => Rows::Parts(parts.iter().map(OwnedPart::rows).collect()).slice(range),
        }
    }
}

/// How a request's input is run again.
pub(super) struct Replay<'r> {
    /// What it is to fill.
    pub cache: &'r KeptCell,
    pub is_long: bool,
    pub chunk: usize,
    pub cancel: &'r Cancel,
}

/// Runs `rows` again to fill a cache. Since every cut of a sequence into runs gives the same bits, the cache is the one that the request
/// would have kept. What the shard gives besides goes into the memory of the request's `results`.
pub(super) fn replay(shard: &Shard, rows: Rows, replay: &Replay, results: &mut Option<Results>) -> Result<()> {
    let Replay { cache, is_long, chunk, cancel } = *replay;
    for position in (0..rows.len()).step_by(chunk) {
        let rows = rows.slice(position..rows.len().min(position + chunk));
        let mut sink = Sink::host();
        if let Some(before) = results.take() {
            sink.reuse(before);
        }
        let (logits, progress) = (Logits::None, CallProgress::default());
        let mut calls = [Call { rows, silent: 0, logits, best: 0, cache, position, is_long, chunk, cancel, progress }];
        run_calls(shard, &mut calls, &mut sink)?;
        let [call] = calls;
        if let Given::Rows(given) = call.end(shard, &mut sink, None)? {
            *results = Some(given);
        }
        shard.counters.tokens(rows.len());
    }
    Ok(())
}
