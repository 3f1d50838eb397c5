//! Choosing the next token. Only those logits come to this process that sampling looks at.

use ndarray::ArrayView2;

use super::chain::run_chain;
use super::{Request, Task, advance};
use crate::engine::io::{Input, Logits, Output};
use crate::engine::session::{Best, Given, Sink};
use crate::error::{Result, bail, err};
use crate::sampler::{Choose, Sampler};

/// Runs `input` like [`infer_chain`](crate::infer_chain), and samples the token that follows it.
///
/// The id is the one that `sampler` would choose from the last token's logits. On a device, if `sampler` is greedy or has a `top_k`,
/// only the largest logits are copied to this process. If sampling fails, every position is as it was.
pub fn next_token(requests: &mut [&mut Request], input: Input, sampler: &mut Sampler) -> Result<u32> {
    next_choice(requests, input, sampler)
}

/// Does what [`next_token`] does with anything that chooses.
pub(crate) fn next_choice(requests: &mut [&mut Request], input: Input, choose: &mut dyn Choose) -> Result<u32> {
    let Some(last) = requests.last() else { bail!(InvalidArgument, "no requests") };
    let sink = (sink(last)?, candidates(last, choose));
    run_chain(requests, input, Logits::Last, sink, |last, given| chosen(last, given, choose))
}

/// One request's part of [`next_tokens`].
#[derive(Debug)]
pub struct SampleStep<'r, 'i> {
    /// The request, on a shard that gives logits. The call moves it on.
    pub request: &'r mut Request,
    /// Its next tokens.
    pub input: Input<'i>,
    /// The sampler that chooses the token after them.
    pub sampler: &'r mut Sampler,
}

/// Runs many requests on one shard at once, as [`infer_batch`](super::infer_batch) does, and samples the token that follows in each.
///
/// Returns the token of each step, or why the step failed, in the order of the steps.
pub fn next_tokens(steps: &mut [SampleStep]) -> Vec<Result<u32>> {
    let steps = steps.iter_mut().map(|SampleStep { request, input, sampler }| ChoiceStep {
        request,
        input: *input,
        choose: *sampler,
    });
    next_choices(&mut steps.collect::<Vec<_>>())
}

/// One request's part of [`next_choices`].
pub(crate) struct ChoiceStep<'r, 'i> {
    pub(crate) request: &'r mut Request,
    pub(crate) input: Input<'i>,
    pub(crate) choose: &'r mut dyn Choose,
}

/// Does what [`next_tokens`] does with anything that chooses.
pub(crate) fn next_choices(steps: &mut [ChoiceStep]) -> Vec<Result<u32>> {
    let Some(first) = steps.first() else { return Vec::new() };
    let sink = match sink(first.request) {
        Ok(sink) => sink,
        Err(error) => return steps.iter().map(|_| Err(error.copy())).collect(),
    };
    let before: Vec<usize> = steps.iter().map(|step| step.request.position).collect();
    let tasks = steps.iter_mut().map(|step| Task {
        best: candidates(step.request, step.choose),
        rows: step.request.rows_of(step.input),
        request: step.request,
        logits: Logits::Last,
    });
    let outcomes = advance(tasks.collect(), sink);
    let sampled = steps.iter_mut().zip(outcomes).zip(before);
    sampled
        .map(|((step, given), before)| {
            let chosen = chosen(step.request, given?, step.choose);
            if chosen.is_err() {
                step.request.take_back(before)?;
            }
            chosen
        })
        .collect()
}

/// The sink for the logits of `last`, whose shard must give logits. If they are computed in this process, it gets all of them.
fn sink(last: &Request) -> Result<Sink> {
    let info = last.shard.info();
    if !info.is_last {
        bail!(
            InvalidArgument,
            "the shard ends at layer {} of {} and gives no logits to sample from",
            info.last_layer,
            info.layer_count
        );
    }
    let is_on_device = last.shard.loaded()?.session.results_on_device().is_some();
    Ok(if is_on_device { Sink::best() } else { Sink::host() })
}

/// How many of the largest logits `choose` looks at.
fn candidates(request: &Request, choose: &dyn Choose) -> usize {
    choose.candidates(request.shard.info().vocab_size as usize)
}

fn chosen(request: &Request, given: Given, choose: &mut dyn Choose) -> Result<u32> {
    match given {
        Given::Best(Best::Candidates(mut candidates)) => choose.choose_of_largest(&mut candidates),
        Given::Best(Best::Whole(logits)) => choose.choose(&logits),
        Given::Nothing | Given::Device(_) => {
            let output = request.output().map(Output::values);
            let logits = output.as_ref().and_then(ArrayView2::to_slice);
            choose.choose(logits.ok_or_else(|| err!(Internal, "a run without logits"))?)
        }
        Given::Rows(_) => bail!(Internal, "rows that are nobody's"),
    }
}
