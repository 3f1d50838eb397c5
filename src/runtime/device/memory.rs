//! Memory on a session's device.
//!
//! ONNX Runtime allocates on a device, and copies to and from it, only by sessions: an allocator must not be used
//! after its session, and the one way to copy that works on every provider is a run's inputs and outputs. The
//! sessions of shards come and go while requests stay. So this memory has a session of its own, with a graph of one
//! node that copies bytes.
#![allow(unsafe_code, reason = "device memory is allocated and wrapped through the C API")]

use std::ffi::{CStr, CString};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use once_cell::sync::OnceCell;
use ort::sys;
use parking_lot::RwLockReadGuard;

use crate::error::{Error, Result, Site, err};
use crate::graph::names::copy;
use crate::graph::stock::{chooser, copier};
use crate::runtime::Runtime;
use crate::runtime::device::provider::Provider;
use crate::runtime::process::exit;
use crate::runtime::process::status::{check, check_on};
use crate::runtime::run::cancel::Cancel;
use crate::runtime::run::session::{Contents, Session};
use crate::runtime::run::tensor::{Kind, MemoryInfo, Tensor, TensorMut};
use crate::runtime::run::values::Values;

/// Allocates and copies a device's memory.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    // Dropped before the session that it belongs to.
    allocator: Allocator,
    session: Session,
    /// The session that finds the largest logits, made on first use.
    chooser: OnceCell<Session>,
    provider: Provider,
    info: MemoryInfo,
    arena: CString,
    /// The flag of runs that give back the free memory of the arena.
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
        exit::release(|| {
            // SAFETY: made by `DeviceMemory::new`, released once.
            unsafe { (ort::api().ReleaseAllocator)(self.0.as_ptr()) }
        });
    }
}

impl DeviceMemory {
    /// The memory that sessions on `provider` work in. On the processor, at most `limit` bytes are allocated.
    pub(crate) fn new(provider: &Provider, limit: Option<u64>) -> Result<Arc<Self>> {
        let provider = provider.memory();
        let (session, _) = Session::stock(&copier(), &Contents::default(), &provider, limit)?;
        let (info, arena) = provider.memory_info()?;
        let mut allocator = null_mut();
        // SAFETY: a valid session, description and out-pointer.
        let status = unsafe { (ort::api().CreateAllocator)(session.as_ptr(), info.as_ptr(), &raw mut allocator) };
        check(status, Site::Load, "creating the device's allocator")?;
        let allocator = NonNull::new(allocator).ok_or_else(|| err!(Internal, "ONNX Runtime returned no allocator"))?;
        let (allocator, shrinking) = (Allocator(allocator), Cancel::on(&arena)?);
        let (chooser, device) = (OnceCell::new(), provider.device());
        Ok(Arc::new(Self { allocator, session, chooser, provider, info, arena, shrinking, device }))
    }

    /// Held while memory on CUDA is allocated or freed.
    fn beside_captures(&self) -> Result<Option<RwLockReadGuard<'static, ()>>> {
        if self.provider.is_cuda() { Ok(Some(Runtime::get()?.beside_captures())) } else { Ok(None) }
    }

    /// The device's name in messages.
    pub(in crate::runtime) fn device(&self) -> &str {
        &self.device
    }

    /// Runs the search for the largest logits.
    pub(in crate::runtime) fn choose(&self, run: impl FnOnce(&Session, &Cancel) -> Result<()>) -> Result<()> {
        let make = || Session::stock(&chooser(), &Contents::default(), &self.provider, None).map(|made| made.0);
        run(self.chooser.get_or_try_init(make)?, &self.shrinking)
    }

    /// ONNX Runtime's name for the arena of sessions on the device.
    pub(in crate::runtime) fn arena(&self) -> &CStr {
        &self.arena
    }

    /// Runs the copies of `values`.
    pub(in crate::runtime) fn copy(&self, values: &mut Values) -> Result<()> {
        self.session.run(values, &self.shrinking, false)
    }

    /// Gives the arena's free memory back to the device, by a run that copies one byte.
    pub(in crate::runtime) fn give_back(&self) -> Result<()> {
        let (from, mut to) = ([0_u8], [0_u8]);
        let (from, mut to) = (Tensor::new(&from, &[1])?, TensorMut::new(&mut to, &[1])?);
        let mut values = Values::new(1, 1);
        values.input(copy::FROM.c(), &from);
        values.output(copy::TO.c(), &mut to);
        self.session.run(&mut values, &self.shrinking, true)
    }
}

/// Bytes on a device, with any content at first.
///
/// No Rust reference points at the bytes, so they may be written through a shared reference to the block. The owner
/// of a part of a block makes sure that two threads do not use it at once.
#[derive(Debug)]
pub(in crate::runtime) struct DeviceBlock {
    memory: Arc<DeviceMemory>,
    data: NonNull<u8>,
    len: usize,
    what: &'static str,
}

// SAFETY: memory that is reached through ONNX Runtime only, from any thread.
unsafe impl Send for DeviceBlock {}
// SAFETY: as above; see the type for who may write.
unsafe impl Sync for DeviceBlock {}

impl DeviceBlock {
    /// Allocates `len` bytes, at least one. `what` names their use in an error.
    pub(in crate::runtime) fn new(
        memory: &Arc<DeviceMemory>,
        len: usize,
        site: Site,
        what: &'static str,
    ) -> Result<Self> {
        let _inside = exit::enter()?;
        let _beside = memory.beside_captures()?;
        let mut data = null_mut();
        // SAFETY: a valid allocator and out-pointer.
        let status = unsafe { (ort::api().AllocatorAlloc)(memory.allocator.0.as_ptr(), len, &raw mut data) };
        check_on(&memory.device, status, site, what)?;
        // Some allocators return NULL instead of an error if they have no memory.
        let full = || Error::oom(site, &memory.device, len as u64, what);
        let data = NonNull::new(data.cast()).ok_or_else(full)?;
        Ok(Self { memory: Arc::clone(memory), data, len, what })
    }

    /// The memory that the block is part of.
    pub(in crate::runtime) fn memory(&self) -> &Arc<DeviceMemory> {
        &self.memory
    }

    /// Copies the bytes from `at` on to `to`.
    pub(in crate::runtime) fn read(&self, at: usize, to: &mut [u8]) -> Result<()> {
        let _inside = exit::enter()?;
        let shape = [to.len()];
        self.copying(&self.bytes(at, to.len())?, &mut TensorMut::new(to, &shape)?)
    }

    /// Copies `from` to `at`.
    pub(in crate::runtime) fn write(&self, at: usize, from: &[u8]) -> Result<()> {
        let _inside = exit::enter()?;
        let mut values = Values::new(1, 1);
        let (from, mut to) = (Tensor::new(from, &[from.len()])?, self.bytes(at, from.len())?);
        values.input(copy::FROM.c(), &from);
        values.output(copy::TO.c(), &mut to);
        self.memory.copy(&mut values)
    }

    /// Writes `len` zeros from `at` on.
    pub(in crate::runtime) fn clear(&self, at: usize, len: usize) -> Result<()> {
        let piece = len.min(1 << 20);
        let zeros: Box<[u8]> = bytemuck::allocation::try_zeroed_slice_box(piece)
            .map_err(|()| Error::oom(Site::Run, "cpu", piece as u64, "clearing memory"))?;
        (0..len).step_by(piece.max(1)).try_for_each(|done| self.write(at + done, &zeros[..piece.min(len - done)]))
    }

    /// Copies `len` bytes from byte `from` of `other` to `at`.
    pub(in crate::runtime) fn copy(&self, at: usize, other: &Self, from: usize, len: usize) -> Result<()> {
        let _inside = exit::enter()?;
        self.copying(&other.bytes(from, len)?, &mut self.bytes(at, len)?)
    }

    fn copying(&self, from: &TensorMut, to: &mut TensorMut) -> Result<()> {
        let mut values = Values::new(1, 1);
        values.written(copy::FROM.c(), from);
        values.output(copy::TO.c(), to);
        self.memory.copy(&mut values)
    }

    fn bytes(&self, at: usize, len: usize) -> Result<TensorMut<'_>> {
        self.tensor(at, Kind::of::<u8>(), &[len])
    }

    /// The bytes from `at` on as a tensor of `shape`.
    pub(in crate::runtime) fn tensor(&self, at: usize, kind: Kind, shape: &[usize]) -> Result<TensorMut<'_>> {
        let len = shape.iter().product::<usize>() * kind.size;
        match at.checked_add(len) {
            // SAFETY: in bounds; the tensor borrows the block, whose user sees to the rest.
            Some(end) if end <= self.len => unsafe { TensorMut::at(&self.memory.info, kind, self.data.add(at), shape) },
            _ => Err(err!(Internal, "bytes {at}.. of a block of {} on {}", self.len, self.memory.device)),
        }
    }
}

impl Drop for DeviceBlock {
    fn drop(&mut self) {
        let Ok(_inside) = exit::enter() else { return };
        let _beside = self.memory.beside_captures();
        // SAFETY: allocated by this allocator, freed once.
        let status = unsafe { (ort::api().AllocatorFree)(self.memory.allocator.0.as_ptr(), self.data.as_ptr().cast()) };
        let freed = check(status, Site::Kv, "freeing memory").and_then(|()| self.memory.give_back());
        if let Err(error) = freed {
            log::warn!("{} on {} was not given back: {}", self.what, self.memory.device, error.chain());
        }
    }
}
