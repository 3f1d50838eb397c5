//! Generation
//!
//! Text after a prompt, token by token, in one object that runs the model, chooses, and makes text:
//!
//!     ortshard_generation_open("models/stories", NULL, &generation);
//!     ortshard_generation_append_text(generation, "Once upon a time", 1);
//!     while (step.finish == ORTSHARD_FINISH_NONE && !ortshard_generation_step(generation, &step))
//!         fwrite(step.text, 1, step.text_length, stdout);
//!
//! On requests of one's own, ortshard_generation_create(): one on a whole model, or one on each of the shards that it
//! is cut into. The tokens are those that ortshard_chain_sample() gives with the same options: on one shard or on
//! several, alone or in a batch, whatever the prompt's pieces.
//!
//! Where the tokens are run by other processes or machines, ortshard_generation_create_remote().
//!
//! When the text has ended, more of a prompt may be appended: the next turn of a conversation. After an error a
//! generation is as it was before the call, and the call may be repeated: no token is lost, none comes twice.

use std::ffi::c_char;

use crate::ffi::basics::objects::ortshard_constraint;
use crate::ffi::engine::options::ortshard_engine_options;
use crate::ffi::frame::buffers::{array, converted};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::strings::{owned, text};
use crate::ffi::frame::versioned::{initial, read};
use crate::ffi::run::request_options::ortshard_request_options;
use crate::ffi::text::constraint::{copy, grammar};
use crate::ffi::text::sampler::{ortshard_sampler_options, sampler_options};
use crate::{Generation, GenerationOptions};

/// How a generation goes on, and where it ends. All zero but struct_size: the defaults. What it points to is read during
/// the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_generation_options {
    /// sizeof(ortshard_generation_options).
    pub struct_size: usize,
    /// How tokens are chosen; NULL: the sampler's defaults. What the model's publisher wants:
    /// ortshard_model_get_sampler_options(), or `published_sampling`. Without `eos` the tokens end the text that the
    /// model's files declare: see ortshard_tokenizer_eos().
    pub sampling: *const ortshard_sampler_options,
    /// Strings that end the text wherever they come, also across tokens; NULL if there are none. Text that could still
    /// become one is held back. Of two the one counts that is complete first, of those complete at once the longest.
    pub stop: *const *const c_char,
    /// Number of `stop`.
    pub stop_count: usize,
    /// Not 0: the stop string is part of the text.
    pub include_stop: i32,
    /// Not 0: special tokens are part of the text.
    pub keep_special: i32,
    /// Not 0: the text goes on after a token that would end it.
    pub ignore_eos: i32,
    /// The most tokens that are generated after a prompt; 0: as many as there is room for.
    pub max_new_tokens: u32,
    /// Of how many of the most probable tokens each step tells the logarithms of the probabilities, beside that of the
    /// token itself; 0: none of them. On a device that is not the processor all logits are then copied to the host.
    pub logprobs: u32,
    /// Not 0: the logits that each token is chosen from are kept for ortshard_generation_logits(), and copied likewise.
    pub keep_logits: i32,
    /// For ortshard_generation_open(): the engine's options; NULL: the defaults.
    pub engine: *const ortshard_engine_options,
    /// For ortshard_generation_open(): the request's options; NULL: the defaults.
    pub request: *const ortshard_request_options,
    /// For ortshard_generation_open(). Not 0: tokens are chosen as the model's generation_config.json says, also where
    /// it bans or biases tokens. `sampling` is NULL then.
    pub published_sampling: i32,
    /// What the text after each prompt must match, in the language that `grammar_kind` names; NULL if there is none.
    /// See ortshard_constraint_create(). The text ends with one of `eos` exactly where the grammar may end. A stop
    /// string, a limit or cancelling cuts it all the same: only the finish ORTSHARD_FINISH_EOS says that it matches.
    /// Where the grammar has only one way on, its tokens come without a choice and without a run of their own.
    ///
    /// INVALID_ARGUMENT beside `ignore_eos`, and with `forced` tokens that the grammar does not allow. Where it and
    /// other controls (banned, biases, no_repeat_ngram, min_new_tokens) rule all tokens out, the step is
    /// INVALID_ARGUMENT.
    pub grammar: *const c_char,
    /// Instead of `grammar`: a constraint on the generation's tokenizer, of which the generation takes a copy, so that
    /// many need not compile the grammar again. The text after each prompt begins where the constraint is now; NULL if
    /// there is none.
    pub constraint: *const ortshard_constraint,
    /// An ORTSHARD_GRAMMAR_* constant.
    pub grammar_kind: i32,
}

initial!(ortshard_generation_options, ortshard_generation_options_init);

/// The options, without those for opening.
///
/// # Safety
/// `options` is NULL or as the header says.
pub(in crate::ffi) unsafe fn generation_options(
    options: *const ortshard_generation_options,
) -> Result<(GenerationOptions, ortshard_generation_options), Failure> {
    // SAFETY: the caller's promise.
    let given = unsafe { read(options) }?;
    // SAFETY: as above.
    let stops = unsafe { array(given.stop, given.stop_count, "stop") }?;
    // SAFETY: as above.
    let stop = |stop, index| owned(unsafe { text(stop, &format!("stop[{index}]")) }?, "a stop string");
    let options = GenerationOptions {
        // SAFETY: as above.
        sampling: unsafe { sampler_options(given.sampling) }?,
        max_new_tokens: given.max_new_tokens as usize,
        ignore_eos: given.ignore_eos != 0,
        grammar: {
            // SAFETY: as above.
            let grammar = unsafe { grammar(given.grammar_kind, given.grammar) }?;
            if grammar.is_some() && !given.constraint.is_null() {
                return Err(Failure::invalid("grammar is given, but so is constraint"));
            }
            grammar
        },
        stop: converted(&stops, stop)?,
        include_stop: given.include_stop != 0,
        keep_special: given.keep_special != 0,
        logprobs: given.logprobs as usize,
        keep_logits: given.keep_logits != 0,
    };
    Ok((options, given))
}

/// Has the generation keep to the options' constraint.
///
/// # Safety
/// `options` are as the header says.
pub(in crate::ffi) unsafe fn constrain(
    generation: &mut Generation,
    options: &ortshard_generation_options,
) -> Result<(), Failure> {
    if !options.constraint.is_null() {
        // SAFETY: the caller's promise.
        generation.set_grammar(unsafe { copy(options.constraint, "constraint") }?)?;
    }
    Ok(())
}

/// Refuses options that only `ortshard_generation_open` takes.
pub(in crate::ffi) fn only_for_open(options: &ortshard_generation_options) -> Result<(), Failure> {
    for (name, is_set) in [
        ("engine", !options.engine.is_null()),
        ("request", !options.request.is_null()),
        ("published_sampling", options.published_sampling != 0),
    ] {
        if is_set {
            let message = format!("options->{name} is set, but ortshard_generation_open() alone takes it");
            return Err(Failure::invalid(message));
        }
    }
    Ok(())
}
