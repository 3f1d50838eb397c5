// Copies of a generation, here and elsewhere.

use std::ffi::c_void;

use crate::ffi::basics::objects::ortshard_generation;
use crate::ffi::frame::buffers::{Buffer, array};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::handle::give;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::generation::pulled::{GenerationObject, enter};

/// Creates another generation that goes on from here on its own, with the same options, on forks of the requests: it
/// gives the tokens that this one gives, unless another prompt is appended to it. What the last step gave is not in it.
///
/// Errors: INVALID_STATE after a step that has failed and is to be repeated first; those of ortshard_request_fork().
/// Threads: one call at a time. Ownership: free `*fork` with ortshard_generation_free(). It keeps what it needs alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_fork(
    generation: *mut ortshard_generation,
    fork: *mut *mut ortshard_generation,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::handle(fork, "fork") }?;
        // SAFETY: as above.
        let pulled = unsafe { enter(generation, "generation") }?;
        let fork = pulled.settled()?.fork()?;
        out.set(give(GenerationObject::new(fork, Vec::new())));
        Ok(())
    })
}

/// Writes the generation's state to `buffer`, which has room for `capacity` bytes, and its size to `*needed`. NULL and
/// 0 ask for the size.
///
/// A generation that imports it goes on as if this one had never stopped, with the same tokens and the same text:
/// later, in another process, on another machine with the same shards. In it are the requests' states, the place in the
/// random stream, the text that penalties look at, text that is held back, the prompt's tokens that have not been run,
/// and the place in the grammar. The options are in it as hashes only. What the last step gave is not in it.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written; INVALID_STATE after a step that has failed and is to be
/// repeated first; those of ortshard_request_export_state().
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_export_state(
    generation: *mut ortshard_generation,
    buffer: *mut c_void,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let buffer = unsafe { Buffer::new(buffer.cast::<u8>(), capacity, needed, "buffer") }?;
        // SAFETY: as above.
        let pulled = unsafe { enter(generation, "generation") }?;
        let generation = pulled.settled()?;
        if buffer.room_for(generation.state_size()?)? {
            buffer.fill(&generation.export_state()?)?;
        }
        Ok(())
    })
}

/// Puts the generation where the one was that exported the `size` bytes at `state`. It was made with the same options,
/// but for `logprobs` and `keep_logits`, on requests of the same model that is cut alike. If the state is refused,
/// nothing changes.
///
/// Under a grammar the tokens of the text so far are taken again, some microseconds each.
///
/// Errors: MALFORMED if the bytes are damaged; UNSUPPORTED for a version that this library does not know;
/// INVALID_ARGUMENT for a state of another model, tokenizer or grammar, or of other options: the message names what is
/// other; those of ortshard_request_import_state().
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_generation_import_state(
    generation: *mut ortshard_generation,
    state: *const c_void,
    size: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(generation) }.guard(|| {
        // SAFETY: as above.
        let mut pulled = unsafe { enter(generation, "generation") }?;
        if state.is_null() {
            return Err(Failure::null("state"));
        }
        // SAFETY: as above.
        let state = unsafe { array(state.cast::<u8>(), size, "state") }?;
        pulled.import(&state)
    })
}
