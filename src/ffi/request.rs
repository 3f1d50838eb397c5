//! Request
//!
//! A request runs tokens through its shard, continuing where it stopped: its KV cache keeps what the shard computed
//! for the tokens before. A prompt may come in one call or in several, the bits are the same.
//!
//! Inputs, of n tokens:
//!
//!     first shard:    token ids, I32 or I64, [n] or [1, n]
//!     other shards:   hidden states, F32, F16 or BF16, [n, hidden_size] or [1, n, hidden_size]
//!
//! Outputs:
//!
//!     last shard:     logits, F32 [1, rows, vocab_size]; rows is 1, n or 0 (ORTSHARD_LOGITS_*)
//!     other shards:   hidden states [1, n, hidden_size] for the next shard: F32, or as the option hidden_dtype says
//!
//! So one tensor can travel through all shards, as `input` and `output` of the same call:
//!
//!     for (int i = 0; i < n_shards; i++)
//!         ortshard_request_infer(requests[i], &tensor, ORTSHARD_LOGITS_LAST, &tensor);
//!
//! An output's data belongs to the request and lives until the request's next run, or until it is freed. A run is any
//! call of ortshard_request_infer(), ortshard_request_infer_into(), ortshard_batch_infer(), ortshard_chain_infer(),
//! ortshard_chain_sample() or ortshard_batch_sample() with that request, also one that fails. No other function touches it.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use half::bf16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use super::guard::guard;
use super::handle::{self, Exclusive, Out, borrow, free, give};
use super::objects::{ortshard_request, ortshard_shard};
use super::options::{Options, Versioned, init, read};
use super::status::{Failure, ORTSHARD_ERROR_BUFFER_TOO_SMALL, ORTSHARD_ERROR_OUT_OF_RANGE, ortshard_status};
use super::tensor::{NOTHING, ORTSHARD_DTYPE_BF16, ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32, ortshard_tensor};
use crate::error::{Error, Site};
use crate::{CancelHandle, Logits, Request, RequestOptions};

/// Logits of the last token: [1, 1, vocab_size].
pub const ORTSHARD_LOGITS_LAST: i32 = 0;
/// Logits of every token: [1, n, vocab_size].
pub const ORTSHARD_LOGITS_ALL: i32 = 1;
/// None: [1, 0, vocab_size]. Only fills the KV cache.
pub const ORTSHARD_LOGITS_NONE: i32 = 2;

//# /** Default ortshard_request_options. @since 0.1 */
//# #define ORTSHARD_REQUEST_OPTIONS_INIT { sizeof(ortshard_request_options), 0, 0, 0, 0 }

/// Limits of a request. All zero but struct_size: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_request_options {
    /// sizeof(ortshard_request_options).
    pub struct_size: usize,
    /// Tokens there is room for, prompt and answer together. The KV cache's memory is reserved at once, so a run never
    /// fails for lack of it. 0: the model's maximum, at most 4096.
    pub capacity: u32,
    /// Tokens per run of a long input. 0: 512. Any size gives the same bits; a smaller one needs less memory.
    pub prefill_chunk: u32,
    /// Not 0: the request keeps no KV cache between calls. Each call computes everything anew in a cache that it gives
    /// back at its end: the same bits, in a time that grows with all the tokens so far.
    ///
    /// Instead it keeps its input, until it is freed: 8 bytes a token on a shard that takes ids, 4 x hidden_size on
    /// others. Its state cannot be exported or imported.
    pub no_cache: i32,
    /// What the hidden states that the request gives are: ORTSHARD_DTYPE_F32 (or 0), _F16 or _BF16, rounded to nearest. Half as
    /// much to send to another machine. A shard that computes in that very type, as those on CUDA do in the checkpoint's,
    /// loses nothing; others do, and then a model in shards is not the same bit for bit. As float16 a value beyond 65504 in
    /// magnitude, the largest there is, becomes that; infinities and NaNs stay what they are.
    ///
    /// Between the requests of ortshard_chain_infer() nothing is rounded, whatever this says: a chain gives the bits of the
    /// whole model.
    pub hidden_dtype: i32,
}

impl Versioned for ortshard_request_options {
    const NAME: &'static str = "ortshard_request_options";
}

impl Options for ortshard_request_options {
    const DEFAULT: Self =
        Self { struct_size: size_of::<Self>(), capacity: 0, prefill_chunk: 0, no_cache: 0, hidden_dtype: 0 };
}

/// What may be asked or cancelled while a run is going on lies outside the lock.
pub(super) struct RequestObject {
    pub(super) running: Exclusive<Running>,
    cancel: CancelHandle,
    position: AtomicU64,
    capacity: u64,
}

pub(super) struct Running {
    pub(super) request: Request,
    /// What hidden states are given as: an `ORTSHARD_DTYPE_F32`, `_F16` or `_BF16`.
    hidden: i32,
    /// The last ones, if that is not `ORTSHARD_DTYPE_F32`.
    rounded: Vec<u16>,
    /// Addresses of the last output, to notice when it comes back as an input.
    pub(super) output: Range<usize>,
}

impl Running {
    fn new(request: Request, hidden: i32) -> Self {
        Self { request, hidden, rounded: Vec::new(), output: 0..0 }
    }

    /// What the output of `tokens` tokens will be, without data. Its memory is there afterwards.
    pub(super) fn prepare(&mut self, tokens: usize, logits: Logits) -> Result<ortshard_tensor, Failure> {
        let (rows, width) = self.request.output_shape(tokens, logits);
        let dtype = self.dtype();
        if dtype != ORTSHARD_DTYPE_F32 {
            let count = rows * width;
            let refused = |_| Error::oom(Site::Run, "cpu", 2 * count as u64, "rounded hidden states");
            self.rounded.try_reserve_exact(count.saturating_sub(self.rounded.len())).map_err(refused)?;
        }
        Ok(ortshard_tensor::rows(dtype, rows, width, None))
    }

    fn dtype(&self) -> i32 {
        if self.request.shard().info().is_last { ORTSHARD_DTYPE_F32 } else { self.hidden }
    }

    /// What the last run gave, borrowed from the request.
    pub(super) fn show(&mut self) -> ortshard_tensor {
        let Some(output) = self.request.output() else { return NOTHING };
        let values = output.values();
        let (rows, width) = values.dim();
        let dtype = self.dtype();
        let values = values.to_slice().unwrap_or_default();
        let data: *const c_void = if dtype == ORTSHARD_DTYPE_F32 {
            values.as_ptr().cast()
        } else {
            self.rounded.resize(values.len(), 0);
            if dtype == ORTSHARD_DTYPE_F16 {
                output.round_to_halves(&mut self.rounded);
            } else {
                self.rounded.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values);
            }
            self.rounded.as_ptr().cast()
        };
        let shown = ortshard_tensor::rows(dtype, rows, width, (!values.is_empty()).then_some(data));
        self.output = data.addr()..data.addr() + shown.byte_length;
        shown
    }
}

/// Fills `options`, of `struct_size` bytes, with defaults, for languages without ORTSHARD_REQUEST_OPTIONS_INIT.
///
/// Errors: NULL_ARGUMENT; INVALID_ARGUMENT for a bad size. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_options_init(
    options: *mut ortshard_request_options,
    struct_size: usize,
) -> ortshard_status {
    // SAFETY: the header's contract.
    guard(|| unsafe { init(options, struct_size) })
}

/// Creates a request at position 0 on `shard`, which it keeps alive. NULL `options`: the defaults.
///
/// Errors: OUT_OF_RANGE for a capacity above the model's maximum; OUT_OF_MEMORY (site KV); STALE_SHARD;
/// VERSION_MISMATCH; INVALID_ARGUMENT for a bad struct_size; NULL_ARGUMENT.
/// Threads: many at once. Ownership: free `*request` with ortshard_request_free(). @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_create(
    shard: *const ortshard_shard,
    options: *const ortshard_request_options,
    request: *mut *mut ortshard_request,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::handle(request, "request") }?;
        // SAFETY: as above.
        let shard = unsafe { borrow(shard, "shard") }?;
        // SAFETY: as above.
        let options = unsafe { read(options) }?;
        let hidden = match options.hidden_dtype {
            0 | ORTSHARD_DTYPE_F32 => ORTSHARD_DTYPE_F32,
            rounded @ (ORTSHARD_DTYPE_F16 | ORTSHARD_DTYPE_BF16) => rounded,
            other => {
                let message = format!(
                    "hidden_dtype is {other}, not ORTSHARD_DTYPE_F32, ORTSHARD_DTYPE_F16 or ORTSHARD_DTYPE_BF16"
                );
                return Err(Failure::invalid(message));
            }
        };
        let options = RequestOptions {
            capacity: options.capacity,
            prefill_chunk: options.prefill_chunk,
            no_cache: options.no_cache != 0,
        };
        out.set(handle_on(Running::new(Request::new(&shard, options)?, hidden)));
        Ok(())
    })
}

/// A handle on a request.
fn handle_on(running: Running) -> *mut ortshard_request {
    let request = &running.request;
    give(RequestObject {
        cancel: request.cancel_handle(),
        position: AtomicU64::new(request.position() as u64),
        capacity: request.capacity() as u64,
        running: Exclusive::new(running),
    })
}

/// A handle on `fork`, which gives what `running` does.
pub(super) fn give_fork(running: &Running, fork: Request) -> *mut ortshard_request {
    handle_on(Running::new(fork, running.hidden))
}

/// A request that a call has to itself.
pub(super) type Entered = handle::Entry<ortshard_request, Running>;

/// # Safety
/// As for [`borrow`].
pub(super) unsafe fn enter(request: *const ortshard_request, parameter: &str) -> Result<Entered, Failure> {
    // SAFETY: the caller's promise.
    unsafe { borrow(request, parameter) }?.enter(|object| &object.running, parameter)
}

impl Entered {
    /// Shows the position that a call has left the request at.
    pub(super) fn moved(&self) {
        self.object().position.store(self.request.position() as u64, Ordering::Release);
    }
}

/// Frees a request and the outputs borrowed from it. NULL is ignored. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_free(request: *mut ortshard_request) {
    // SAFETY: the header's contract.
    guard(|| unsafe { free(request, "request") });
}

/// Runs `input` through the shard, continuing at the request's position, and moves the position on.
///
/// `logits` is an ORTSHARD_LOGITS_* constant; a shard that is not the last gives all hidden states whatever it is.
/// `output` may be the same struct as `input`. If the call fails, `output` is all zero, the position is as before,
/// and the call can be repeated.
///
/// Errors: INVALID_ARGUMENT for ids where hidden states belong or the reverse, a wrong rank, width, batch dimension
/// or byte_length, a dimension that is not positive, an unknown dtype or `logits`; OUT_OF_RANGE for an id that is not
/// in the vocabulary; CONTEXT_FULL if the tokens do not fit into what is left of the capacity; CANCELLED; STALE_SHARD;
/// INVALID_STATE if another call on this request is running; OUT_OF_MEMORY (site RUN, or KV with the option no_cache);
/// ONNXRUNTIME; NULL_ARGUMENT.
/// Threads: one call at a time. Ownership: output->data belongs to the request and lives until the request's next run.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_infer(
    request: *mut ortshard_request,
    input: *const ortshard_tensor,
    logits: i32,
    output: *mut ortshard_tensor,
) -> ortshard_status {
    // SAFETY: the header's contract.
    guard(|| unsafe { infer(request, input, logits, None, output) })
}

/// The same, but copies the output into `buffer`, which has room for `capacity` bytes and any alignment.
///
/// On success output->data is `buffer`. `buffer` may be the memory that `input` describes.
///
/// Errors: those of ortshard_request_infer(); and BUFFER_TOO_SMALL before anything is run: `output` then describes
/// the tensor, with data NULL, and its byte_length is what the buffer needs.
/// Threads: one call at a time. Ownership: the buffer stays the caller's. @since 0.1
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
    guard(|| unsafe { infer(request, input, logits, Some((buffer, capacity)), output) })
}

/// The number of tokens that were run, which is the position of the next one. During a run, that before it.
///
/// Errors: NULL_ARGUMENT. Threads: many at once, also during a run. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_position(
    request: *const ortshard_request,
    position: *mut u64,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(position, "position") }?;
        // SAFETY: as above.
        out.set(unsafe { borrow(request, "request") }?.position.load(Ordering::Acquire));
        Ok(())
    })
}

/// The number of tokens there is room for.
///
/// Errors: NULL_ARGUMENT. Threads: many at once, also during a run. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_capacity(
    request: *const ortshard_request,
    capacity: *mut u64,
) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(capacity, "capacity") }?;
        // SAFETY: as above.
        out.set(unsafe { borrow(request, "request") }?.capacity);
        Ok(())
    })
}

/// Forgets every token from `position` on; 0 empties the request.
///
/// Errors: OUT_OF_RANGE if `position` is past the present one; INVALID_STATE if another call on this request is
/// running; NULL_ARGUMENT. Threads: one call at a time. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_truncate(request: *mut ortshard_request, position: u64) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
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
/// In a chain any of the requests cancels the call, and it clears all of them; in a batch a request cancels its own part.
/// Loading is cancelled by its progress callback, which leaves nothing behind.
///
/// Errors: ONNXRUNTIME; INVALID_ARGUMENT; NULL_ARGUMENT. Threads: any, also during a run. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_cancel(request: *const ortshard_request) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        unsafe { borrow(request, "request") }?.cancel.cancel()?;
        Ok(())
    })
}

/// Takes a cancellation back that no call has returned yet; there may be none.
///
/// A run in progress that was told to stop may still return CANCELLED. So where a button stops an answer, clear when the
/// next one begins, and a press after the last token of the one before does not stop it. Never waits.
///
/// Errors: ONNXRUNTIME; INVALID_ARGUMENT; NULL_ARGUMENT. Threads: any, also during a run. @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_request_clear_cancel(request: *const ortshard_request) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        unsafe { borrow(request, "request") }?.cancel.clear()?;
        Ok(())
    })
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
    let values = unsafe { input.values() }?.out_of(&running.output)?;

    let promised = running.prepare(values.tokens(), logits)?;
    if let Some((data, capacity)) = buffer {
        if data.is_null() && capacity != 0 {
            return Err(Failure::null("buffer"));
        }
        let needed = promised.byte_length;
        if capacity < needed {
            output.set(promised);
            let message = format!("the buffer has {capacity} bytes, {needed} are needed");
            return Err(Failure::new(ORTSHARD_ERROR_BUFFER_TOO_SMALL, message));
        }
    }

    running.request.infer(values.input()?, logits)?;
    let mut shown = running.show();
    if let (Some((buffer, _)), false) = (buffer, shown.data.is_null()) {
        // SAFETY: the buffer has that much room, as was checked; it is not the request's own memory.
        unsafe { std::ptr::copy(shown.data.cast::<u8>(), buffer.cast(), shown.byte_length) };
        shown.data = buffer;
    }
    output.set(shown);
    running.moved();
    Ok(())
}

pub(super) fn logits_of(code: i32) -> Result<Logits, Failure> {
    match code {
        ORTSHARD_LOGITS_LAST => Ok(Logits::Last),
        ORTSHARD_LOGITS_ALL => Ok(Logits::All),
        ORTSHARD_LOGITS_NONE => Ok(Logits::None),
        _ => Err(Failure::invalid(format!("logits is {code}, not an ORTSHARD_LOGITS_* constant"))),
    }
}
