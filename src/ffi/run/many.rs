//! The frame of calls on several requests: enter each, keep inputs from what the run writes over, run, report.

use crate::ffi::basics::objects::ortshard_request;
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::last_failure;
use crate::ffi::frame::out::OutArray;
use crate::ffi::frame::status::{ORTSHARD_OK, ortshard_status};
use crate::ffi::run::running::{Entered, enter};
use crate::ffi::run::tensor::{Values, ortshard_tensor};

/// One request's part of a call, checked.
pub(in crate::ffi) struct Item<'a, T> {
    pub(in crate::ffi) running: Entered,
    pub(in crate::ffi) values: Values<'a>,
    /// What else it takes.
    pub(in crate::ffi) with: T,
}

/// The requests of a call, each entered or refused.
///
/// # Safety
/// `requests` is NULL or has `count` handles.
pub(in crate::ffi) unsafe fn enter_all(
    requests: *const *mut ortshard_request,
    count: usize,
) -> Result<Vec<Result<Entered, Failure>>, Failure> {
    // SAFETY: the caller's promise.
    let requests = unsafe { array(requests, count, "requests") }?;
    // SAFETY: as above.
    let entered = requests.iter().enumerate().map(|(i, request)| unsafe { enter(*request, &format!("requests[{i}]")) });
    Ok(entered.collect())
}

/// Checks what goes into each of the `entered` requests, and what else it takes.
///
/// # Safety
/// What the inputs describe lives for `'a`.
pub(in crate::ffi) unsafe fn items<'a, T>(
    entered: Vec<Result<Entered, Failure>>,
    inputs: &[ortshard_tensor],
    mut with: impl FnMut(usize) -> Result<T, Failure>,
) -> Vec<Result<Item<'a, T>, Failure>> {
    // Inputs may lie in what any request of the call gave last, which the run writes over.
    let written: Vec<_> = entered.iter().flatten().map(|running| running.lent.clone()).collect();
    let item = |((index, running), input): ((usize, Result<Entered, Failure>), &ortshard_tensor)| {
        let (running, with) = (running?, with(index)?);
        // SAFETY: the caller's promise.
        let values = written.iter().try_fold(unsafe { input.values() }?, |values, lent| values.out_of(lent))?;
        values.input()?;
        Ok(Item { running, values, with })
    };
    entered.into_iter().enumerate().zip(inputs).map(item).collect()
}

/// Gives what has come of each item that ran, of which `ran` has one in their order, to `show`.
pub(in crate::ffi) fn show<T, G>(
    items: Vec<Result<Item<T>, Failure>>,
    ran: Vec<crate::Result<G>>,
    show: impl Fn(usize, &mut Item<T>, G) -> Result<(), Failure>,
) -> Vec<Result<(), Failure>> {
    let mut ran = ran.into_iter();
    let outcome = |(index, item): (usize, Result<Item<T>, Failure>)| {
        let mut item = item?;
        let given = ran.next().unwrap_or_else(|| Err(crate::error::err!(Internal, "a request without an outcome")))?;
        let shown = show(index, &mut item, given);
        item.running.moved();
        shown
    };
    items.into_iter().enumerate().map(outcome).collect()
}

/// Says how each of the objects that `parameter` is an array of ended: in `statuses`, unless that is NULL, and in its handle.
/// The first failure is the call's.
///
/// # Safety
/// `objects` has as many handles as there are outcomes, `statuses` is NULL or has room for as many.
pub(in crate::ffi) unsafe fn report<H>(
    objects: *const *mut H,
    parameter: &str,
    statuses: *mut ortshard_status,
    outcomes: Vec<Result<(), Failure>>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let (objects, statuses) = unsafe {
        (array(objects, outcomes.len(), parameter)?, OutArray::new(statuses, outcomes.len(), "statuses").ok())
    };
    let mut first = Ok(());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let failed = outcome.err();
        if let Some(statuses) = &statuses {
            statuses.set(index, failed.as_ref().map_or(ORTSHARD_OK, |failure| failure.status));
        }
        let Some(failure) = failed else { continue };
        // Where the handle itself is wrong, the message begins so.
        let name = format!("{parameter}[{index}]");
        let named = failure.message.starts_with(&name);
        let message = if named { failure.message } else { format!("{name}: {}", failure.message) };
        let failure = Failure { message, ..failure };
        // SAFETY: the caller's promise.
        unsafe { last_failure::note(objects[index].cast_const().cast(), &failure) };
        first = first.and(Err(failure));
    }
    first
}
