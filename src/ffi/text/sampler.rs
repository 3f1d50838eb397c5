//! Sampler
//!
//! Chooses the next token from logits. The same seed, options and logits give the same tokens on every platform.
//!
//! The controls work in this order, that of transformers, each on what the one before it has left; at their zeros they
//! do nothing:
//!
//!     forced                 the token is taken as it is, and nothing else is looked at
//!     biases                 are added to logits
//!     repetition_penalty, then frequency_penalty and presence_penalty
//!     no_repeat_ngram        rules tokens out
//!     min_new_tokens         rules eos out
//!     a constraint           rules tokens out: that of a generation, or ortshard_constraint_mask() before
//!     banned                 rules tokens out
//!     temperature            0 takes the largest logit, among equals the lowest id, and the rest is not looked at; any
//!                            other divides the logits
//!     top_n_sigma            leaves the tokens not below the largest logit less so many standard deviations of all
//!     top_k                  leaves the largest; ties with the last of them stay in
//!     top_p                  leaves the fewest of the most probable that reach it; among equals the lowest ids
//!     min_p                  leaves those at least so many times as probable as the most probable
//!     typical_p              leaves the fewest whose surprise is nearest to the entropy that reach it; ties stay in
//!
//! Then the answer is drawn from the softmax of what is left. Penalties and n-grams look at the text so far: the tokens
//! that ortshard_sampler_accept() was given, and those that the sampler has chosen since.

use std::ops::{Deref, DerefMut};

use crate::ffi::basics::objects::ortshard_sampler;
use crate::ffi::frame::buffers::{array, converted, token_id};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Entry, Exclusive, Handle, Kind, borrow, free, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_UNSUPPORTED, ortshard_status};
use crate::ffi::frame::versioned::{Versioned, initial, read};
use crate::{Bias, Sampler, SamplerOptions};

impl Handle for ortshard_sampler {
    type Object = Exclusive<Sampler>;
    const KIND: Kind = Kind::Sampler;
}

/// A number that is added to the logit of the last token of a sequence, where the tokens before it are those that the
/// text so far ends with. Its layout is final, so it has no struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_bias {
    /// The sequence. One token of its own is one that always gets the bias.
    pub ids: *const i64,
    /// Tokens of it, at least 1.
    pub count: usize,
    /// Finite, or -INFINITY for a sequence that must not come.
    pub bias: f64,
}

/// How a sampler chooses. Unlike in other options zero is not "default" in the first three, since it means something:
/// start from ORTSHARD_SAMPLER_OPTIONS_INIT or pass NULL to get the defaults. Lists are read during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_sampler_options {
    /// sizeof(ortshard_sampler_options).
    pub struct_size: usize,
    /// Divides the logits: 0 is greedy, below 1 sharper, above 1 flatter. Finite, not negative.
    pub temperature: f32,
    /// How many of the largest logits can be chosen; 0: all.
    pub top_k: u32,
    /// Seed of the random stream.
    pub seed: u64,
    /// The most probable tokens that together reach this probability can be chosen. 0 to 1; 0 or 1: all.
    pub top_p: f32,
    /// Tokens at least this many times as probable as the most probable one can be chosen. 0 to 1; 0: all.
    pub min_p: f32,
    /// Locally typical sampling: the tokens of the least surprising surprise that together reach this probability can
    /// be chosen. 0 to 1; 0 or 1: all.
    pub typical_p: f32,
    /// Tokens whose logits lie at most this many standard deviations of all logits below the largest can be chosen.
    /// Finite, not negative; 0: all.
    pub top_n_sigma: f32,
    /// Divides the logit of each token of the text so far if it is positive, and multiplies it if not. Finite, not
    /// negative; 0 or 1: changes nothing.
    pub repetition_penalty: f32,
    /// Is subtracted from the logit of each token that the sampler has chosen so far. -2 to 2.
    pub presence_penalty: f32,
    /// Is subtracted from a token's logit once for each time that the sampler has chosen it so far. -2 to 2.
    pub frequency_penalty: f32,
    /// How many tokens at the end of the text so far the three penalties look at; 0: all.
    pub penalty_window: u32,
    /// No sequence of so many tokens comes twice in the text; 0: any may.
    pub no_repeat_ngram: u32,
    /// How many tokens are chosen before one of `eos` may be.
    pub min_new_tokens: u32,
    /// Added to logits; NULL if there are none. No sequence may come twice.
    pub biases: *const ortshard_bias,
    /// Number of `biases`.
    pub bias_count: usize,
    /// Tokens that are never chosen; NULL if there are none.
    pub banned: *const i64,
    /// Number of `banned`.
    pub banned_count: usize,
    /// The tokens that are chosen first, whatever the logits; NULL if there are none.
    pub forced: *const i64,
    /// Number of `forced`.
    pub forced_count: usize,
    /// The tokens that end a text; NULL if there are none. Only min_new_tokens, and a generation, look at them.
    pub eos: *const i64,
    /// Number of `eos`.
    pub eos_count: usize,
}

initial!(ortshard_sampler_options, ortshard_sampler_options_init; temperature = 0.6; top_k = 35; seed = 1234);

impl ortshard_sampler_options {
    /// What the options say, but for the lists, which have nowhere to lie.
    pub(in crate::ffi) fn of(options: &SamplerOptions) -> Result<Self, Failure> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        for (name, is_empty) in [
            ("bad_words_ids or sequence_bias", options.biases.is_empty()),
            ("suppress_tokens", options.banned.is_empty()),
        ] {
            if !is_empty {
                let message =
                    format!("generation_config.json has {name}, a list, for which these options have no memory");
                return Err(Failure::new(ORTSHARD_ERROR_UNSUPPORTED, message));
            }
        }
        Ok(Self {
            temperature: options.temperature,
            top_k: count(options.top_k),
            seed: options.seed,
            top_p: options.top_p,
            min_p: options.min_p,
            typical_p: options.typical_p,
            top_n_sigma: options.top_n_sigma,
            repetition_penalty: options.repetition_penalty,
            presence_penalty: options.presence_penalty,
            frequency_penalty: options.frequency_penalty,
            penalty_window: count(options.penalty_window),
            no_repeat_ngram: count(options.no_repeat_ngram),
            min_new_tokens: count(options.min_new_tokens),
            ..<Self as Versioned>::INITIAL
        })
    }
}

/// # Safety
/// `options` is NULL or as the header says.
pub(in crate::ffi) unsafe fn sampler_options(
    options: *const ortshard_sampler_options,
) -> Result<SamplerOptions, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { read(options) }?;
    // SAFETY: as above.
    let biases = unsafe { array(options.biases, options.bias_count, "biases") }?;
    let bias = |bias: ortshard_bias, index: usize| {
        // SAFETY: as above.
        let ids = unsafe { list(bias.ids, bias.count, &format!("biases[{index}].ids")) }?;
        Ok(Bias { ids, bias: bias.bias as f32 })
    };
    Ok(SamplerOptions {
        temperature: options.temperature,
        top_k: options.top_k as usize,
        seed: options.seed,
        top_p: options.top_p,
        min_p: options.min_p,
        typical_p: options.typical_p,
        top_n_sigma: options.top_n_sigma,
        repetition_penalty: options.repetition_penalty,
        presence_penalty: options.presence_penalty,
        frequency_penalty: options.frequency_penalty,
        penalty_window: options.penalty_window as usize,
        no_repeat_ngram: options.no_repeat_ngram as usize,
        biases: converted(&biases, bias)?,
        // SAFETY: as above.
        banned: unsafe { list(options.banned, options.banned_count, "banned") }?,
        // SAFETY: as above.
        forced: unsafe { list(options.forced, options.forced_count, "forced") }?,
        min_new_tokens: options.min_new_tokens as usize,
        // SAFETY: as above.
        eos: unsafe { list(options.eos, options.eos_count, "eos") }?,
    })
}

/// # Safety
/// As for [`array`].
unsafe fn list(ids: *const i64, count: usize, parameter: &str) -> Result<Vec<u32>, Failure> {
    // SAFETY: the caller's promise.
    let ids = unsafe { array(ids, count, parameter) }?;
    converted(&ids, |id, index| {
        token_id(id, index)
            .map_err(|failure| Failure { message: format!("{parameter}: {}", failure.message), ..failure })
    })
}

/// Creates a sampler at the start of its random stream, of a text without tokens. NULL `options`: temperature 0.6,
/// top_k 35, seed 1234.
///
/// Errors: INVALID_ARGUMENT for a value outside its range, or two that contradict each other; the message names them;
/// OUT_OF_RANGE for an id that is none; OUT_OF_MEMORY.
/// Threads: any. Ownership: free `*sampler` with ortshard_sampler_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_create(
    options: *const ortshard_sampler_options,
    sampler: *mut *mut ortshard_sampler,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(sampler, "sampler") }?;
        // SAFETY: as above.
        out.set(give(Exclusive::new(Sampler::new(unsafe { sampler_options(options) }?)?)));
        Ok(())
    })
}

/// Frees a sampler. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_free(sampler: *mut ortshard_sampler) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(sampler, "sampler") });
}

/// Adds `count` tokens to the text so far that the sampler has not chosen: a prompt. `forced` and `min_new_tokens` count
/// from here. Not needed where no option looks at the text so far.
///
/// Errors: OUT_OF_RANGE for an id that is none; OUT_OF_MEMORY. Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_accept(
    sampler: *mut ortshard_sampler,
    ids: *const i64,
    count: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(sampler) }.guard(|| {
        // SAFETY: as above.
        let sampler = unsafe { borrow(sampler, "sampler") }?;
        // SAFETY: as above.
        let ids = unsafe { list(ids, count, "ids") }?;
        Ok(sampler.enter(|sampler| sampler, "sampler")?.accept(&ids)?)
    })
}

/// Chooses the next token from `count` `logits`: one row of a last shard's output, so that count is vocab_size. The
/// token becomes part of the text so far.
///
/// Errors: INVALID_ARGUMENT if a logit is not a number or plus infinity, if all are minus infinity, if the controls
/// leave none, or if count is 0; OUT_OF_RANGE for an option that names a token which is not in the vocabulary;
/// OUT_OF_MEMORY. The sampler then stays as it was.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_sample(
    sampler: *mut ortshard_sampler,
    logits: *const f32,
    count: usize,
    id: *mut i64,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(sampler) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        let sampler = unsafe { borrow(sampler, "sampler") }?;
        // SAFETY: as above.
        let logits = unsafe { array(logits, count, "logits") }?;
        out.set(sampler.enter(|sampler| sampler, "sampler")?.sample(&logits)?.into());
        Ok(())
    })
}

/// Puts a sampler back to the start of its random stream, and makes it forget the text so far.
///
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_reset(sampler: *mut ortshard_sampler) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(sampler) }.guard(|| {
        // SAFETY: as above.
        unsafe { borrow(sampler, "sampler") }?.enter(|sampler| sampler, "sampler")?.reset();
        Ok(())
    })
}

/// What chooses the next token in a call: a sampler that the call has to itself or, for NULL, a greedy one.
pub(in crate::ffi) enum Chooser {
    Given(Entry<ortshard_sampler, Sampler>),
    Greedy(Box<Sampler>),
}

impl Chooser {
    pub(in crate::ffi) fn greedy() -> Result<Self, Failure> {
        Ok(Self::Greedy(Box::new(Sampler::new(SamplerOptions::greedy())?)))
    }
}

impl Deref for Chooser {
    type Target = Sampler;

    fn deref(&self) -> &Sampler {
        match self {
            Self::Given(sampler) => sampler,
            Self::Greedy(sampler) => sampler,
        }
    }
}

impl DerefMut for Chooser {
    fn deref_mut(&mut self) -> &mut Sampler {
        match self {
            Self::Given(sampler) => sampler,
            Self::Greedy(sampler) => sampler,
        }
    }
}

/// # Safety
/// `sampler` is NULL or a handle that this library gave, freed or not.
pub(in crate::ffi) unsafe fn enter(sampler: *mut ortshard_sampler, parameter: &str) -> Result<Chooser, Failure> {
    if sampler.is_null() {
        return Chooser::greedy();
    }
    // SAFETY: the caller's promise.
    unsafe { borrow(sampler.cast_const(), parameter) }?.enter(|sampler| sampler, parameter).map(Chooser::Given)
}
