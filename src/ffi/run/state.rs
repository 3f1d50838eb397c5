//! Request state
//!
//! A request can be copied, and its state taken elsewhere: to a later time, another process, another machine with the
//! same shard. It continues there bit for bit.

use std::ffi::c_void;

use crate::ffi::basics::objects::ortshard_request;
use crate::ffi::frame::buffers::{Buffer, array};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::on;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::ortshard_status;
use crate::ffi::run::running::{enter, give_fork};

/// Creates another request with the same tokens behind it. It costs a copy of the KV cache's rows, or of what a request
/// without a cache keeps; from here on the two are independent.
///
/// Errors: STALE_SHARD; OUT_OF_MEMORY (site KV).
/// Threads: one call at a time. Ownership: free `*fork` with ortshard_request_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_fork(
    request: *mut ortshard_request,
    fork: *mut *mut ortshard_request,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(fork, "fork") }?;
        // SAFETY: as above.
        let running = unsafe { enter(request, "request") }?;
        out.set(give_fork(&running, running.request.fork()?));
        Ok(())
    })
}

/// Writes the request's state to `buffer`, which has room for `capacity` bytes, and its size to `*needed`. NULL and 0
/// ask for the size.
///
/// The state is bytes to be kept or sent as they are: a version, a fingerprint of what it belongs to, the tokens' KV
/// rows, and a hash of all that. Where layers have a state of fixed size, that is in it, and the input of all tokens.
/// The fingerprint covers the numbers of config.json that results depend on, the layers, how KV rows are kept, and of
/// each tensor its name, shape and type (as stored or quantised) and its first and last 4,096 bytes. So other weights
/// are noticed, but for those that differ from these in the middle of large tensors only.
///
/// Errors: BUFFER_TOO_SMALL, and only `*needed` is written; INVALID_STATE if the request was made with
/// no_cache, since its state is its input, to be run again; STALE_SHARD; OUT_OF_MEMORY (site KV).
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_export_state(
    request: *mut ortshard_request,
    buffer: *mut c_void,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { ortshard_request_export_state_since(request, 0, buffer, capacity, needed) }
}

/// Writes what the request's state has gained since it was at position `since`, so that what changes hands of a growing
/// text is what is new. The KV rows are those of the tokens from `since` on; layers' states of fixed size are whole.
///
/// ortshard_request_import_state() adds it to a request that is at `since` and has the same tokens behind it, which
/// nothing checks. So a state of 0, one since where that ends, and so on, are taken one after another.
///
/// Errors: OUT_OF_RANGE if `since` lies behind the request's position, or if layers have states of fixed size, the
/// request has gone back, and the last state that is kept lies before `since`; those of
/// ortshard_request_export_state(). Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_export_state_since(
    request: *mut ortshard_request,
    since: u64,
    buffer: *mut c_void,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: the header's contract.
        let buffer = unsafe { Buffer::new(buffer.cast::<u8>(), capacity, needed, "buffer") }?;
        // SAFETY: as above.
        let running = unsafe { enter(request, "request") }?;
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        if buffer.room_for(running.request.state_size(since)?)? {
            buffer.fill(&running.request.export_state_since(since)?)?;
        }
        Ok(())
    })
}

/// Puts the request where the one that exported the `size` bytes at `state` was. If they are refused, nothing changes.
/// What ortshard_request_export_state_since() gave is taken by a request at that position.
///
/// Errors: MALFORMED if the bytes are damaged; UNSUPPORTED for a version that this library does not know;
/// INVALID_ARGUMENT for a state of another model, other weights, layers, precision or kv_type, or one since another
/// position than the request's; OUT_OF_RANGE for one since the request's position if layers have states of fixed size
/// and the request has gone back to there, so that they are those of an earlier one; CONTEXT_FULL if it holds more
/// tokens than this request has room for; INVALID_STATE if the request was made with no_cache; STALE_SHARD.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_import_state(
    request: *mut ortshard_request,
    state: *const c_void,
    size: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: the header's contract.
        let mut running = unsafe { enter(request, "request") }?;
        if state.is_null() {
            return Err(Failure::null("state"));
        }
        // SAFETY: as above.
        let state = unsafe { array(state.cast::<u8>(), size, "state") }?;
        running.request.import_state(&state)?;
        running.moved();
        Ok(())
    })
}
