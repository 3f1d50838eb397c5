//! What a handle on a request stands for.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use half::bf16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::error::{Error, Site};
use crate::ffi::basics::constants::{ORTSHARD_DTYPE_F16, ORTSHARD_DTYPE_F32};
use crate::ffi::basics::objects::ortshard_request;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::handle::{self, Exclusive, Handle, Kind, borrow, give};
use crate::ffi::run::tensor::{NOTHING, ortshard_tensor};
use crate::{CancelHandle, Logits, Request};

impl Handle for ortshard_request {
    type Object = RequestObject;
    const KIND: Kind = Kind::Request;
}

/// What may be asked or cancelled while a run is going on lies outside the lock.
pub(in crate::ffi) struct RequestObject {
    pub(in crate::ffi) running: Exclusive<Running>,
    pub(in crate::ffi) cancel: CancelHandle,
    pub(in crate::ffi) position: Arc<AtomicU64>,
    pub(in crate::ffi) capacity: u64,
}

pub(in crate::ffi) struct Running {
    pub(in crate::ffi) request: Request,
    /// What hidden states are given as: an `ORTSHARD_DTYPE_F32`, `_F16` or `_BF16`.
    hidden: i32,
    /// The last ones, if that is not `ORTSHARD_DTYPE_F32`.
    rounded: Vec<u16>,
    /// Addresses of the last output, to notice when it comes back as an input.
    pub(in crate::ffi) output: Range<usize>,
}

impl Running {
    pub(in crate::ffi) fn new(request: Request, hidden: i32) -> Self {
        Self { request, hidden, rounded: Vec::new(), output: 0..0 }
    }

    /// What the output of `tokens` tokens will be, without data. Its memory is there afterwards.
    pub(in crate::ffi) fn prepare(&mut self, tokens: usize, logits: Logits) -> Result<ortshard_tensor, Failure> {
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
    pub(in crate::ffi) fn show(&mut self) -> ortshard_tensor {
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

/// A handle on a request.
pub(in crate::ffi) fn handle_on(running: Running) -> *mut ortshard_request {
    let request = &running.request;
    give(RequestObject {
        cancel: request.cancel_handle(),
        position: Arc::new(AtomicU64::new(request.position() as u64)),
        capacity: request.capacity() as u64,
        running: Exclusive::new(running),
    })
}

/// A handle on `fork`, which gives what `running` does.
pub(in crate::ffi) fn give_fork(running: &Running, fork: Request) -> *mut ortshard_request {
    handle_on(Running::new(fork, running.hidden))
}

/// A request that a call has to itself.
pub(in crate::ffi) type Entered = handle::Entry<ortshard_request, Running>;

/// # Safety
/// As for [`borrow`].
pub(in crate::ffi) unsafe fn enter(request: *const ortshard_request, parameter: &str) -> Result<Entered, Failure> {
    // SAFETY: the caller's promise.
    unsafe { borrow(request, parameter) }?.enter(|object| &object.running, parameter)
}

impl Entered {
    /// Shows the position that a call has left the request at.
    pub(in crate::ffi) fn moved(&self) {
        self.object().position.store(self.request.position() as u64, Ordering::Release);
    }
}
