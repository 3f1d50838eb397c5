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
//! When the text has ended, more of a prompt may be appended: the next turn of a conversation. After an error a
//! generation is as it was before the call, and the call may be repeated: no token is lost, none comes twice.

use std::ffi::c_char;

use crate::GenerationOptions;
use crate::error::{Error, Site};
use crate::ffi::engine::options::ortshard_engine_options;
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::strings::text;
use crate::ffi::frame::versioned::{initial, read};
use crate::ffi::run::request_options::ortshard_request_options;
use crate::ffi::text::sampler::{ortshard_sampler_options, sampler_options};

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
    let stop = |(index, stop): (usize, &*const c_char)| owned(unsafe { text(*stop, &format!("stop[{index}]")) }?);
    let stops = stops.iter().enumerate().map(stop);
    let options = GenerationOptions {
        // SAFETY: as above.
        sampling: unsafe { sampler_options(given.sampling) }?,
        max_new_tokens: given.max_new_tokens as usize,
        ignore_eos: given.ignore_eos != 0,
        stop: stops.collect::<Result<_, _>>()?,
        include_stop: given.include_stop != 0,
        keep_special: given.keep_special != 0,
        logprobs: given.logprobs as usize,
        keep_logits: given.keep_logits != 0,
    };
    Ok((options, given))
}

fn owned(stop: &str) -> Result<String, Failure> {
    let mut owned = String::new();
    let refused = |_| Error::oom(Site::Run, "cpu", stop.len() as u64, "a stop string");
    owned.try_reserve_exact(stop.len()).map_err(refused)?;
    owned.push_str(stop);
    Ok(owned)
}
