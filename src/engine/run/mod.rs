//! A run: the rows of one or many calls go through a shard's session, as many at a time as there is room for.
//!
//! A run reads every weight once, however many rows it has: sixteen requests that each want one token take little
//! longer together than one alone. Rows of different requests do not meet, so each gets the bits it gets alone.
//!
//! Requests, batches, chains and replays all call [`run_calls`]; it calls none of them.

mod call;
mod flags;
mod gather;
mod pieces;

pub(crate) use call::{Call, CallProgress};
pub(crate) use flags::Flags;

use super::session::Sink;
use super::shard::Shard;
use crate::error::{ErrorKind, Result};
use pieces::{Pieces, silent_rows};

/// Runs all rows of `calls`, which are on `shard`, into `sink`.
///
/// A call that is cancelled fails alone, and [`Call::end`] says so. An error that this function returns has failed all calls.
pub(crate) fn run_calls(shard: &Shard, calls: &mut [Call], sink: &mut Sink) -> Result<()> {
    let rows: usize = calls.iter().map(|call| call.output_rows(shard)).sum();
    sink.reserve(rows + silent_rows(shard, calls), shard.output_widths(), &shard.budget)?;
    let mut may_rebuild = true;
    loop {
        let loaded = shard.loaded_to_run()?;
        let turn = loaded.session.turn();
        let mut pieces = Pieces::new(shard, loaded.session.rows, calls, sink);
        let error = loop {
            let Some(piece) = pieces.next()? else { return Ok(()) };
            let done = loaded.session.run(piece.rows, &piece.batch, piece.wanted, piece.sink, piece.flags.leader());
            drop(piece);
            match pieces.done(done) {
                Err(error) if may_rebuild && error.kind() == ErrorKind::OutOfMemory => break error,
                done => done?,
            }
        };
        drop(pieces);
        drop(turn);
        drop(loaded);
        if !shard.is_broken() {
            return Err(error);
        }
        // The pieces that have been run before stay run.
        shard.rebuild()?;
        may_rebuild = false;
    }
}
