// A generation whose tokens are run elsewhere.

use std::sync::Arc;

use crate::ffi::basics::objects::{ortshard_generation, ortshard_tokenizer};
use crate::ffi::frame::buffers::{Buffer, array, converted, token_id};
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{borrow, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::{self, write};
use crate::ffi::generation::generated::ortshard_step;
use crate::ffi::generation::options::{constrain, generation_options, only_for_open, ortshard_generation_options};
use crate::ffi::generation::pulled::{GenerationObject, enter};
use crate::{Generation, Ran, RemoteModel};

/// Creates a generation whose tokens the program runs: in other processes, on other machines, in any way that gives the
/// logits of the model. Choosing, grammar, stop strings, text and probabilities are as on requests of this process, and
/// so are the tokens.
///
///     ortshard_generation_append_text(generation, "Once upon a time", 1);
///     while (step.finish == ORTSHARD_FINISH_NONE) {
///         ortshard_generation_pending(generation, ids, room, &count);
///         float *logits = count ? run(ids, count) : NULL;
///         ortshard_generation_step_with(generation, NULL, logits, count ? vocab_size : 0, &step);
///     }
///
/// `vocab_size` is that of the model, `capacity` the number of tokens that there is room for, and `short_context` that
/// of ortshard_shard_info. NULL `tokenizer` and NULL `options` are those of ortshard_generation_create().
///
/// ortshard_generation_prefill() and the functions that step otherwise are INVALID_STATE on it. Its exported state has
/// no requests' states, and is for another of the kind.
///
/// Errors: INVALID_ARGUMENT if `vocab_size` or `capacity` is 0; those of ortshard_generation_create() about options.
/// Threads: any. Ownership: free `*generation` with ortshard_generation_free(). It keeps what it needs alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_create_remote(
    vocab_size: u32,
    capacity: u32,
    short_context: u64,
    tokenizer: *const ortshard_tokenizer,
    options: *const ortshard_generation_options,
    generation: *mut *mut ortshard_generation,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(generation, "generation") }?;
        let tokenizer = if tokenizer.is_null() {
            None
        } else {
            // SAFETY: as above.
            Some(Arc::clone(&*unsafe { borrow(tokenizer, "tokenizer") }?))
        };
        // SAFETY: as above.
        let (options, given) = unsafe { generation_options(options) }?;
        only_for_open(&given)?;
        let model = RemoteModel {
            vocab_size: vocab_size as usize,
            capacity: capacity as usize,
            short_context: usize::try_from(short_context).unwrap_or(usize::MAX),
        };
        let mut generation = Generation::remote(model, tokenizer, options)?;
        // SAFETY: as above.
        unsafe { constrain(&mut generation, &given) }?;
        out.set(give(GenerationObject::new(generation, Vec::new())));
        Ok(())
    })
}

/// Writes the tokens that are to be run before the next step of a generation of ortshard_generation_create_remote() to
/// `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
///
/// They follow those of earlier steps. 0: the step needs no run, since its token is known, or the text has ended. Where
/// a text has become longer than `short_context`, they are all tokens of the text, to be run anew as those of a long
/// text (ortshard_request_options long_context).
///
/// Errors: INVALID_STATE before there is a prompt, or for another generation; BUFFER_TOO_SMALL, and only `*needed` is
/// written; OUT_OF_MEMORY. Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_pending(
    generation: *mut ortshard_generation,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        buffer.fill(pulled.generation.pending()?)
    })
}

/// How many of the largest logits decide a token: 1 where the most probable one is taken, vocab_size where all are
/// needed, as under a grammar. It is one number for all steps.
///
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_candidates(
    generation: *mut ortshard_generation,
    count: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(count, "count") }?;
        // SAFETY: as above.
        out.set(unsafe { enter(generation, "generation") }?.generation.candidates());
        Ok(())
    })
}

/// Does what ortshard_generation_step() does, with what the run of the pending tokens has given: NULL `ids` and the
/// `count` logits of the model, one for each token; or the tokens with the `count` largest logits in falling order, at
/// least as many as ortshard_generation_candidates() says and all that equal the last of those. Where nothing was to be
/// run, they are not looked at.
///
/// If it fails, `*step` is as it was, and the step may be repeated.
///
/// Errors: INVALID_ARGUMENT for logits that cannot be the model's, or too few; OUT_OF_RANGE for an id that is not in
/// the vocabulary; INVALID_STATE before there is a prompt, or for another generation; those of
/// ortshard_sampler_sample().
/// Threads: one call at a time. Ownership: what `*step` points to belongs to the generation and lives until its next
/// call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_step_with(
    generation: *mut ortshard_generation,
    ids: *const i64,
    logits: *const f32,
    count: usize,
    step: *mut ortshard_step,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(step, "step") }?;
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        // A step is not made twice, so its place is checked before. SAFETY: as above.
        unsafe { versioned::size(&out) }?;
        // SAFETY: as above.
        let logits = unsafe { array(logits, count, "logits") }?;
        let shown = if ids.is_null() {
            pulled.step_by(|generation| generation.step_with(Ran::Logits(&logits)).map(drop))
        } else {
            // SAFETY: as above.
            let ids = converted(&unsafe { array(ids, count, "ids") }?, token_id)?;
            let largest: Vec<(u32, f32)> = ids.into_iter().zip(logits.iter().copied()).collect();
            pulled.step_by(|generation| generation.step_with(Ran::Largest(&largest)).map(drop))
        }?;
        // SAFETY: as above.
        unsafe { write(&out, shown) }
    })
}
