//! Batch
//!
//! Many requests on one shard, run at once: a run reads every weight once however many requests it serves, so the
//! next tokens of sixteen requests take little longer together than one of them alone. Each request gets the bits
//! that it gets alone.
//!
//!     for (;;) {
//!         ortshard_batch_infer(requests, tensors, NULL, count, tensors, statuses);
//!         for (size_t i = 0; i < count; i++) { choose a token from tensors[i], make it the next input in tensors[i] }
//!     }

use crate::ffi::basics::objects::{ortshard_request, ortshard_sampler};
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::guard;
use crate::ffi::frame::out::OutArray;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::run::many::{Item, enter_all, items, report, show};
use crate::ffi::run::request::logits_of;
use crate::ffi::run::tensor::{NOTHING, ortshard_tensor};
use crate::ffi::text::sampler::{self, Chooser};
use crate::{Logits, SampleStep, Step, infer_batch, next_tokens};

/// Runs `inputs[i]` through the shard for each of `count` requests and moves their positions on.
///
/// All requests must be on one shard, each only once. Rows of all are run together, about 512 at a time: decode steps
/// in one run, a long prompt among them in several. Inputs and outputs are those of ortshard_request_infer();
/// `outputs` may be the same array as `inputs`. `logits` holds an ORTSHARD_LOGITS_* constant for each request; NULL:
/// ORTSHARD_LOGITS_LAST for all.
///
/// A request that is refused or cancelled leaves the others to go on: `statuses[i]`, where `statuses` is not NULL, says
/// how each ended, and ortshard_error_message(requests[i], ...) why. One that failed has an output of all zero and the
/// position it had. Memory running out in a run fails every request of the call.
///
/// Returns OK if all requests succeeded, else the status of the first that failed; the message says which.
///
/// Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a request on another shard than the first, which is
/// refused alone; INVALID_STATE for a request that appears twice.
/// Threads: one call at a time on each request. Ownership: `outputs[i].data` belongs to request i and lives until that
/// request's next run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_batch_infer(
    requests: *const *mut ortshard_request,
    inputs: *const ortshard_tensor,
    logits: *const i32,
    count: usize,
    outputs: *mut ortshard_tensor,
    statuses: *mut ortshard_status,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract: arrays of `count`.
        let outputs = unsafe { OutArray::new(outputs, count, "outputs") }?;
        // Inputs and outputs may be one array, so the inputs are copied before the outputs are written.
        // SAFETY: as above.
        let inputs = unsafe { array(inputs, count, "inputs") }?.into_owned();
        // SAFETY: as above.
        let logits = (!logits.is_null()).then(|| unsafe { array(logits, count, "logits") }).transpose()?;
        let logits = |index: usize| logits.as_ref().map_or(Ok(Logits::Last), |all| logits_of(all[index]));
        // SAFETY: as above.
        let entered = unsafe { enter_all(requests, count) }?;
        (0..count).for_each(|index| outputs.set(index, NOTHING));
        // SAFETY: as above.
        let items = unsafe { items(entered, &inputs, logits) };
        // Preparing may move what inputs lay in, so that all of them are read before.
        let prepared = items.into_iter().map(|item| {
            let mut item = item?;
            item.running.prepare(item.values.tokens(), item.with)?;
            Ok(item)
        });
        let mut items: Vec<Result<Item<Logits>, Failure>> = prepared.collect();
        let before: Vec<usize> =
            items.iter().map(|item| item.as_ref().map_or(0, |item| item.running.request.position())).collect();
        let steps = items.iter_mut().flatten().filter_map(|item| {
            let input = item.values.input().ok()?;
            Some(Step { request: &mut item.running.request, input, logits: item.with })
        });
        let ran = infer_batch(&mut steps.collect::<Vec<_>>());
        let outcomes = show(items, ran, |index, item, ()| {
            outputs.set(index, item.running.show(before[index], None)?);
            Ok(())
        });
        // SAFETY: as above.
        unsafe { report(requests, "requests", statuses, outcomes) }
    })
}

/// Runs `inputs[i]` through the shard, which must be the model's last, for each of `count` requests, as
/// ortshard_batch_infer() does, and has `samplers[i]` choose the token that follows: `ids[i]`.
///
/// Each request draws from a stream of its own, so that no sampler may appear twice. Where `samplers[i]` is NULL, and
/// for all where `samplers` is, the id is that of the largest logit, among equals the lowest.
///
/// A request that fails leaves the others to go on: `statuses[i]`, where `statuses` is not NULL, says how each ended,
/// and ortshard_error_message(requests[i], ...) why. `ids[i]` of one that failed is as it was, as are its position and
/// its sampler. What the requests gave before is gone.
///
/// Returns OK if all succeeded, else the status of the first that failed; the message says which.
///
/// Errors: those of ortshard_batch_infer() and ortshard_chain_sample(); INVALID_ARGUMENT for a sampler that appears
/// twice.
/// Threads: one call at a time on each request and on each sampler.
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
        let ids = unsafe { OutArray::new(ids, count, "ids") }?;
        // SAFETY: as above.
        let inputs = unsafe { array(inputs, count, "inputs") }?.into_owned();
        // SAFETY: as above.
        let samplers = (!samplers.is_null()).then(|| unsafe { array(samplers, count, "samplers") }).transpose()?;
        let chooser = |index: usize| {
            let Some(samplers) = &samplers else { return Chooser::greedy() };
            let sampler = samplers[index];
            if let Some(before) = samplers[..index].iter().position(|other| *other == sampler && !sampler.is_null()) {
                return Err(Failure::invalid(format!(
                    "samplers[{index}] is samplers[{before}] again, and each request draws from a stream of its own: create \
                     a sampler for each, or pass NULL for the largest logit"
                )));
            }
            // SAFETY: as above.
            unsafe { sampler::enter(sampler, &format!("samplers[{index}]")) }
        };
        // SAFETY: as above.
        let mut items = unsafe { items(enter_all(requests, count)?, &inputs, chooser) };
        let steps = items.iter_mut().flatten().filter_map(|item| {
            let input = item.values.input().ok()?;
            Some(SampleStep { request: &mut item.running.request, input, sampler: &mut item.with })
        });
        let ran = next_tokens(&mut steps.collect::<Vec<_>>());
        let outcomes = show(items, ran, |index, _, id| {
            ids.set(index, id.into());
            Ok(())
        });
        // SAFETY: as above.
        unsafe { report(requests, "requests", statuses, outcomes) }
    })
}
