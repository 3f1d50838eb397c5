//! Model folders
//!
//! A model is a folder as Hugging Face publishes it: config.json, safetensors and, for text, tokenizer.json. For models
//! of the hub by name: ortshard_engine_get_model_info().

use std::ffi::c_char;

use crate::ModelInfo;
use crate::ffi::frame::buffers::Buffer;
use crate::ffi::frame::guard::guard;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::strings::{fixed, path};
use crate::ffi::frame::versioned::{initial, write};
use crate::ffi::text::sampler::ortshard_sampler_options;

/// The shape of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_model_info {
    /// Set to sizeof(ortshard_model_info) before the call.
    pub struct_size: usize,
    /// The architecture, such as "LlamaForCausalLM".
    pub architecture: [c_char; 64],
    /// Number of layers; the last one's index is one less.
    pub layer_count: u32,
    /// Width of hidden states.
    pub hidden_size: u32,
    /// Number of token ids, and width of logits.
    pub vocab_size: u32,
    /// The longest sequence the model allows, in tokens.
    pub max_positions: u32,
}

initial!(ortshard_model_info, ortshard_model_info_init);

impl ortshard_model_info {
    pub(in crate::ffi) fn of(info: &ModelInfo) -> Self {
        Self {
            struct_size: 0,
            architecture: fixed(&info.architecture),
            layer_count: info.layer_count,
            hidden_size: info.hidden_size,
            vocab_size: info.vocab_size,
            max_positions: info.max_positions,
        }
    }
}

/// Describes the model in the folder `model`. Reads config.json only; needs neither weights nor ONNX Runtime.
///
/// Errors: NOT_FOUND if there is no such folder or no config.json in it; MALFORMED if that breaks its format;
/// UNSUPPORTED for an architecture this library does not run; IO; INVALID_ARGUMENT if it is not a folder.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_model_get_info(
    model: *const c_char,
    info: *mut ortshard_model_info,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(info, "info") }?;
        // SAFETY: as above.
        let info = ModelInfo::read(unsafe { path(model, "model") }?)?;
        // SAFETY: as above.
        unsafe { write(&out, ortshard_model_info::of(&info)) }
    })
}

/// The ids that end a sequence, as generation_config.json, or config.json where that has none, of the folder `model`
/// declares them; there may be none or several. For models without a tokenizer; with one, ortshard_tokenizer_eos()
/// knows more.
///
/// Writes them to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
///
/// Errors: those of ortshard_model_get_info(); BUFFER_TOO_SMALL, and only `*needed` is written. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_model_eos(
    model: *const c_char,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let info = ModelInfo::read(unsafe { path(model, "model") }?)?;
        buffer.fill(&info.eos_ids.into_iter().map(i64::from).collect::<Vec<_>>())
    })
}

/// How the folder `model` wants its tokens chosen: what its generation_config.json says, as transformers' `generate`
/// reads it. Without do_sample, or without the file, temperature is 0.
///
/// Read are do_sample, temperature, top_k, top_p, min_p, typical_p, repetition_penalty, no_repeat_ngram_size and
/// min_new_tokens. The seed is the default's, and the lists are NULL: those that end a text tells ortshard_model_eos().
///
/// Errors: UNSUPPORTED, naming the key, if the file chooses in another way, or bans or biases tokens, for which
/// `options` have no memory; MALFORMED; NOT_FOUND if there is no such folder; IO; INVALID_ARGUMENT if it is not a
/// folder, or for a value outside its range. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_model_get_sampler_options(
    model: *const c_char,
    options: *mut ortshard_sampler_options,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(options, "options") }?;
        // SAFETY: as above.
        let options = ModelInfo::published_sampling(unsafe { path(model, "model") }?)?;
        // SAFETY: as above.
        unsafe { write(&out, ortshard_sampler_options::of(&options)?) }
    })
}
