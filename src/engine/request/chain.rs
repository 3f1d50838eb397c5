//! Requests on consecutive shards as one model.
//!
//! What passes between two shards on one device stays there.

use std::borrow::Borrow;
use std::sync::Arc;

use super::{Request, Task, advance};
use crate::engine::io::{Input, Logits, Output};
use crate::engine::run::Flags;
use crate::engine::session::{Given, Results, Sink};
use crate::error::{ErrorKind, Result, bail, err};
use crate::runtime::{Cancel, PartRows, Rows};

/// Runs `input` through the shards of `requests` in turn: each shard takes what the one before gives. The layers of each shard must
/// follow those of the one before, and all requests must be at one position.
///
/// Gives what [`infer`](Request::infer) would give for the last request; the other requests then have no
/// [`output`](Request::output). It is one call for all requests: if it fails on one of the shards, or is cancelled through any of
/// the requests, every position is as it was.
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if there are no requests or their layers do not follow one another, and the
/// errors of [`infer`](Request::infer).
pub fn infer_chain<'r>(requests: &'r mut [&mut Request], input: Input, logits: Logits) -> Result<Output<'r>> {
    requests.last().map_or(Ok(()), |last| last.must_give_one_part())?;
    chain(requests, input, logits)?;
    let last = requests.last().and_then(|last| last.output());
    last.ok_or_else(|| err!(Internal, "a run without a result"))
}

/// Does what [`infer_chain`] does, whatever parts come out of the last shard.
pub(crate) fn chain(requests: &mut [&mut Request], input: Input, logits: Logits) -> Result<()> {
    run_chain(requests, input, logits, (Sink::host(), 0), |_, _| Ok(()))
}

/// Runs the chain into `sink`, of whose last request so many of the largest logits may be wanted, and calls `finish` with that request
/// and what it was given. If anything fails, all requests are where they were.
pub(super) fn run_chain<T>(
    requests: &mut [&mut Request],
    input: Input,
    logits: Logits,
    sink: (Sink, usize),
    finish: impl FnOnce(&Request, Given) -> Result<T>,
) -> Result<T> {
    let Some(first) = requests.first() else { bail!(InvalidArgument, "no requests") };
    let (before, tokens) = (first.position, first.rows_of(input)?.len());
    check_chain(requests, tokens)?;
    let flags: Vec<Arc<Cancel>> = requests.iter().map(|request| Arc::clone(&request.cancel)).collect();
    let done = run_shards(requests, &flags, input, logits, sink).and_then(|given| {
        let last = requests.last().ok_or_else(|| err!(Internal, "a chain without an end"))?;
        finish(last, given)
    });
    if let Err(error) = &done {
        for request in requests.iter_mut() {
            request.take_back(before)?;
        }
        if error.kind() == ErrorKind::Cancelled {
            flags.iter().try_for_each(|flag| flag.clear())?;
        }
    }
    done
}

/// Refuses requests that are none, whose layers do not follow one another, that are at different positions, or that would run
/// `tokens` more in different ways.
pub(crate) fn check_chain<R: Borrow<Request>>(requests: &[R], tokens: usize) -> Result<()> {
    if requests.is_empty() {
        bail!(InvalidArgument, "no requests");
    }
    for (index, pair) in requests.windows(2).enumerate() {
        let (before, after) = (pair[0].borrow(), pair[1].borrow());
        let (a, b) = (before.shard().info(), after.shard().info());
        let next = index + 1;
        let same_model =
            (&a.architecture, a.layer_count, a.hidden_size) == (&b.architecture, b.layer_count, b.hidden_size);
        if !same_model || a.last_layer + 1 != b.first_layer {
            bail!(
                InvalidArgument,
                "requests[{next}] is on layers {}..={} of {} ({}, hidden_size {}), which do not follow layers {}..={} of {} \
                 ({}, hidden_size {})",
                b.first_layer,
                b.last_layer,
                b.layer_count,
                b.architecture,
                b.hidden_size,
                a.first_layer,
                a.last_layer,
                a.layer_count,
                a.architecture,
                a.hidden_size
            );
        }
        if before.position() != after.position() {
            bail!(
                InvalidArgument,
                "requests[{next}] is at position {}, the one before it at {}",
                after.position(),
                before.position()
            );
        }
        if before.is_long_with(tokens)? != after.is_long_with(tokens)? {
            bail!(
                InvalidArgument,
                "requests[{next}] and the one before it rotate positions in different ways, one as in a long text and one as in a \
                 short one: all need the same option long_context, and tokens that were run alike"
            );
        }
    }
    Ok(())
}

/// Runs the shards one after another. Any of the `flags` stops the run in progress.
fn run_shards(
    requests: &mut [&mut Request],
    flags: &[Arc<Cancel>],
    input: Input,
    logits: Logits,
    (sink, best): (Sink, usize),
) -> Result<Given> {
    let (mut last_sink, mut given) = (Some(sink), Given::Nothing);
    for index in 0..requests.len() {
        if flags.iter().any(|flag| flag.is_set()) {
            bail!(Cancelled, "the chain was cancelled");
        }
        let sink = match last_sink.take_if(|_| index + 1 == requests.len()) {
            Some(sink) => sink,
            None if stays_on_device(requests, index)? => Sink::device(),
            None => Sink::host(),
        };
        let (before, rest) = requests.split_at_mut(index);
        let rows = match (before.last().map(|before| before.results.as_ref()), &given) {
            (None, _) => rest[0].rows_of(input),
            (Some(_), Given::Device(kept)) => match &kept.rows {
                Some(rows) => Ok(Rows::Device(rows, 0, kept.total)),
                None => bail!(Internal, "no rows on the device"),
            },
            (Some(Some(results)), _) => Ok(handed_over(before, results)),
            (Some(None), _) => bail!(Internal, "a run without a result"),
        };
        let others = flags.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, flag)| flag);
        let _flags = Flags::join(std::iter::once(&flags[index]).chain(others).map(|flag| &**flag));
        let task = Task { request: &mut *rest[0], rows, logits, best };
        let done = advance(vec![task], sink).pop();
        given = done.unwrap_or_else(|| Err(err!(Internal, "a run without an outcome")))?;
    }
    for request in requests.iter_mut().rev().skip(1) {
        request.results = None;
    }
    Ok(given)
}

/// What the last of the requests `before` has given, for the next one to take as it lies.
fn handed_over<'r>(before: &[&mut Request], results: &'r Results) -> Rows<'r> {
    let roles = before.last().map(|last| last.shard.output_parts()).unwrap_or_default();
    let parts = roles.iter().zip(results.parts());
    Rows::Parts(parts.map(|((role, _), (values, width))| PartRows { role: *role, values, width }).collect())
}

/// Whether what request `index` gives can stay where it is for the next one to take.
fn stays_on_device(requests: &[&mut Request], index: usize) -> Result<bool> {
    let Some(next) = requests.get(index + 1).filter(|next| next.history.is_none()) else { return Ok(false) };
    let place = |request: &Request| -> Result<_> { Ok(request.shard.loaded()?.session.results_on_device()) };
    let own = place(requests[index])?;
    Ok(own.is_some() && own == place(next)?)
}
