//! Sampler
//!
//! Chooses the next token from logits. The same seed, options and logits give the same tokens on every platform.
//!
//! Temperature 0 takes the largest logit, among equals the lowest id. Otherwise the answer is drawn from the softmax
//! of logits / temperature over the top_k largest logits (ties with the last of them stay in).

use std::ops::{Deref, DerefMut};

use crate::ffi::basics::objects::ortshard_sampler;
use crate::ffi::frame::buffers::array;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{Entry, Exclusive, Handle, Kind, borrow, free, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::{initial, read};
use crate::{Sampler, SamplerOptions};

impl Handle for ortshard_sampler {
    type Object = Exclusive<Sampler>;
    const KIND: Kind = Kind::Sampler;
}

/// How a sampler chooses. Unlike in other options zero is not "default" here, since it means something: start from
/// ORTSHARD_SAMPLER_OPTIONS_INIT or pass NULL to get the defaults.
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
}

initial!(ortshard_sampler_options, ortshard_sampler_options_init; temperature = 0.6; top_k = 35; seed = 1234);

/// Creates a sampler at the start of its random stream. NULL `options`: temperature 0.6, top_k 35, seed 1234.
///
/// Errors: INVALID_ARGUMENT for a temperature that is negative or not finite.
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
        let ortshard_sampler_options { temperature, top_k, seed, .. } = unsafe { read(options) }?;
        let sampler = Sampler::new(SamplerOptions { temperature, top_k: top_k as usize, seed })?;
        out.set(give(Exclusive::new(sampler)));
        Ok(())
    })
}

/// Frees a sampler. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_free(sampler: *mut ortshard_sampler) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(sampler, "sampler") });
}

/// Chooses the next token from `count` `logits`: one row of a last shard's output, so that count is vocab_size.
///
/// Errors: INVALID_ARGUMENT if a logit is not a number or plus infinity, if all are minus infinity, or if count is 0;
/// the random stream then stays where it was.
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

/// Puts a sampler back to the start of its random stream.
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
        let options = SamplerOptions { temperature: 0.0, top_k: 0, seed: 0 };
        Ok(Self::Greedy(Box::new(Sampler::new(options)?)))
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
