//! Batch
//!
//! Many requests on one shard, run at once: a run reads every weight once however many requests it serves, so the
//! next tokens of sixteen requests take little longer together than one of them alone. Each request gets the bits
//! that it gets alone.
//!
//!     for (;;) {
//!         ortshard_batch_infer(requests, tensors, NULL, n, tensors, statuses);
//!         for (size_t i = 0; i < n; i++) { choose a token from tensors[i], make it the next input in tensors[i] }
//!     }

use super::buffers::{OutArray, array};
use super::guard::guard;
use super::objects::ortshard_request;
use super::request::{Entered, enter, logits_of};
use super::status::{Failure, ORTSHARD_OK, ortshard_status};
use super::tensor::{NOTHING, Values, ortshard_tensor};
use crate::{Logits, Step, infer_batch};

/// Runs `inputs[i]` through the shard for each of `count` requests and moves their positions on.
///
/// All requests must be on one shard, each only once. Rows of all are run together, about 512 at a time: decode steps
/// in one run, a long prompt among them in several. Inputs and outputs are those of ortshard_request_infer();
/// `outputs` may be the same array as `inputs`. `logits` holds an ORTSHARD_LOGITS_* constant for each request; NULL:
/// ORTSHARD_LOGITS_LAST for all.
///
/// A request that is refused or cancelled leaves the others to go on: `statuses[i]`, where `statuses` is not NULL, says
/// how each ended. One that failed has an output of all zero and the position it had. Memory running out in a run fails
/// every request of the call.
///
/// Returns OK if all requests succeeded, else the status of the first that failed; ortshard_last_error() says which.
///
/// Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for requests on different shards or a `count` that no
/// memory holds; INVALID_STATE for a request that appears twice or is in use by another call. Threads: one call at a
/// time on each request. Ownership: `outputs[i].data` belongs to request i and lives until that request's next run.
/// @since 0.1
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
        // SAFETY: as above.
        let statuses = unsafe { Statuses::new(statuses, count) };
        // SAFETY: as above.
        let requests = unsafe { array(requests, count, "requests") }?;
        // Inputs and outputs may be one array, so the inputs are copied before the outputs are written.
        // SAFETY: as above.
        let inputs = unsafe { array(inputs, count, "inputs") }?.into_owned();
        // SAFETY: as above.
        let logits = (!logits.is_null()).then(|| unsafe { array(logits, count, "logits") }).transpose()?;
        (0..count).for_each(|index| outputs.set(index, NOTHING));

        let entered: Vec<_> = requests
            .iter()
            .enumerate()
            // SAFETY: as above.
            .map(|(i, request)| unsafe { enter(*request, &format!("requests[{i}]")) })
            .collect();
        // Inputs may lie in what a request of this batch gave last, which the run writes over, and preparing for it may move.
        let written: Vec<_> = entered.iter().flatten().map(|running| running.output.clone()).collect();
        let items: Vec<_> = entered
            .into_iter()
            .zip(inputs)
            .enumerate()
            .map(|(i, (entered, input))| {
                let running = entered?;
                let logits = logits.as_ref().map_or(Ok(Logits::Last), |all| logits_of(all[i]))?;
                // SAFETY: as above.
                let values = unsafe { input.values() }?;
                let values = written.iter().try_fold(values, Values::out_of)?;
                values.input()?;
                Ok(Item { running, values, logits })
            })
            .collect();
        let items = items.into_iter().map(|item: Result<Item, Failure>| {
            let mut item = item?;
            item.running.prepare(item.values.tokens(), item.logits)?;
            Ok(item)
        });
        statuses.report(run(items.collect(), &outputs))
    })
}

/// Where a call on many requests says how each of them ended.
pub(super) struct Statuses(Option<OutArray<ortshard_status>>);

impl Statuses {
    /// # Safety
    /// `statuses` is NULL or has room for `count` until the call returns.
    pub(super) unsafe fn new(statuses: *mut ortshard_status, count: usize) -> Self {
        // SAFETY: the caller's promise. NULL: nobody wants to know.
        Self(unsafe { OutArray::new(statuses, count, "statuses") }.ok())
    }

    /// Writes how each request ended; the first failure is the call's.
    pub(super) fn report(&self, outcomes: Vec<Result<(), Failure>>) -> Result<(), Failure> {
        for (index, outcome) in outcomes.iter().enumerate() {
            let status = outcome.as_ref().map_or_else(|failure| failure.status, |()| ORTSHARD_OK);
            self.0.iter().for_each(|statuses| statuses.set(index, status));
        }
        for (index, outcome) in outcomes.into_iter().enumerate() {
            let name = format!("requests[{index}]");
            outcome.map_err(|failure| {
                // Where the handle itself is wrong, the message begins so.
                let named = failure.message.starts_with(&name);
                let message = if named { failure.message } else { format!("{name}: {}", failure.message) };
                Failure { message, ..failure }
            })?;
        }
        Ok(())
    }
}

/// One request's part of the call, checked.
struct Item<'a> {
    running: Entered,
    values: Values<'a>,
    logits: Logits,
}

fn run(mut items: Vec<Result<Item, Failure>>, outputs: &OutArray<ortshard_tensor>) -> Vec<Result<(), Failure>> {
    let mut steps: Vec<Step> = items
        .iter_mut()
        .flatten()
        .filter_map(|item| {
            let input = item.values.input().ok()?;
            Some(Step { request: &mut item.running.request, input, logits: item.logits })
        })
        .collect();
    let mut ran = infer_batch(&mut steps).into_iter();
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| {
            let mut item = item?;
            ran.next().unwrap_or(Ok(()))?;
            outputs.set(index, item.running.show());
            item.running.moved();
            Ok(())
        })
        .collect()
}
