//! Requests on consecutive shards as one model, and choosing its next token.
//!
//! What passes between two shards on one device stays there, and of the logits only those come to this process that sampling
//! looks at.

use std::sync::Arc;

use ndarray::ArrayView2;

use super::batch::{Joined, Source, Task, run_reported};
use super::{Input, Logits, Output, Request};
use crate::engine::session::{Best, Given, Want};
use crate::error::{ErrorKind, Result, bail, err};
use crate::runtime::Cancel;
use crate::sampler::Sampler;

/// Runs `input` through the shards of `requests` in turn: each takes what the one before gives. Their shards' layers must follow
/// one another, and their positions be the same.
///
/// Gives what the last one's [`infer`](Request::infer) would; the others then have no [`output`](Request::output). It is one call
/// for all: if it fails on one of the shards or is cancelled through any of the requests, every position is as it was.
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument) for no requests or such as do not follow one another, and those of
/// [`infer`](Request::infer).
pub fn infer_chain<'r>(requests: &'r mut [&mut Request], input: Input, logits: Logits) -> Result<Output<'r>> {
    run(requests, input, logits, &Want::Rows, |_, _| Ok(()))?;
    let last = requests.last().and_then(|last| last.output());
    last.ok_or_else(|| err!(Internal, "a run without a result"))
}

/// Runs `input` like [`infer_chain`], and samples the token that follows it.
///
/// The id is the one that `sampler` would choose from the last token's logits. On a device only the largest of them are copied to
/// this process, if `sampler` is greedy or has a `top_k`. If sampling fails, every position is as it was.
pub fn next_token(requests: &mut [&mut Request], input: Input, sampler: &mut Sampler) -> Result<u32> {
    let Some(last) = requests.last() else { bail!(InvalidArgument, "no requests") };
    check_last(last)?;
    let want = wanted(last, std::iter::once(&*sampler))?;
    run(requests, input, Logits::Last, &want, |last, given| choose(last, given, sampler))
}

/// One request's part of [`next_tokens`].
#[derive(Debug)]
pub struct SampleStep<'r, 'i> {
    /// The request, on a shard that gives logits; the call moves it on.
    pub request: &'r mut Request,
    /// Its next tokens.
    pub input: Input<'i>,
    /// What chooses the one that follows.
    pub sampler: &'r mut Sampler,
}

/// What [`next_token`] does, for many requests on one shard at once, as [`infer_batch`](super::infer_batch) runs them.
///
/// Returns each step's token or how it failed, in their order.
pub fn next_tokens(steps: &mut [SampleStep]) -> Vec<Result<u32>> {
    let Some(first) = steps.first() else { return Vec::new() };
    let want = check_last(first.request).and_then(|()| wanted(first.request, steps.iter().map(|step| &*step.sampler)));
    let want = match want {
        Ok(want) => want,
        Err(error) => return steps.iter().map(|_| Err(error.copy())).collect(),
    };
    let before: Vec<usize> = steps.iter().map(|step| step.request.position()).collect();
    let mut tasks: Vec<Task> = steps
        .iter_mut()
        .map(|step| Task { request: step.request, source: Source::Given(step.input), logits: Logits::Last })
        .collect();
    let outcomes = run_reported(&mut tasks, &want);
    drop(tasks);
    let sampled = steps.iter_mut().zip(outcomes).zip(before);
    sampled
        .map(|((step, given), before)| {
            let chosen = choose(step.request, given?, step.sampler);
            if chosen.is_err() {
                step.request.results = None;
                step.request.truncate(before)?;
            }
            chosen
        })
        .collect()
}

fn check_last(request: &Request) -> Result<()> {
    let info = request.shard().info();
    if !info.is_last {
        bail!(
            InvalidArgument,
            "the shard ends at layer {} of {} and gives no logits to sample from",
            info.last_layer,
            info.n_layers
        );
    }
    Ok(())
}

/// What a run is to give for `samplers`: all logits where they are in this process anyway.
fn wanted<'s>(last: &Request, samplers: impl Iterator<Item = &'s Sampler>) -> Result<Want> {
    let vocabulary = last.shard().info().vocab_size as usize;
    let on_device = last.shard().with(|loaded| Ok(loaded.session.leaves().is_some()))?;
    Ok(if on_device {
        Want::Best(samplers.map(|sampler| sampler.candidates(vocabulary)).collect())
    } else {
        Want::Rows
    })
}

fn choose(request: &Request, given: Given, sampler: &mut Sampler) -> Result<u32> {
    match given {
        Given::Best(Best::Candidates(mut candidates)) => Ok(sampler.choose(&mut candidates)),
        Given::Best(Best::Whole(logits)) => sampler.sample(&logits),
        Given::Nothing | Given::Kept(_) => {
            let output = request.output().map(Output::values);
            let logits = output.as_ref().and_then(ArrayView2::to_slice);
            sampler.sample(logits.ok_or_else(|| err!(Internal, "a run without logits"))?)
        }
        Given::Rows(_) => bail!(Internal, "rows that are nobody's"),
    }
}

/// Runs the chain and then `finish`, which gets the last request and what it was given; undoes all if anything fails.
fn run<T>(
    requests: &mut [&mut Request],
    input: Input,
    logits: Logits,
    want: &Want,
    finish: impl FnOnce(&Request, Given) -> Result<T>,
) -> Result<T> {
    check(requests)?;
    let before = requests[0].position();
    let flags: Vec<Arc<Cancel>> = requests.iter().map(|request| Arc::clone(&request.cancel)).collect();
    let done = run_shards(requests, &flags, input, logits, want).and_then(|given| {
        let last = requests.last().ok_or_else(|| err!(Internal, "a chain without an end"))?;
        finish(last, given)
    });
    if let Err(error) = &done {
        for request in requests.iter_mut() {
            request.results = None;
            request.truncate(before)?;
        }
        if error.kind() == ErrorKind::Cancelled {
            flags.iter().try_for_each(|flag| flag.clear())?;
        }
    }
    done
}

fn check(requests: &[&mut Request]) -> Result<()> {
    if requests.is_empty() {
        bail!(InvalidArgument, "no requests");
    }
    for (index, pair) in requests.windows(2).enumerate() {
        let (a, b) = (pair[0].shard().info(), pair[1].shard().info());
        let next = index + 1;
        let same_model = (&a.architecture, a.n_layers, a.hidden_size) == (&b.architecture, b.n_layers, b.hidden_size);
        if !same_model || a.last_layer + 1 != b.first_layer {
            bail!(
                InvalidArgument,
                "requests[{next}] is on layers {}..={} of {} ({}, hidden_size {}), which do not follow layers {}..={} of {} \
                 ({}, hidden_size {})",
                b.first_layer,
                b.last_layer,
                b.n_layers,
                b.architecture,
                b.hidden_size,
                a.first_layer,
                a.last_layer,
                a.n_layers,
                a.architecture,
                a.hidden_size
            );
        }
        if pair[0].position() != pair[1].position() {
            bail!(
                InvalidArgument,
                "requests[{next}] is at position {}, the one before it at {}",
                pair[1].position(),
                pair[0].position()
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
    want: &Want,
) -> Result<Given> {
    let mut left = Given::Nothing;
    for index in 0..requests.len() {
        if flags.iter().any(|flag| flag.is_set()) {
            bail!(Cancelled, "the chain was cancelled");
        }
        let stays = stays_on_device(requests, index)?;
        let (before, rest) = requests.split_at_mut(index);
        let source = match (before.last(), &left) {
            (None, _) => Source::Given(input.reborrow()),
            (Some(_), Given::Kept(kept)) => Source::Kept(kept),
            (Some(before), _) => match before.output() {
                Some(output) => Source::Given(Input::Hidden(output.values())),
                None => bail!(Internal, "a run without a result"),
            },
        };
        let is_last = rest.len() == 1;
        let task = Task { request: &mut *rest[0], source, logits };
        let want = match (is_last, stays) {
            (true, _) => want,
            (false, true) => &Want::Kept,
            (false, false) => &Want::Rows,
        };
        let others = flags.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, flag)| flag);
        let _joined = Joined::new(std::iter::once(&flags[index]).chain(others).map(|flag| &**flag));
        let given = run_reported(&mut [task], want).pop();
        left = given.unwrap_or_else(|| Err(err!(Internal, "a run without an outcome")))?;
    }
    for request in requests.iter_mut().rev().skip(1) {
        request.results = None;
    }
    Ok(left)
}

/// Whether what request `index` gives can stay where it is for the next one to take.
fn stays_on_device(requests: &[&mut Request], index: usize) -> Result<bool> {
    let Some(next) = requests.get(index + 1).filter(|next| next.history.is_none()) else { return Ok(false) };
    let leaves = |request: &Request| request.shard().with(|loaded| Ok(loaded.session.leaves()));
    let own = leaves(requests[index])?;
    Ok(own.is_some() && own == leaves(next)?)
}
