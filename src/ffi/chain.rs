//! Chain
//!
//! Requests on consecutive shards, run as one model: what one shard gives, the next takes. It is one call for all of
//! them: if it fails, every position is as it was. Where two neighbouring shards are on one device (not the
//! processor), the hidden states between them stay there.
//!
//!     ortshard_chain_infer(requests, n, &input, ORTSHARD_LOGITS_LAST, &logits);

use super::buffers::array;
use super::guard::guard;
use super::handle::Out;
use super::objects::ortshard_request;
use super::request::{Entered, enter, logits_of};
use super::status::{Failure, ortshard_status};
use super::tensor::{NOTHING, Values, ortshard_tensor};
use crate::{Request, infer_chain};

/// Runs `input` through the shards of `count` requests in turn, and moves their positions on.
///
/// The layers of each request's shard must follow those of the one before, and the positions be the same. `input` and
/// `output` are those of ortshard_request_infer() on the first and the last; `output` may be the same struct as
/// `input`. Cancelling any of the requests cancels the call. Between the shards hidden states stay as they were computed,
/// whatever the requests' hidden_dtype.
///
/// Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a `count` of 0 or requests that do not follow one
/// another; INVALID_STATE for a request that appears twice or is in use by another call. If the call fails, `output`
/// is all zero, every position is as before, and the call can be repeated.
/// Threads: one call at a time on each request. Ownership: output->data belongs to the last request and lives until
/// that request's next run. The call is a run of the other requests, too: what they gave before is gone. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chain_infer(
    requests: *const *mut ortshard_request,
    count: usize,
    input: *const ortshard_tensor,
    logits: i32,
    output: *mut ortshard_tensor,
) -> ortshard_status {
    guard(|| {
        // Input and output may be one struct, so the input is copied before the output is cleared.
        // SAFETY: NULL or readable, by the header's contract.
        let input = (!input.is_null()).then(|| unsafe { input.read_unaligned() });
        // SAFETY: as above.
        let output = unsafe { Out::new(output, "output") }?;
        output.set(NOTHING);
        let logits = logits_of(logits)?;
        // SAFETY: as above.
        let mut chain = unsafe { Chain::enter(requests, count, input) }?;
        if let (Some(last), tokens) = (chain.entered.last_mut(), chain.values.tokens()) {
            last.prepare(tokens, logits)?;
        }
        let input = chain.values.input()?;
        let mut requests: Vec<&mut Request> = chain.entered.iter_mut().map(|running| &mut running.request).collect();
        infer_chain(&mut requests, input, logits)?;
        chain.moved();
        if let Some(last) = chain.entered.last_mut() {
            output.set(last.show());
        }
        Ok(())
    })
}

/// The requests of a call, which has them to itself, and what goes into the first.
pub(super) struct Chain<'a> {
    pub(super) entered: Vec<Entered>,
    pub(super) values: Values<'a>,
}

impl Chain<'_> {
    /// # Safety
    /// `requests` is NULL or has `count` handles; what `input` describes lives for `'a`.
    pub(super) unsafe fn enter(
        requests: *const *mut ortshard_request,
        count: usize,
        input: Option<ortshard_tensor>,
    ) -> Result<Self, Failure> {
        let input = input.ok_or_else(|| Failure::null("input"))?;
        // SAFETY: the caller's promise.
        let requests = unsafe { array(requests, count, "requests") }?;
        let mut entered = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            // SAFETY: as above.
            entered.push(unsafe { enter(*request, &format!("requests[{index}]")) }?);
        }
        // The input may lie in what one of the requests gave last, which the run writes over.
        // SAFETY: as above.
        let values = unsafe { input.values() }?;
        let values = entered.iter().try_fold(values, |values, running| values.out_of(&running.output))?;
        Ok(Self { entered, values })
    }

    /// Shows the positions that a call has left the requests at.
    pub(super) fn moved(&self) {
        self.entered.iter().for_each(Entered::moved);
    }
}
