//! Models of specs
//!
//! What ortshard_model_* and ortshard_tokenizer_open() give for a folder, of a model that is found as the files of a
//! shard are: in a folder, in the hub's cache, at the hub, or by the fetch callback. Of the spec, only `model` and
//! `revision` matter. Files that are not here are brought here, as few as needed, and `progress`, unless NULL, is told
//! and may cancel that.
//!
//! A branch can move between two calls. Name a commit as the revision where all must come from one.

use std::ffi::c_void;
use std::sync::Arc;

use crate::ModelInfo;
use crate::ffi::basics::objects::{ortshard_engine, ortshard_tokenizer};
use crate::ffi::engine::model::ortshard_model_info;
use crate::ffi::engine::progress::{Told, ortshard_progress_callback, reporting};
use crate::ffi::engine::spec::{ortshard_shard_spec, shard_spec};
use crate::ffi::frame::buffers::Buffer;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::{borrow, give};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::frame::versioned::write;
use crate::ffi::text::sampler::ortshard_sampler_options;

/// Describes the model of `spec`, as ortshard_model_get_info() does for a folder.
///
/// Errors: NOT_FOUND if there is no such model or revision; OFFLINE; HASH_MISMATCH; CANCELLED by `progress`;
/// MALFORMED; UNSUPPORTED for an architecture this library does not run; IO; INVALID_ARGUMENT for a bad revision, or
/// one of a folder.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_get_model_info(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    info: *mut ortshard_model_info,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(info, "info") }?;
        // SAFETY: as above.
        let info = unsafe { model_info(engine, spec, progress, user_data) }?;
        // SAFETY: as above.
        unsafe { write(&out, ortshard_model_info::of(&info)) }
    })
}

/// The ids that end a sequence, as the files of the model of `spec` declare them; see ortshard_model_eos().
///
/// Writes them to `ids`, which has room for `capacity`, and their number to `*needed`. NULL and 0 ask for the number.
///
/// Errors: those of ortshard_engine_get_model_info(); BUFFER_TOO_SMALL, and only `*needed` is written.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_model_eos(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    ids: *mut i64,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(ids, capacity, needed, "ids") }?;
        // SAFETY: as above.
        let info = unsafe { model_info(engine, spec, progress, user_data) }?;
        buffer.fill(&info.eos_ids.into_iter().map(i64::from).collect::<Vec<_>>())
    })
}

/// How the model of `spec` wants its tokens chosen; see ortshard_model_get_sampler_options().
///
/// Errors: those of ortshard_engine_get_model_info(), and of ortshard_model_get_sampler_options() for
/// generation_config.json.
/// Threads: many at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_get_sampler_options(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    options: *mut ortshard_sampler_options,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(options, "options") }?;
        // SAFETY: as above.
        let engine = unsafe { borrow(engine, "engine") }?;
        // SAFETY: as above.
        let spec = unsafe { shard_spec(spec) }?;
        let read = |progress: Told<'_>| Ok(engine.published_sampling(&spec, progress)?);
        // SAFETY: as above.
        let options = unsafe { reporting(progress, user_data, read) }?;
        // SAFETY: as above.
        unsafe { write(&out, ortshard_sampler_options::of(&options)?) }
    })
}

/// Opens the tokenizer of the model of `spec`.
///
/// Looked for are tokenizer.json and, where the model has them, tokenizer_config.json, special_tokens_map.json and
/// added_tokens.json (unless tokenizer_config.json has added_tokens_decoder), generation_config.json, config.json and
/// chat_template.jinja; beside the last also additional_chat_templates/tool_use.jinja and rag.jinja. With the network
/// off, what the cache does not hold counts as not there, but for tokenizer.json itself.
///
/// Errors: those of ortshard_engine_get_model_info(); NOT_FOUND if the model has no tokenizer.json; MALFORMED also for
/// a file of more than 256 MiB (16 MiB for the others), which is not fetched.
/// Threads: many at once. Ownership: free `*tokenizer` with ortshard_tokenizer_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_engine_open_tokenizer(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
    tokenizer: *mut *mut ortshard_tokenizer,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(engine) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(tokenizer, "tokenizer") }?;
        // SAFETY: as above.
        let engine = unsafe { borrow(engine, "engine") }?;
        // SAFETY: as above.
        let spec = unsafe { shard_spec(spec) }?;
        // SAFETY: as above.
        let opened = unsafe { reporting(progress, user_data, |progress| Ok(engine.tokenizer(&spec, progress)?)) }?;
        out.set(give(Arc::new(opened)));
        Ok(())
    })
}

/// # Safety
/// The arguments are as the header says.
unsafe fn model_info(
    engine: *const ortshard_engine,
    spec: *const ortshard_shard_spec,
    progress: ortshard_progress_callback,
    user_data: *mut c_void,
) -> Result<ModelInfo, Failure> {
    // SAFETY: the caller's promise.
    let engine = unsafe { borrow(engine, "engine") }?;
    // SAFETY: as above.
    let spec = unsafe { shard_spec(spec) }?;
    // SAFETY: as above.
    unsafe { reporting(progress, user_data, |progress| Ok(engine.model_info(&spec, progress)?)) }
}
