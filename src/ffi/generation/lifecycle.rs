// The generation itself, and its prompt.

use std::borrow::{Borrow, BorrowMut};
use std::ffi::c_char;
use std::sync::Arc;

use crate::ffi::basics::objects::{ortshard_generation, ortshard_request, ortshard_tokenizer};
use crate::ffi::engine::options::engine_options;
use crate::ffi::frame::buffers::{Buffer, array, converted, token_id};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{borrow, free, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_STATE, ortshard_status};
use crate::ffi::frame::strings::text;
use crate::ffi::generation::options::{constrain, generation_options, only_for_open, ortshard_generation_options};
use crate::ffi::generation::pulled::{GenerationObject, enter};
use crate::ffi::run::many::enter_all;
use crate::ffi::run::request_options::request_options;
use crate::ffi::run::running::Entered;
use crate::generation::Local;
use crate::{Engine, Generation, Request, SamplerOptions, ShardSpec};

/// A request that a generation has to itself.
struct Held(Entered);

impl Borrow<Request> for Held {
    fn borrow(&self) -> &Request {
        &self.0.request
    }
}

impl BorrowMut<Request> for Held {
    fn borrow_mut(&mut self) -> &mut Request {
        &mut self.0.request
    }
}

/// Creates a generation on `count` requests, which are a whole model together: one, or one on each of its shards in
/// turn. It goes on where they are; what they have run before is not part of the text that penalties look at.
///
/// Until the generation is freed it has the requests to itself: calls on them return INVALID_STATE, but for those that
/// ask for position and capacity, and for cancelling one, which cancels the generation. Afterwards they go on from where
/// it left them.
///
/// NULL `tokenizer`: prompts are ids, and there is no text; the options' `eos` ends it. NULL `options`: the defaults.
///
/// Errors: INVALID_ARGUMENT for requests that are not a whole model, an option outside its range, or two that
/// contradict each other, both of which the message names; those of ortshard_constraint_create() for a grammar, whose
/// contradiction to `forced` is refused, too; OUT_OF_RANGE for a token that is not in the vocabulary; INVALID_STATE for
/// a request that is in use or appears twice.
/// Threads: any. Ownership: free `*generation` with ortshard_generation_free(). It keeps what it needs alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_create(
    requests: *const *mut ortshard_request,
    count: usize,
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
        let held = unsafe { enter_all(requests, count) }?.into_iter().collect::<Result<Vec<_>, _>>()?;
        // SAFETY: as above.
        let (options, given) = unsafe { generation_options(options) }?;
        only_for_open(&given)?;
        let positions = held.iter().map(|running| Arc::clone(&running.object().position)).collect();
        let backend = Local::new(held.into_iter().map(Held).collect::<Vec<_>>())?;
        let mut generation = Generation::on(Box::new(backend), tokenizer, options)?;
        // SAFETY: as above.
        unsafe { constrain(&mut generation, &given) }?;
        out.set(give(GenerationObject::new(generation, positions)));
        Ok(())
    })
}

/// Opens the model in the folder `model`, or of that name on the hub, and creates a generation on a request on all its
/// layers, with the model's tokenizer if it has one. NULL `options`: the defaults.
///
/// What contradicts itself is refused before weights are loaded. To see progress, or to choose a revision or where files
/// come from, make the request with an engine of your own and call ortshard_generation_create().
///
/// Errors: those of ortshard_engine_create(), ortshard_engine_get_model_info(), ortshard_engine_open_tokenizer(),
/// ortshard_engine_ensure_shard(), ortshard_request_create() and ortshard_generation_create(); with published_sampling
/// those of ortshard_engine_get_sampler_options().
/// Threads: any. Ownership: free `*generation` with ortshard_generation_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_open(
    model: *const c_char,
    options: *const ortshard_generation_options,
    generation: *mut *mut ortshard_generation,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(generation, "generation") }?;
        // SAFETY: as above.
        let spec = ShardSpec::whole(unsafe { text(model, "model") }?);
        // SAFETY: as above.
        let (mut options, given) = unsafe { generation_options(options) }?;
        // SAFETY: as above.
        let (request, _) = unsafe { request_options(given.request) }?;
        if !given.constraint.is_null() {
            let message = "options->constraint is set, which is on another tokenizer than the one that is opened here: \
                           options->grammar is for this";
            return Err(Failure::invalid(message));
        }
        let is_published = given.published_sampling != 0;
        if is_published && !given.sampling.is_null() {
            return Err(Failure::invalid("options->published_sampling is set, but so is options->sampling"));
        }
        // SAFETY: as above.
        let engine = Engine::new(unsafe { engine_options(given.engine) }?)?;
        if is_published {
            // What ends the text is the tokenizer's to say, with more than this file in view.
            options.sampling = SamplerOptions { eos: Vec::new(), ..engine.published_sampling(&spec, None)? };
        }
        let generation = Generation::open(&engine, &spec, request, options)?;
        out.set(give(GenerationObject::new(generation, Vec::new())));
        Ok(())
    })
}

/// Frees a generation and what was borrowed from it; its requests are their owner's again. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_free(generation: *mut ortshard_generation) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(generation, "generation") });
}

/// Adds `text` to the prompt: before the first step, or after the text has ended, which then goes on behind it.
/// `add_special` is that of ortshard_tokenizer_encode(). What is generated is counted from here.
///
/// Errors: those of ortshard_tokenizer_encode(), but for BUFFER_TOO_SMALL; CONTEXT_FULL if there is no room for it;
/// INVALID_STATE within a text, or without a tokenizer.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_append_text(
    generation: *mut ortshard_generation,
    text: *const c_char,
    add_special: i32,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        // SAFETY: as above.
        let text = unsafe { self::text(text, "text") }?;
        pulled.append(|generation| generation.append_text(text, add_special != 0))
    })
}

/// Adds `count` tokens to the prompt, as ortshard_generation_append_text() adds text.
///
/// Errors: OUT_OF_RANGE for an id that is not in the vocabulary; CONTEXT_FULL if there is no room for them;
/// INVALID_STATE within a text; OUT_OF_MEMORY.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_append_ids(
    generation: *mut ortshard_generation,
    ids: *const i64,
    count: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        // SAFETY: as above.
        let ids = converted(&unsafe { array(ids, count, "ids") }?, token_id)?;
        pulled.append(|generation| generation.append_ids(&ids))
    })
}

/// Writes the logits that the last token was chosen from, as the model gives them, to `logits`, which has room for
/// `capacity` floats, and their number, vocab_size, to `*needed`; 0 if there are none. NULL and 0 ask for the number.
///
/// Errors: INVALID_STATE without the option keep_logits; BUFFER_TOO_SMALL, and only `*needed` is written.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_logits(
    generation: *mut ortshard_generation,
    logits: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let buffer = unsafe { Buffer::new(logits, capacity, needed, "logits") }?;
        // SAFETY: as above.
        let pulled = unsafe { enter(generation, "generation") }?;
        if !pulled.generation.options().keep_logits {
            let message = "the generation was made without the option keep_logits";
            return Err(Failure::new(ORTSHARD_ERROR_INVALID_STATE, message));
        }
        buffer.fill(pulled.generation.logits())
    })
}

/// Ends the text: the step in progress, or the next one, gives no token, and its finish is ORTSHARD_FINISH_CANCELLED.
/// Where the text has ended already, nothing happens. Never waits.
///
/// Errors: ONNXRUNTIME. Threads: any, also during a step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_cancel(generation: *const ortshard_generation) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| unsafe { Ok(borrow(generation, "generation")?.cancel.cancel()?) })
}
