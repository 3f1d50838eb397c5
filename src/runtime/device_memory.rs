//! Memory on a session's device.
//!
//! ONNX Runtime allocates on a device, and copies to and from it, through sessions only: a session's allocator must not be used
//! after it, and the copying that works on every provider is that of a run's inputs and outputs. But the sessions of shards come
//! and go while requests stay. So this memory has a session of its own, whose graph is one node that copies bytes.
#![allow(unsafe_code, reason = "device memory is allocated and wrapped through the C API")]

use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ort::sys;

use super::cancel::Cancel;
use super::provider::Provider;
use super::session::{Contents, Session};
use super::status::{check, check_on};
use super::tensor::{Element, MemoryInfo, Tensor, TensorMut};
use super::values::Values;
use crate::error::{Error, Result, Site, err};
use crate::graph::standard::copier;

const ALLOCATING: &str = "allocating a KV cache";

/// A device's memory, to be allocated and copied.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    // Before the session that it belongs to.
    allocator: Allocator,
    session: Session,
    info: MemoryInfo,
    /// Runs under it give back what the arena has free.
    shrinking: Cancel,
    device: String,
}

#[derive(Debug)]
struct Allocator(NonNull<sys::OrtAllocator>);

// SAFETY: ONNX Runtime's allocators may be used from any thread, several at once.
unsafe impl Send for Allocator {}
// SAFETY: as above.
unsafe impl Sync for Allocator {}

impl Drop for Allocator {
    fn drop(&mut self) {
        // SAFETY: made by `DeviceMemory::new`, released once.
        unsafe { (ort::api().ReleaseAllocator)(self.0.as_ptr()) }
    }
}

impl DeviceMemory {
    /// The memory that sessions on `provider` work in; on the processor at most `limit` bytes of it.
    pub(crate) fn new(provider: &Provider, limit: Option<u64>) -> Result<Arc<Self>> {
        let provider = provider.memory();
        let (session, _) = Session::standard(&copier(), &Contents::default(), &provider, limit)?;
        let (info, arena) = provider.memory_info()?;
        let mut allocator = null_mut();
        // SAFETY: a valid session, description and out-pointer.
        let status = unsafe { (ort::api().CreateAllocator)(session.as_ptr(), info.as_ptr(), &raw mut allocator) };
        check(status, Site::Load, "creating the device's allocator")?;
        let allocator = NonNull::new(allocator).ok_or_else(|| err!(Internal, "ONNX Runtime returned no allocator"))?;
        let (allocator, shrinking) = (Allocator(allocator), Cancel::shrinking(&arena)?);
        Ok(Arc::new(Self { allocator, session, info, shrinking, device: provider.device() }))
    }

    /// Copies bytes, wherever they lie.
    fn copy(&self, from: &Tensor, to: &mut TensorMut) -> Result<()> {
        let mut values = Values::new(1, 1);
        values.input(c"from", from);
        values.output(c"to", to);
        self.session.run(&mut values, &self.shrinking, false)
    }

    /// Gives back to the device what is free, by a run that copies a byte.
    fn give_back(&self) -> Result<()> {
        let (from, mut to) = ([0_u8], [0_u8]);
        let (from, mut to) = (Tensor::new(&from, &[1])?, TensorMut::new(&mut to, &[1])?);
        let mut values = Values::new(1, 1);
        values.input(c"from", &from);
        values.output(c"to", &mut to);
        self.session.run(&mut values, &self.shrinking, true)
    }
}

/// Bytes on a device. They begin as zeros.
#[derive(Debug)]
pub(super) struct DeviceBlock {
    memory: Arc<DeviceMemory>,
    data: NonNull<u8>,
    len: usize,
}

// SAFETY: memory that it owns alone.
unsafe impl Send for DeviceBlock {}
// SAFETY: shared references only read it.
unsafe impl Sync for DeviceBlock {}

impl DeviceBlock {
    /// `len` bytes, at least one.
    pub(super) fn new(memory: &Arc<DeviceMemory>, len: usize) -> Result<Self> {
        let mut data = null_mut();
        // SAFETY: a valid allocator and out-pointer.
        let status = unsafe { (ort::api().AllocatorAlloc)(memory.allocator.0.as_ptr(), len, &raw mut data) };
        check_on(&memory.device, status, Site::Kv, ALLOCATING)?;
        // Some allocators say that they have no memory by returning none.
        let full = || Error::oom(Site::Kv, &memory.device, len as u64, ALLOCATING);
        let data = NonNull::new(data.cast()).ok_or_else(full)?;
        let mut block = Self { memory: Arc::clone(memory), data, len };
        let zeros: Box<[u8]> = bytemuck::allocation::try_zeroed_slice_box(len)
            .map_err(|()| Error::oom(Site::Kv, "cpu", len as u64, "clearing a KV cache"))?;
        block.write(0, &zeros)?;
        Ok(block)
    }

    /// Copies bytes from `at` on into `to`.
    pub(super) fn read(&self, at: usize, to: &mut [u8]) -> Result<()> {
        let from = self.view(at, to.len())?;
        let shape = [to.len()];
        self.memory.copy(&from, &mut TensorMut::new(to, &shape)?)
    }

    /// Copies `from` to `at`.
    pub(super) fn write(&mut self, at: usize, from: &[u8]) -> Result<()> {
        let memory = Arc::clone(&self.memory);
        memory.copy(&Tensor::new(from, &[from.len()])?, &mut self.view_mut(at, &[from.len()])?)
    }

    /// Copies `len` bytes from byte `from` of `other` to `at`.
    pub(super) fn copy(&mut self, at: usize, other: &Self, from: usize, len: usize) -> Result<()> {
        let memory = Arc::clone(&self.memory);
        memory.copy(&other.view(from, len)?, &mut self.view_mut(at, &[len])?)
    }

    fn view(&self, at: usize, len: usize) -> Result<Tensor<'_>> {
        self.check(at, len)?;
        // SAFETY: in bounds as just checked; the tensor borrows the block.
        unsafe { Tensor::at(&self.memory.info, self.data.add(at).cast::<u8>(), &[len]) }
    }

    /// A tensor of `shape` that begins at byte `at`.
    fn view_mut(&mut self, at: usize, shape: &[usize]) -> Result<TensorMut<'_>> {
        self.check(at, shape.iter().product())?;
        // SAFETY: in bounds as just checked; the tensor borrows the block exclusively.
        unsafe { TensorMut::at(&self.memory.info, self.data.add(at).cast::<u8>(), shape) }
    }

    /// The block cut into tensors of `shape`, to be dropped before it.
    pub(super) fn tensors<T: Element>(&mut self, shape: &[usize]) -> Result<Vec<TensorMut<'static>>> {
        let bytes = shape.iter().product::<usize>() * size_of::<T>();
        let tensor = |index: usize| {
            // SAFETY: whole tensors inside the block, none over another; the caller keeps the block as long.
            unsafe { TensorMut::at(&self.memory.info, self.data.add(index * bytes).cast::<T>(), shape) }
        };
        (0..self.len / bytes).map(tensor).collect()
    }

    fn check(&self, at: usize, len: usize) -> Result<()> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(err!(Internal, "bytes {at}.. of a block of {} on {}", self.len, self.memory.device)),
        }
    }
}

impl Drop for DeviceBlock {
    fn drop(&mut self) {
        // SAFETY: allocated by this allocator, freed once.
        let status = unsafe { (ort::api().AllocatorFree)(self.memory.allocator.0.as_ptr(), self.data.as_ptr().cast()) };
        let freed = check(status, Site::Kv, "freeing a KV cache").and_then(|()| self.memory.give_back());
        if let Err(error) = freed {
            log::warn!("memory on {} was not given back: {}", self.memory.device, error.chain());
        }
    }
}
