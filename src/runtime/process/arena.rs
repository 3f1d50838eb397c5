//! The arena of a session: the memory that its runs allocate from, with a limit if wanted.
//!
//! ONNX Runtime gives a session the allocator that is registered with the environment when the session is created. So
//! each session gets an arena of its own: register a fresh one, create the session, unregister it. The session keeps
//! its arena alive.
#![allow(unsafe_code, reason = "allocators are registered through the C API")]

use std::ptr::{NonNull, null, null_mut};

use ort::{AsPointer, sys};
use parking_lot::Mutex;

use crate::error::{Result, Site, err};
use crate::runtime::Runtime;
use crate::runtime::process::status::check;

const DOING: &str = "creating the session's arena";

/// Held while an arena is registered. There is one environment, so one session is created at a time.
static REGISTERED: Mutex<()> = Mutex::new(());

/// Runs `create` while a fresh arena of at most `limit` bytes is registered.
///
/// The arena grows by the bytes asked for instead of doubling: only then does shrinking give everything back.
pub(in crate::runtime) fn with_arena<T>(
    runtime: &Runtime,
    limit: Option<u64>,
    create: impl FnOnce() -> Result<T>,
) -> Result<T> {
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
        // `Drop` unregisters and releases it on every path from here on. Unregistering an arena that is not
        // registered is an error that does not matter.
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

/// Makes the C allocator return freed memory to the system, where it offers that.
pub(crate) fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: a thread-safe library call without arguments that matter.
    unsafe {
        libc::malloc_trim(0);
    }
}
