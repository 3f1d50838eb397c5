//! Runs that are repeated: their tensors are made once, over memory that stays where it is.
#![allow(unsafe_code, reason = "tensors over memory that their owner keeps")]

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::error::{Error, Result, Site, err};
use crate::graph::names::copy;
use crate::runtime::device::memory::DeviceBlock;
use crate::runtime::run::cancel::Cancel;
use crate::runtime::run::session::Session;
use crate::runtime::run::tensor::{Kind, MemoryInfo, TensorMut};
use crate::runtime::run::values::Values;

/// Inputs and outputs of a run, with the tensors that they are.
#[derive(Debug)]
pub(super) struct Bound {
    values: Values<'static>,
    // Moved by nothing: the values point at what the tensors hold, not at these.
    tensors: Vec<TensorMut<'static>>,
}

// SAFETY: pointers to names and to tensors that the owner keeps, used only through exclusive references.
unsafe impl Send for Bound {}
// SAFETY: a shared reference gives no access.
unsafe impl Sync for Bound {}

impl Bound {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { values: Values::new(0, 0), tensors: Vec::new() }
    }

    /// The run reads `tensor`.
    ///
    /// # Safety
    /// Here and in the others: `name` and the memory of `tensor` stay for as long as this.
    pub(super) unsafe fn input(&mut self, name: &CStr, tensor: TensorMut) {
        // SAFETY: the caller's promise; the tensor is kept beside its pointer.
        unsafe {
            let tensor = tensor.detached();
            self.values.push_input(name, tensor.as_ptr());
            self.tensors.push(tensor);
        }
    }

    /// The run writes `tensor`.
    ///
    /// # Safety
    /// As for [`input`](Self::input).
    pub(super) unsafe fn output(&mut self, name: &CStr, tensor: TensorMut) {
        // SAFETY: as above.
        unsafe {
            let mut tensor = tensor.detached();
            self.values.push_output(name, tensor.as_mut_ptr());
            self.tensors.push(tensor);
        }
    }

    /// The run reads `tensor` as one of its inputs and writes it, in place, as one of its outputs.
    ///
    /// # Safety
    /// As for [`input`](Self::input).
    pub(super) unsafe fn updated(&mut self, input: &CStr, output: &CStr, tensor: TensorMut) {
        // SAFETY: as above.
        unsafe {
            let mut tensor = tensor.detached();
            self.values.push_input(input, tensor.as_ptr());
            self.values.push_output(output, tensor.as_mut_ptr());
            self.tensors.push(tensor);
        }
    }

    /// `shrink` gives back what the session's arena has free afterwards.
    pub(super) fn run(&mut self, session: &Session, cancel: &Cancel, shrink: bool) -> Result<()> {
        session.run(&mut self.values, cancel, shrink)
    }

    /// As [`run`](Self::run), to be captured as a graph.
    pub(super) fn capture(&mut self, session: &Session, cancel: &Cancel) -> Result<()> {
        session.capture(&mut self.values, cancel)
    }

    fn copy(&mut self, block: &DeviceBlock) -> Result<()> {
        block.memory().copy(&mut self.values)
    }
}

/// Memory of this process that stays where it is, reached through pointers only: tensors over it live as long.
#[derive(Debug)]
pub(super) struct HostBuffer {
    words: NonNull<u64>,
    count: usize,
}

// SAFETY: memory that it owns alone.
unsafe impl Send for HostBuffer {}
// SAFETY: shared references only read it.
unsafe impl Sync for HostBuffer {}

impl HostBuffer {
    /// `len` bytes, all zero, aligned for every element type.
    pub(super) fn new(len: usize) -> Result<Self> {
        let count = len.div_ceil(size_of::<u64>());
        let words: Box<[u64]> = bytemuck::allocation::try_zeroed_slice_box(count)
            .map_err(|()| Error::oom(Site::Run, "cpu", len as u64, "a copy of what goes to a device"))?;
        Ok(Self { words: NonNull::from(Box::leak(words)).cast(), count })
    }

    /// `count` values from byte `at` on, a multiple of their size.
    pub(super) fn values<T: bytemuck::Pod>(&self, at: usize, count: usize) -> &[T] {
        // SAFETY: its own memory; runs that write it have it exclusively, as the owner has.
        let words = unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) };
        &bytemuck::cast_slice(words)[at / size_of::<T>()..][..count]
    }

    /// The bound memory, to be written.
    pub(super) fn values_mut<T: bytemuck::Pod>(&mut self, at: usize, count: usize) -> &mut [T] {
        // SAFETY: as above, borrowed exclusively.
        let words = unsafe { std::slice::from_raw_parts_mut(self.words.as_ptr(), self.count) };
        &mut bytemuck::cast_slice_mut(words)[at / size_of::<T>()..][..count]
    }

    /// The elements from byte `at` on as a tensor of `shape`, to be read or written while nobody else uses them.
    pub(super) fn tensor(&self, at: usize, kind: Kind, shape: &[usize]) -> Result<TensorMut<'_>> {
        let len = shape.iter().product::<usize>() * kind.size;
        match at.checked_add(len) {
            // SAFETY: in bounds; the tensor borrows the buffer.
            Some(end) if end <= self.count * size_of::<u64>() => unsafe {
                TensorMut::at(MemoryInfo::of_cpu()?, kind, self.words.cast::<u8>().add(at), shape)
            },
            _ => Err(err!(Internal, "bytes {at}.. of a buffer of {} words", self.count)),
        }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        let words = std::ptr::slice_from_raw_parts_mut(self.words.as_ptr(), self.count);
        // SAFETY: leaked by `new`, with this length.
        drop(unsafe { Box::from_raw(words) });
    }
}

/// A copy between memory of this process and a place in a block.
#[derive(Debug)]
pub(super) struct Transfer {
    // Before the memory that it copies.
    copy: Bound,
    pub host: HostBuffer,
    pub block: Arc<DeviceBlock>,
}

impl Transfer {
    /// From this process to the first `len` bytes of `block`.
    pub(super) fn to_device(block: &Arc<DeviceBlock>, len: usize) -> Result<Self> {
        Self::new(block, len, |copy, host, place| {
            // SAFETY: the buffer and the block are kept beside the copy, names are static.
            unsafe {
                copy.input(copy::FROM.c(), host);
                copy.output(copy::TO.c(), place);
            }
        })
    }

    /// From the first `len` bytes of `block` to this process.
    pub(super) fn from_device(block: &Arc<DeviceBlock>, len: usize) -> Result<Self> {
        Self::new(block, len, |copy, host, place| {
            // SAFETY: as above.
            unsafe {
                copy.input(copy::FROM.c(), place);
                copy.output(copy::TO.c(), host);
            }
        })
    }

    fn new(block: &Arc<DeviceBlock>, len: usize, bind: impl FnOnce(&mut Bound, TensorMut, TensorMut)) -> Result<Self> {
        let (mut copy, host) = (Bound::new(), HostBuffer::new(len)?);
        bind(&mut copy, host.tensor(0, Kind::of::<u8>(), &[len])?, block.tensor(0, Kind::of::<u8>(), &[len])?);
        Ok(Self { copy, host, block: Arc::clone(block) })
    }

    pub(super) fn run(&mut self) -> Result<()> {
        self.copy.copy(&self.block)
    }
}
