//! What a handle on a request stands for.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::narrow_into;
use crate::error::{Error, Site};
use crate::ffi::basics::objects::ortshard_request;
use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::handle::{self, Exclusive, Handle, Kind, borrow, give};
use crate::ffi::run::frame::{dtype_code, ortshard_piece};
use crate::ffi::run::request_options::{HowGiven, ORTSHARD_OUTPUT_FRAME, ORTSHARD_OUTPUT_TENSOR};
use crate::ffi::run::tensor::{NOTHING, ortshard_tensor};
use crate::{CancelHandle, FramePieces, Logits, PartType, Request, Role};

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
    how: HowGiven,
    /// The last hidden states, if they were rounded.
    rounded: Vec<u16>,
    /// The last frame.
    bytes: Vec<u8>,
    /// The last frame in pieces, if they were asked for.
    pieces: Option<FramePieces>,
    /// Addresses of what was lent last, to notice when it comes back as an input.
    pub(in crate::ffi) lent: Vec<Range<usize>>,
}

impl Running {
    pub(in crate::ffi) fn new(request: Request, how: HowGiven) -> Self {
        Self { request, how, rounded: Vec::new(), bytes: Vec::new(), pieces: None, lent: Vec::new() }
    }

    /// What the output of `tokens` tokens will be, without data. Its memory is there afterwards; what was lent before is gone.
    pub(in crate::ffi) fn prepare(&mut self, tokens: usize, logits: Logits) -> Result<ortshard_tensor, Failure> {
        self.forget();
        let (rows, width) = self.request.output_shape(tokens, logits);
        if let Some(size) = self.request.frame_size(tokens, self.how.frame).filter(|_| self.gives_frames()) {
            if self.how.output == ORTSHARD_OUTPUT_FRAME {
                let refused = |_| Error::oom(Site::Run, "cpu", size as u64, "a frame");
                self.bytes.clear();
                self.bytes.try_reserve_exact(size).map_err(refused)?;
            }
            return Ok(ortshard_tensor::frame(size, None));
        }
        self.request.must_give_one_part()?;
        if self.dtype() != PartType::F32 {
            let count = rows * width;
            let refused = |_| Error::oom(Site::Run, "cpu", 2 * count as u64, "rounded hidden states");
            self.rounded.try_reserve_exact(count.saturating_sub(self.rounded.len())).map_err(refused)?;
        }
        Ok(ortshard_tensor::rows(dtype_code(self.dtype()), rows, width, None))
    }

    /// Forgets what was lent last. Nobody reads it any more.
    pub(in crate::ffi) fn forget(&mut self) {
        self.pieces = None;
        self.lent.clear();
    }

    /// Whether the request gives frames.
    fn gives_frames(&self) -> bool {
        self.how.output != ORTSHARD_OUTPUT_TENSOR && !self.request.shard().info().is_last
    }

    fn dtype(&self) -> PartType {
        if self.request.shard().info().is_last { PartType::F32 } else { self.how.frame.hidden_states }
    }

    /// What the run that began at position `before` has given, borrowed from the request; for a frame that is to be written elsewhere,
    /// what `write` makes of it. If it cannot be given, the run is undone.
    pub(in crate::ffi) fn show(
        &mut self,
        before: usize,
        write: Option<&dyn Fn(&FramePieces) -> *const c_void>,
    ) -> Result<ortshard_tensor, Failure> {
        let shown = if self.gives_frames() { self.show_frame(write) } else { self.show_rows() };
        if shown.is_err() {
            self.request.take_back(before)?;
        }
        shown
    }

    fn show_frame(
        &mut self,
        write: Option<&dyn Fn(&FramePieces) -> *const c_void>,
    ) -> Result<ortshard_tensor, Failure> {
        let frame = self.request.frame(self.how.frame)?;
        let size = frame.size();
        let data = match write {
            Some(write) => Some(write(&frame)),
            None if self.how.output == ORTSHARD_OUTPUT_FRAME => {
                self.bytes.clear();
                frame.pieces().for_each(|piece| self.bytes.extend_from_slice(piece));
                Some(self.bytes.as_ptr().cast())
            }
            None => {
                self.lend(frame);
                None
            }
        };
        if write.is_none()
            && let Some(data) = data
        {
            self.lent.push(data.addr()..data.addr() + size);
        }
        Ok(ortshard_tensor::frame(size, data))
    }

    fn show_rows(&mut self) -> Result<ortshard_tensor, Failure> {
        let dtype = self.dtype();
        let Some(output) = self.request.output() else { return Ok(NOTHING) };
        let values = output.values();
        let (rows, width) = values.dim();
        let values = values.to_slice().unwrap_or_default();
        let data: *const c_void = if dtype == PartType::F32 {
            values.as_ptr().cast()
        } else {
            let what = Role::HiddenStates.name();
            narrow_into(values, width, dtype, self.how.frame.beyond, what, &mut self.rounded)?;
            self.rounded.as_ptr().cast()
        };
        let shown = ortshard_tensor::rows(dtype_code(dtype), rows, width, (!values.is_empty()).then_some(data));
        self.lent.push(data.addr()..data.addr() + shown.byte_length);
        Ok(shown)
    }

    /// The frame of what the request gave last, in pieces that stay until they are asked for again or it runs.
    pub(in crate::ffi) fn pieces(&mut self) -> Result<Vec<ortshard_piece>, Failure> {
        if self.pieces.is_none() {
            let frame = self.request.frame(self.how.frame)?;
            self.lend(frame);
        }
        let pieces = self.pieces.iter().flat_map(FramePieces::pieces);
        Ok(pieces.map(|piece| ortshard_piece { data: piece.as_ptr().cast(), size: piece.len() }).collect())
    }

    fn lend(&mut self, frame: FramePieces) {
        self.lent.extend(frame.pieces().map(|piece| piece.as_ptr().addr()..piece.as_ptr().addr() + piece.len()));
        self.pieces = Some(frame);
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
    handle_on(Running::new(fork, running.how))
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
