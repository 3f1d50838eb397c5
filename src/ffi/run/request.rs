// What a request does.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use crate::ffi::basics::objects::{ortshard_request, ortshard_sampler, ortshard_shard};
use crate::ffi::frame::buffers::{Buffer, array};
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::{guard, on};
use crate::ffi::frame::handle::{borrow, free};
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_BUFFER_TOO_SMALL, ORTSHARD_ERROR_OUT_OF_RANGE, ortshard_status};
use crate::ffi::run::request_options::{
    ORTSHARD_LOGITS_ALL, ORTSHARD_LOGITS_LAST, ORTSHARD_LOGITS_NONE, ortshard_request_options, request_options,
};
use crate::ffi::run::running::{Entered, Running, enter, handle_on};
use crate::ffi::run::tensor::{NOTHING, Values, ortshard_tensor};
use crate::ffi::text::sampler;
use crate::{FramePieces, Logits, Request, next_token};

/// Creates a request at position 0 on `shard`, which it keeps alive. NULL `options`: the defaults.
///
/// Errors: OUT_OF_RANGE for a capacity above the model's maximum; OUT_OF_MEMORY (site KV); STALE_SHARD.
/// Threads: many at once. Ownership: free `*request` with ortshard_request_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_create(
    shard: *const ortshard_shard,
    options: *const ortshard_request_options,
    request: *mut *mut ortshard_request,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(shard) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::handle(request, "request") }?;
        // SAFETY: as above.
        let shard = unsafe { borrow(shard, "shard") }?;
        // SAFETY: as above.
        let (options, how) = unsafe { request_options(options) }?;
        out.set(handle_on(Running::new(Request::new(&shard, options)?, how)));
        Ok(())
    })
}

/// Frees a request and the outputs borrowed from it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_free(request: *mut ortshard_request) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(request, "request") });
}

/// Runs `count` token `ids` through a shard of all layers, continuing at the request's position, moves the position on,
/// and writes the last token's logits.
///
/// Writes them to `logits`, which has room for `capacity` floats, and their number, vocab_size, to `*needed`. NULL and
/// 0 ask for the number: nothing is run, and whether the ids are the model's and the request has room for them is seen
/// by the call that runs them. If the call fails, `logits` and the position are as before, and the call can be repeated.
///
/// Errors: those of ortshard_request_infer(); INVALID_ARGUMENT for a `count` of 0 or a shard that gives no logits;
/// BUFFER_TOO_SMALL before anything is run, and only `*needed` is written.
/// Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_logits(
    request: *mut ortshard_request,
    ids: *const i64,
    count: usize,
    logits: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: as above.
        let buffer = unsafe { Buffer::new(logits, capacity, needed, "logits") }?;
        // SAFETY: as above.
        let (mut running, values) = unsafe { enter_with(request, ids, count) }?;
        let info = running.request.shard().info();
        if !info.is_last {
            let (last, layers) = (info.last_layer, info.layer_count);
            return Err(Failure::invalid(format!("the shard ends at layer {last} of {layers} and gives no logits")));
        }
        if !buffer.room_for(info.vocab_size as usize)? {
            return Ok(());
        }
        let output = running.request.infer(values.input()?, Logits::Last)?;
        buffer.fill(output.values().to_slice().unwrap_or_default())?;
        running.moved();
        Ok(())
    })
}

/// Runs `count` token `ids` through a shard of all layers, continuing at the request's position, moves the position on,
/// and has `sampler` choose the token that follows. NULL `sampler`: the id of the largest logit, among equals the
/// lowest.
///
/// `id` may lie in `ids`. If the call fails, also in sampling, `*id`, the position and the sampler are as before.
///
/// Errors: those of ortshard_request_logits(), but for BUFFER_TOO_SMALL, and ortshard_sampler_sample().
/// Threads: one call at a time on the request and on the sampler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_sample(
    request: *mut ortshard_request,
    ids: *const i64,
    count: usize,
    sampler: *mut ortshard_sampler,
    id: *mut i64,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(id, "id") }?;
        // SAFETY: as above.
        let (mut running, values) = unsafe { enter_with(request, ids, count) }?;
        // SAFETY: as above.
        let mut sampler = unsafe { sampler::enter(sampler, "sampler") }?;
        let chosen = next_token(&mut [&mut running.request], values.input()?, &mut sampler)?;
        running.moved();
        out.set(chosen.into());
        Ok(())
    })
}

/// A request and the ids that it is to run.
///
/// # Safety
/// As the header says.
unsafe fn enter_with<'a>(
    request: *mut ortshard_request,
    ids: *const i64,
    count: usize,
) -> Result<(Entered, Values<'a>), Failure> {
    // SAFETY: the caller's promise.
    let ids = unsafe { array(ids, count, "ids") }?;
    if ids.is_empty() {
        return Err(Failure::invalid("count is 0: a run has at least one token"));
    }
    // SAFETY: as above.
    let running = unsafe { enter(request, "request") }?;
    let values = Values::Ids(ids).out_of(&running.lent)?;
    Ok((running, values))
}

/// Runs `input` through the shard, continuing at the request's position, and moves the position on.
///
/// `logits` is an ORTSHARD_LOGITS_* constant; a shard that is not the last gives all hidden states whatever it is.
/// `output` may be the same struct as `input`. If the call fails, `output` is all zero, the position is as before,
/// and the call can be repeated.
///
/// Errors: INVALID_ARGUMENT for ids where hidden states belong or the reverse, a wrong rank, width, batch dimension or
/// byte_length, or a dimension that is not positive; OUT_OF_RANGE for an id that is not in the vocabulary, or if a short
/// text becomes a long one (ortshard_request_options's long_context); CONTEXT_FULL if the tokens do not fit into what is
/// left of the capacity; CANCELLED; STALE_SHARD; OUT_OF_MEMORY (site RUN, or KV with the option no_cache); ONNXRUNTIME.
/// For frames: MALFORMED, UNSUPPORTED, INVALID_ARGUMENT and INVALID_STATE, as the section on them says, and OUT_OF_RANGE
/// for a number beyond the type that the output has, with the option refuse_beyond.
/// Threads: one call at a time. Ownership: output->data belongs to the request and lives until the request's next run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_infer(
    request: *mut ortshard_request,
    input: *const ortshard_tensor,
    logits: i32,
    output: *mut ortshard_tensor,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| unsafe { infer(request, input, logits, None, output) })
}

/// Runs `input` through the shard, as ortshard_request_infer() does, and copies the output into `buffer`, which has
/// room for `capacity` bytes and any alignment: output->data is `buffer`, which stays as it is after the next run.
///
/// `buffer` may be the memory that `input` describes. NULL and 0 ask for the size: nothing is run, and `output`
/// describes the tensor that would come, with data NULL; its byte_length is what the buffer needs. If the call fails,
/// `output` is all zero, the position is as before, and the call can be repeated.
///
/// Errors: those of ortshard_request_infer(); BUFFER_TOO_SMALL before anything is run, and `output` is as if its size
/// had been asked for.
/// Threads: one call at a time. Ownership: the buffer stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_infer_into(
    request: *mut ortshard_request,
    input: *const ortshard_tensor,
    logits: i32,
    buffer: *mut c_void,
    capacity: usize,
    output: *mut ortshard_tensor,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| unsafe { infer(request, input, logits, Some((buffer, capacity)), output) })
}

/// The number of tokens that were run, which is the position of the next one. During a run, that before it.
///
/// Threads: many at once, also during a run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_position(
    request: *const ortshard_request,
    position: *mut u64,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(position, "position") }?;
        // SAFETY: as above.
        out.set(unsafe { borrow(request, "request") }?.position.load(Ordering::Acquire));
        Ok(())
    })
}

/// The number of tokens there is room for.
///
/// Threads: many at once, also during a run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_capacity(
    request: *const ortshard_request,
    capacity: *mut u64,
) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: as above.
        let out = unsafe { Out::new(capacity, "capacity") }?;
        // SAFETY: as above.
        out.set(unsafe { borrow(request, "request") }?.capacity);
        Ok(())
    })
}

/// Forgets every token from `position` on; 0 empties the request.
///
/// Layers that see a window of tokens (Mistral, Gemma 2, ...) keep that window and at least 256 tokens behind it, not
/// the whole context: a request can go back by 256 tokens from the furthest position that it has reached, or to 0. A
/// fork has reached what its original had, and a request that imported a state what the one that exported it had. In a
/// model without windows a request can go back to any position.
///
/// Layers with a state of fixed size (the convolutions of LFM2, the linear attention of Qwen3.5) cannot go back. So the
/// request keeps its input, 8 bytes a token on a shard that takes ids and 4 x hidden_size on others, and puts states
/// aside: where its last call began, and at intervals (ortshard_request_options's snapshot_interval). This function
/// takes no time. The next call first runs the tokens again that lie between the nearest of these states and
/// `position`: after a truncation into the last call those that it began with, else at most about an interval. The
/// bits are those of a request that never went further, and such a request can go back to any position.
///
/// Errors: OUT_OF_RANGE if `position` is past the present one, or further back than a window has kept; the message says
/// how far is possible. Threads: one call at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_truncate(request: *mut ortshard_request, position: u64) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| {
        // SAFETY: as above.
        let mut running = unsafe { enter(request, "request") }?;
        let wanted = usize::try_from(position)
            .map_err(|_| Failure::new(ORTSHARD_ERROR_OUT_OF_RANGE, format!("position {position} is past any")))?;
        running.request.truncate(wanted)?;
        running.moved();
        Ok(())
    })
}

/// Cancels the request's run in progress between two operators or, if none is, its next one.
///
/// That call returns ORTSHARD_ERROR_CANCELLED and leaves the position as it was; the one after it runs again. So a
/// cancellation is never lost, and one that comes when the last run is over meets the next, however much later. Call
/// ortshard_request_clear_cancel() where something new begins. Never waits.
///
/// In a chain any of the requests cancels the call, and it clears all of them; in a batch a request cancels its own
/// part. Loading is cancelled by its progress callback, which leaves nothing behind.
///
/// Errors: ONNXRUNTIME. Threads: any, also during a run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_cancel(request: *const ortshard_request) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| unsafe { Ok(borrow(request, "request")?.cancel.cancel()?) })
}

/// Takes a cancellation back that no call has returned yet; there may be none.
///
/// A run in progress that was told to stop may still return CANCELLED. So where a button stops an answer, clear when
/// the next one begins, and a press after the last token of the one before does not stop it. Never waits.
///
/// Errors: ONNXRUNTIME. Threads: any, also during a run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_clear_cancel(request: *const ortshard_request) -> ortshard_status {
    // SAFETY: the header's contract.
    unsafe { on(request) }.guard(|| unsafe { Ok(borrow(request, "request")?.cancel.clear()?) })
}

/// Both kinds of `infer`. Without a buffer the output is borrowed from the request.
///
/// # Safety
/// The arguments are as the header says.
unsafe fn infer(
    request: *mut ortshard_request,
    input: *const ortshard_tensor,
    logits: i32,
    buffer: Option<(*mut c_void, usize)>,
    output: *mut ortshard_tensor,
) -> Result<(), Failure> {
    // Input and output may be one struct, so the input is copied before the output is cleared.
    // SAFETY: NULL or readable, by the caller's promise.
    let input = (!input.is_null()).then(|| unsafe { input.read_unaligned() });
    // SAFETY: as above.
    let output = unsafe { Out::new(output, "output") }?;
    output.set(NOTHING);
    let input = input.ok_or_else(|| Failure::null("input"))?;
    // SAFETY: as above.
    let mut running = unsafe { enter(request, "request") }?;
    let logits = logits_of(logits)?;
    // SAFETY: as above.
    let values = unsafe { input.values() }?.out_of(&running.lent)?;

    let promised = running.prepare(values.tokens(), logits)?;
    if let Some((data, capacity)) = buffer {
        if data.is_null() && capacity != 0 {
            return Err(Failure::null("buffer"));
        }
        if data.is_null() {
            output.set(promised);
            return Ok(());
        }
        let needed = promised.byte_length;
        if capacity < needed {
            output.set(promised);
            let message = format!("the buffer has {capacity} bytes, {needed} are needed");
            return Err(Failure::new(ORTSHARD_ERROR_BUFFER_TOO_SMALL, message));
        }
    }

    let before = running.request.position();
    running.request.run(values.input()?, logits)?;
    let write = |frame: &FramePieces, buffer: *mut c_void| {
        let mut to = buffer.cast::<u8>();
        for piece in frame.pieces() {
            // SAFETY: the buffer has room for the frame, as was checked; it is not the request's own memory.
            unsafe {
                std::ptr::copy(piece.as_ptr(), to, piece.len());
                to = to.add(piece.len());
            }
        }
        buffer.cast_const()
    };
    let write = buffer.map(|(buffer, _)| move |frame: &FramePieces| write(frame, buffer));
    let write = write.as_ref().map(|write| write as &dyn Fn(&FramePieces) -> *const c_void);
    let shown = running.show(before, write);
    running.moved();
    let mut shown = shown?;
    let is_elsewhere = buffer.is_some_and(|(buffer, _)| shown.data == buffer);
    if let (Some((buffer, _)), false, false) = (buffer, shown.data.is_null(), is_elsewhere) {
        // SAFETY: the buffer has that much room, as was checked; it is not the request's own memory.
        unsafe { std::ptr::copy(shown.data.cast::<u8>(), buffer.cast(), shown.byte_length) };
        shown.data = buffer;
    }
    output.set(shown);
    Ok(())
}

pub(in crate::ffi) fn logits_of(code: i32) -> Result<Logits, Failure> {
    match code {
        ORTSHARD_LOGITS_LAST => Ok(Logits::Last),
        ORTSHARD_LOGITS_ALL => Ok(Logits::All),
        ORTSHARD_LOGITS_NONE => Ok(Logits::None),
        _ => Err(Failure::invalid(format!("logits is {code}, not an ORTSHARD_LOGITS_* constant"))),
    }
}
