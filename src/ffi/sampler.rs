//! Sampler
//!
//! Chooses the next token from logits. The same seed, options and logits give the same tokens on every platform.
//!
//! Temperature 0 takes the largest logit, among equals the lowest id. Otherwise the answer is drawn from the softmax
//! of logits / temperature over the top_k largest logits (ties with the last of them stay in).

use super::buffers::array;
use super::guard::guard;
use super::handle::{Exclusive, Out, borrow, free, give};
use super::objects::ortshard_sampler;
use super::options::{Options, Versioned, init, read};
use super::status::ortshard_status;
use crate::{Sampler, SamplerOptions};

//# /** Default ortshard_sampler_options: temperature 0.6, top_k 35, seed 1234. @since 0.1 */
//# #define ORTSHARD_SAMPLER_OPTIONS_INIT { sizeof(ortshard_sampler_options), 0.6f, 35, 1234 }
//#
//# /** Greedy ortshard_sampler_options. @since 0.1 */
//# #define ORTSHARD_SAMPLER_OPTIONS_GREEDY { sizeof(ortshard_sampler_options), 0.0f, 0, 0 }

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

impl Versioned for ortshard_sampler_options {
    const NAME: &'static str = "ortshard_sampler_options";
}

impl Options for ortshard_sampler_options {
    const DEFAULT: Self = Self { struct_size: size_of::<Self>(), temperature: 0.6, top_k: 35, seed: 1234 };
}

/// Fills `options`, of `struct_size` bytes, with ORTSHARD_SAMPLER_OPTIONS_INIT, for languages without macros.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a bad size. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_options_init(
    options: *mut ortshard_sampler_options,
    struct_size: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    guard(|| unsafe { init(options, struct_size) })
}

/// Creates a sampler at the start of its random stream. NULL `options`: temperature 0.6, top_k 35, seed 1234.
///
/// Errors: INVALID_ARGUMENT for a temperature that is negative or not finite; VERSION_MISMATCH; NULL_ARGUMENT.
/// Threads: any. Ownership: free `*sampler` with ortshard_sampler_free(). @since 0.1
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

/// Frees a sampler. NULL is ignored. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_free(sampler: *mut ortshard_sampler) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(sampler, "sampler") });
}

/// Chooses the next token from `logits`, `n` floats: one row of a last shard's output, so n is vocab_size.
///
/// Errors: INVALID_ARGUMENT if a logit is not a number or plus infinity, if all are minus infinity, or if n is 0; the
/// random stream then stays where it was. INVALID_STATE if another call on this sampler is running; NULL_ARGUMENT.
/// Threads: one call at a time. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_sample(
    sampler: *mut ortshard_sampler,
    logits: *const f32,
    n: usize,
    id: *mut i64,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        let sampler = unsafe { borrow(sampler, "sampler") }?;
        // SAFETY: as above.
        let logits = unsafe { array(logits, n, "logits") }?;
        out.set(sampler.enter(|sampler| sampler, "sampler")?.sample(&logits)?.into());
        Ok(())
    })
}

/// Puts a sampler back to the start of its random stream.
///
/// Errors: INVALID_STATE if another call on this sampler is running; NULL_ARGUMENT. Threads: one call at a time.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_sampler_reset(sampler: *mut ortshard_sampler) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        unsafe { borrow(sampler, "sampler") }?.enter(|sampler| sampler, "sampler")?.reset();
        Ok(())
    })
}
