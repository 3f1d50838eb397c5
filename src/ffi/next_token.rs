//! Next token
//!
//! Running a model and choosing the token that follows, in one call. It gives the id that ortshard_sampler_sample()
//! would choose from the logits. These stay where they are: on a device that is not the processor only the largest are
//! copied to the host, if the sampler is greedy or has a top_k.
//!
//!     ortshard_chain_sample(requests, n, &prompt, sampler, &id);
//!     while (!done(id)) {
//!         ortshard_tensor input = {ORTSHARD_DTYPE_I64, 1, {1}, &id, sizeof id};
//!         ortshard_chain_sample(requests, n, &input, sampler, &id);
//!     }

use super::batch::Statuses;
use super::buffers::{OutArray, array};
use super::chain::Chain;
use super::guard::guard;
use super::handle::{self, Out, borrow};
use super::objects::{ortshard_request, ortshard_sampler};
use super::request::{Entered, enter};
use super::status::{Failure, ortshard_status};
use super::tensor::{Values, ortshard_tensor};
use crate::{Request, SampleStep, Sampler, next_token, next_tokens};

/// Runs `input` through the shards of `count` requests in turn, as ortshard_chain_infer() does, and has `sampler` choose
/// the next token. The last shard must be the model's last; one request on a whole model is a chain of 1.
///
/// `*id` may be what `input` describes. If the call fails, also in sampling, `*id` is as it was, and so are all
/// positions and the sampler. It is a run of each request: what the requests gave before is gone.
///
/// Errors: those of ortshard_chain_infer() and ortshard_sampler_sample(); INVALID_ARGUMENT if the last shard gives no
/// logits. Threads: one call at a time on each request and on the sampler. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chain_sample(
    requests: *const *mut ortshard_request,
    count: usize,
    input: *const ortshard_tensor,
    sampler: *mut ortshard_sampler,
    id: *mut i64,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        let input = (!input.is_null()).then(|| unsafe { input.read_unaligned() });
        // SAFETY: as above.
        let sampler = unsafe { borrow(sampler.cast_const(), "sampler") }?;
        // SAFETY: as above.
        let mut chain = unsafe { Chain::enter(requests, count, input) }?;
        let mut sampler = sampler.enter(|sampler| sampler, "sampler")?;
        let input = chain.values.input()?;
        let mut requests: Vec<&mut Request> = chain.entered.iter_mut().map(|running| &mut running.request).collect();
        let chosen = next_token(&mut requests, input, &mut sampler)?;
        chain.moved();
        out.set(chosen.into());
        Ok(())
    })
}

/// The same for `count` requests on one shard, the model's last, each with an input and a sampler of its own: run
/// together, as ortshard_batch_infer() does.
///
/// A request that fails leaves the others to go on: `statuses[i]`, where `statuses` is not NULL, says how each ended.
/// `ids[i]` of one that failed is as it was, as are its position and its sampler. What the requests gave before is gone.
///
/// Returns OK if all succeeded, else the status of the first that failed; ortshard_last_error() says which.
///
/// Errors: those of ortshard_batch_infer() and ortshard_chain_sample(). Threads: one call at a time on each request and
/// on each sampler. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_batch_sample(
    requests: *const *mut ortshard_request,
    inputs: *const ortshard_tensor,
    samplers: *const *mut ortshard_sampler,
    count: usize,
    ids: *mut i64,
    statuses: *mut ortshard_status,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract: arrays of `count`.
        let requests = unsafe { array(requests, count, "requests") }?;
        // SAFETY: as above.
        let inputs = unsafe { array(inputs, count, "inputs") }?;
        // SAFETY: as above.
        let samplers = unsafe { array(samplers, count, "samplers") }?;
        // SAFETY: as above.
        let ids = unsafe { OutArray::new(ids, count, "ids") }?;
        // SAFETY: as above.
        let statuses = unsafe { Statuses::new(statuses, count) };
        let entered: Vec<Result<(Entered, OwnSampler), Failure>> = (0..count)
            .map(|i| {
                // SAFETY: as above.
                let request = unsafe { enter(requests[i], &format!("requests[{i}]")) }?;
                let name = format!("samplers[{i}]");
                // SAFETY: as above.
                let sampler = unsafe { borrow(samplers[i].cast_const(), &name) }?;
                Ok((request, sampler.enter(|sampler| sampler, &name)?))
            })
            .collect();
        // Inputs may lie in what a request of this call gave last.
        let written: Vec<_> = entered.iter().flatten().map(|(running, _)| running.output.clone()).collect();
        let items: Vec<_> = entered
            .into_iter()
            .zip(&*inputs)
            .map(|(entered, input)| {
                let (entered, sampler) = entered?;
                // SAFETY: as above.
                let values = written.iter().try_fold(unsafe { input.values() }?, Values::out_of)?;
                values.input()?;
                Ok(Item { entered, sampler, values })
            })
            .collect();
        statuses.report(run(items, &ids))
    })
}

/// A sampler that a call has to itself.
type OwnSampler = handle::Entry<ortshard_sampler, Sampler>;

/// One request's part of a call, checked.
struct Item<'a> {
    entered: Entered,
    sampler: OwnSampler,
    values: Values<'a>,
}

fn run(mut items: Vec<Result<Item, Failure>>, ids: &OutArray<i64>) -> Vec<Result<(), Failure>> {
    let mut steps: Vec<SampleStep> = items
        .iter_mut()
        .flatten()
        .filter_map(|item| {
            let input = item.values.input().ok()?;
            Some(SampleStep { request: &mut item.entered.request, input, sampler: &mut item.sampler })
        })
        .collect();
    let mut chosen = next_tokens(&mut steps).into_iter();
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            let item = item?;
            let id = chosen.next().unwrap_or_else(|| Err(crate::error::err!(Internal, "a step without an outcome")))?;
            ids.set(index, id.into());
            item.entered.moved();
            Ok(())
        })
        .collect()
}
