//! Chain
//!
//! Requests on consecutive shards, run as one model: what one shard gives, the next takes. It is one call for all of
//! them: if it fails, every position is as it was. Where two neighbouring shards are on one device (not the
//! processor), the hidden states between them stay there.
//!
//!     ortshard_chain_sample(requests, count, &prompt, sampler, &id);
//!     while (!done(id)) {
//!         ortshard_tensor input = {ORTSHARD_DTYPE_I64, 1, {1}, &id, sizeof id};
//!         ortshard_chain_sample(requests, count, &input, sampler, &id);
//!     }

use crate::ffi::basics::objects::{ortshard_request, ortshard_sampler};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on_all;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::run::many::enter_all;
use crate::ffi::run::request::logits_of;
use crate::ffi::run::running::Entered;
use crate::ffi::run::tensor::{NOTHING, Values, ortshard_tensor};
use crate::ffi::text::sampler;
use crate::{Request, engine, next_token};

/// Runs `input` through the shards of `count` requests in turn, and moves their positions on.
///
/// The layers of each request's shard must follow those of the one before, and the positions be the same. `input` and
/// `output` are those of ortshard_request_infer() on the first and the last; `output` may be the same struct as
/// `input`. Cancelling any of the requests cancels the call. Between the shards hidden states stay as they were
/// computed, whatever the requests' hidden_dtype.
///
/// If the call fails, `output` is all zero, every position is as before, and the call can be repeated.
///
/// Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a `count` of 0, for requests that do not follow one
/// another, or for some that take the text for a long one where others do not (long_context); INVALID_STATE for a
/// request that appears twice.
/// Threads: one call at a time on each request. Ownership: output->data belongs to the last request and lives until
/// that request's next run. The call is a run of the other requests, too: what they gave before is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chain_infer(
    requests: *const *mut ortshard_request,
    count: usize,
    input: *const ortshard_tensor,
    logits: i32,
    output: *mut ortshard_tensor,
) -> ortshard_status {
    // SAFETY: the header's contract: `count` handles.
    unsafe { on_all(requests, count) }.guard(|| {
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
        let before = chain.entered.first().map_or(0, |first| first.request.position());
        chain.run(|requests, input| engine::chain(requests, input, logits))?;
        let Some((last, others)) = chain.entered.split_last_mut() else { return Ok(()) };
        let shown = last.show(before, None).inspect(|shown| output.set(*shown)).map(drop);
        if shown.is_err() {
            // The last request has gone back already.
            others.iter_mut().try_for_each(|other| other.request.take_back(before))?;
        }
        chain.entered.iter().for_each(Entered::moved);
        shown
    })
}

/// Runs `input` through the shards of `count` requests in turn, as ortshard_chain_infer() does, and has `sampler`
/// choose the next token. The last shard must be the model's last; one request on a whole model is a chain of 1. NULL
/// `sampler`: the id of the largest logit, among equals the lowest.
///
/// `*id` is what ortshard_sampler_sample() would choose from the logits. These stay where they are: on a device that is
/// not the processor only the largest are copied to the host, if the sampler is greedy or has a top_k.
///
/// `*id` may be what `input` describes. If the call fails, also in sampling, `*id` is as it was, and so are all
/// positions and the sampler. It is a run of each request: what the requests gave before is gone.
///
/// Errors: those of ortshard_chain_infer() and ortshard_sampler_sample(); INVALID_ARGUMENT if the last shard gives no
/// logits.
/// Threads: one call at a time on each request and on the sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_chain_sample(
    requests: *const *mut ortshard_request,
    count: usize,
    input: *const ortshard_tensor,
    sampler: *mut ortshard_sampler,
    id: *mut i64,
) -> ortshard_status {
    // SAFETY: the header's contract: `count` handles.
    unsafe { on_all(requests, count) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        let input = (!input.is_null()).then(|| unsafe { input.read_unaligned() });
        // SAFETY: as above.
        let mut chain = unsafe { Chain::enter(requests, count, input) }?;
        // SAFETY: as above.
        let mut sampler = unsafe { sampler::enter(sampler, "sampler") }?;
        out.set(chain.run(|requests, input| next_token(requests, input, &mut sampler))?.into());
        Ok(())
    })
}

/// The requests of a call, which has them to itself, and what goes into the first.
struct Chain<'a> {
    entered: Vec<Entered>,
    values: Values<'a>,
}

impl Chain<'_> {
    /// # Safety
    /// `requests` is NULL or has `count` handles; what `input` describes lives for `'a`.
    unsafe fn enter(
        requests: *const *mut ortshard_request,
        count: usize,
        input: Option<ortshard_tensor>,
    ) -> Result<Self, Failure> {
        let input = input.ok_or_else(|| Failure::null("input"))?;
        // SAFETY: the caller's promise.
        let mut entered = unsafe { enter_all(requests, count) }?.into_iter().collect::<Result<Vec<_>, _>>()?;
        // The input may lie in what one of the requests gave last, which the run writes over.
        // SAFETY: as above.
        let values = unsafe { input.values() }?;
        let values = entered.iter().try_fold(values, |values, running| values.out_of(&running.lent))?;
        for running in &mut entered {
            running.forget();
        }
        Ok(Self { entered, values })
    }

    /// Runs it, and shows the positions that it leaves the requests at.
    fn run<T>(
        &mut self,
        run: impl FnOnce(&mut [&mut Request], crate::Input) -> crate::Result<T>,
    ) -> Result<T, Failure> {
        let input = self.values.input()?;
        let mut requests: Vec<&mut Request> = self.entered.iter_mut().map(|running| &mut running.request).collect();
        let given = run(&mut requests, input)?;
        self.entered.iter().for_each(Entered::moved);
        Ok(given)
    }
}
