// What a step gives.

use std::ffi::c_char;

use crate::Finish;
use crate::ffi::frame::constants::constants;
use crate::ffi::frame::versioned::initial;

constants! {
    /// Why a text has ended.
    enum ortshard_finish {
        /// It has not.
        ORTSHARD_FINISH_NONE = 0,
        /// A token came that ends a text.
        ORTSHARD_FINISH_EOS = 1,
        /// A stop string came.
        ORTSHARD_FINISH_STOP = 2,
        /// max_new_tokens have come.
        ORTSHARD_FINISH_LENGTH = 3,
        /// There is no room for another token.
        ORTSHARD_FINISH_CONTEXT_FULL = 4,
        /// It was cancelled.
        ORTSHARD_FINISH_CANCELLED = 5,
    }
}

/// A token with the logarithm of its probability, as the model gives it, before any control. Its layout is final.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_logprob {
    /// The token.
    pub id: i64,
    /// The natural logarithm of its probability.
    pub logprob: f64,
    /// What it is alone, as UTF-8 followed by a NUL; bytes that are no text are U+FFFD. Empty without a tokenizer.
    pub text: *const c_char,
    /// Bytes of `text` without that NUL.
    pub text_length: usize,
}

/// What a step gives. What it points to belongs to the generation and lives until its next call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_step {
    /// Set to sizeof(ortshard_step) before the call.
    pub struct_size: usize,
    /// The token; ORTSHARD_NO_ID if the generation was cancelled, or had ended before.
    pub id: i64,
    /// Text that has become certain, as UTF-8 followed by a NUL: whole characters, often none. Models can produce NUL
    /// characters, so only the length tells where the text ends.
    pub text: *const c_char,
    /// Bytes of `text` without that NUL.
    pub text_length: usize,
    /// Why the text ends here, an ORTSHARD_FINISH_* constant; 0 if it goes on.
    pub finish: i32,
    /// Where that is ORTSHARD_FINISH_STOP: which of the options' `stop`.
    pub stop: u32,
    /// The natural logarithm of the token's probability as the model gives it; 0 without the option logprobs.
    pub logprob: f64,
    /// The most probable tokens, the most probable first; NULL without the option logprobs.
    pub best: *const ortshard_logprob,
    /// Number of `best`.
    pub best_count: usize,
}

initial!(ortshard_step, ortshard_step_init);

/// The constant of why a text has ended, and which stop string it was.
pub(in crate::ffi) fn code_of(finish: Option<Finish>) -> (i32, u32) {
    match finish {
        None => (ORTSHARD_FINISH_NONE, 0),
        Some(Finish::Eos) => (ORTSHARD_FINISH_EOS, 0),
        Some(Finish::Stop(index)) => (ORTSHARD_FINISH_STOP, index as u32),
        Some(Finish::Length) => (ORTSHARD_FINISH_LENGTH, 0),
        Some(Finish::ContextFull) => (ORTSHARD_FINISH_CONTEXT_FULL, 0),
        Some(Finish::Cancelled) => (ORTSHARD_FINISH_CANCELLED, 0),
    }
}
