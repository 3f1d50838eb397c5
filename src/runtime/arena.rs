//! The memory a session's runs allocate: an arena of its own, with an optional limit.
//!
//! ONNX Runtime hands a session the allocator that is registered with the environment at that moment. So each session
//! gets a fresh arena: register, create the session, unregister. The session keeps its arena alive.
#![allow(unsafe_code, reason = "allocators are registered through the C API")]

use std::ptr::{NonNull, null, null_mut};

use ort::{AsPointer, sys};
use parking_lot::Mutex;

use super::Runtime;
use super::status::check;
use crate::error::{Result, Site, err};

const DOING: &str = "creating the session's arena";

/// Registration is a property of the one environment, so one session is created at a time.
static REGISTERED: Mutex<()> = Mutex::new(());

/// Runs `create` while a fresh arena of at most `limit` bytes is registered.
///
/// The arena grows by what is asked for, not by doubling: only then does shrinking it give everything back.
pub(super) fn with_arena<T>(runtime: &Runtime, limit: Option<u64>, create: impl FnOnce() -> Result<T>) -> Result<T> {
    let _one = REGISTERED.lock();
    let registration = Registration::new(runtime, limit)?;
    let created = create();
    drop(registration);
    created
}

struct Registration<'a> {
    runtime: &'a Runtime,
    memory: NonNull<sys::OrtMemoryInfo>,
}

impl<'a> Registration<'a> {
    fn new(runtime: &'a Runtime, limit: Option<u64>) -> Result<Self> {
        let api = ort::api();
        let mut memory = null_mut();
        let (arena, default) = (sys::OrtAllocatorType::OrtArenaAllocator, sys::OrtMemType::OrtMemTypeDefault);
        // SAFETY: the out-pointer is valid.
        check(unsafe { (api.CreateCpuMemoryInfo)(arena, default, &raw mut memory) }, Site::Load, DOING)?;
        let memory = NonNull::new(memory).ok_or_else(|| err!(Internal, "ONNX Runtime returned no memory info"))?;
        // Unregisters and releases on every path from here; unregistering what is not registered is an error that
        // nobody needs to hear.
        let registration = Self { runtime, memory };

        let keys = [c"max_mem".as_ptr(), c"arena_extend_strategy".as_ptr()];
        let values = [limit.map_or(0, |bytes| bytes as usize), 1];
        let mut config = null_mut();
        // SAFETY: two keys with two values; the out-pointer is valid.
        let status = unsafe { (api.CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), keys.len(), &raw mut config) };
        check(status, Site::Load, DOING)?;
        // SAFETY: all pointers are valid; the configuration is copied and released.
        let status = unsafe {
            let status = (api.CreateAndRegisterAllocatorV2)(
                runtime.environment.ptr().cast_mut(),
                c"CPUExecutionProvider".as_ptr(),
                memory.as_ptr(),
                config,
                null(),
                null(),
                0,
            );
            (api.ReleaseArenaCfg)(config);
            status
        };
        check(status, Site::Load, DOING)?;
        Ok(registration)
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let api = ort::api();
        // SAFETY: the environment and the description are valid; the description is released once.
        unsafe {
            let status = (api.UnregisterAllocator)(self.runtime.environment.ptr().cast_mut(), self.memory.as_ptr());
            drop(ort::Error::result_from_status(status));
            (api.ReleaseMemoryInfo)(self.memory.as_ptr());
        }
    }
}

/// Returns memory that was freed but kept by the C allocator to the system, where it can be told to.
pub(crate) fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a thread-safe library call without arguments that matter.
    unsafe {
        libc::malloc_trim(0);
    }
}
