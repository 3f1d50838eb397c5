//! ONNX Runtime
//!
//! One ONNX Runtime, with one pool of threads, serves the whole process. It is loaded by the first call that needs it
//! and stays until the process ends, and so does this library then: dlclose() does not unload it. Calling
//! ortshard_runtime_load() before is needed only to choose file or threads.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use crate::ffi::frame::failure::Failure;
use crate::ffi::frame::guard::guard;
use crate::ffi::frame::out::Out;
use crate::ffi::frame::status::{ORTSHARD_ERROR_INVALID_STATE, ortshard_status};
use crate::ffi::frame::strings::path;
use crate::ffi::frame::versioned::{initial, read, write};
use crate::{Runtime, RuntimeOptions};

/// How to load ONNX Runtime. All zero but struct_size: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_runtime_options {
    /// sizeof(ortshard_runtime_options).
    pub struct_size: usize,
    /// The library file, or a folder that holds it, as Python's and Node's packages do (onnxruntime/capi). NULL: the
    /// first of the environment's ORTSHARD_ONNXRUNTIME and ORT_DYLIB_PATH, a file beside this library or the program,
    /// and what the system's loader finds. Names with a version (libonnxruntime.so.1.31.1) count, too: the newest. What
    /// is named but cannot be used is an error; the search does not go on.
    pub library: *const c_char,
    /// Threads that one run may use, the calling one included. 0: the environment's ORTSHARD_THREADS, else as many as
    /// the process may use processors.
    pub threads: u32,
    /// Not 0: idle threads sleep at once instead of spinning for a short while. Saves processor time between runs and
    /// costs speed within them.
    pub no_spinning: i32,
}

initial!(ortshard_runtime_options, ortshard_runtime_options_init);

/// The ONNX Runtime that is loaded. The texts live as long as the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ortshard_runtime_info {
    /// Set to sizeof(ortshard_runtime_info) before the call.
    pub struct_size: usize,
    /// Its version, such as "1.31.1".
    pub version: *const c_char,
    /// The file it was loaded from.
    pub path: *const c_char,
    /// Threads that one run may use, the calling one included.
    pub threads: u32,
}

initial!(ortshard_runtime_info, ortshard_runtime_info_init);

/// Loads ONNX Runtime (1.22 or a later 1.x). NULL `options`: the defaults.
///
/// If the process has it already, the call succeeds unless another file or number of threads is asked for. After a
/// failure it can be tried again.
///
/// The first load sets the environment variable ORT_DISABLE_TELEMETRY, if it is not set, to keep ONNX Runtime from
/// sending usage data. A program that changes the environment in other threads should load before it starts them.
///
/// Errors: ONNXRUNTIME_NOT_FOUND, and the message lists what was tried; INVALID_STATE for another file or number of
/// threads; OUT_OF_RANGE for more than 1024 threads; ONNXRUNTIME if it does not start.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_runtime_load(options: *const ortshard_runtime_options) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let options = unsafe { read(options) }?;
        let library = if options.library.is_null() {
            None
        } else {
            // SAFETY: as above.
            Some(unsafe { path(options.library, "options->library") }?.to_owned())
        };
        let threads = options.threads as usize;
        Runtime::load(&RuntimeOptions { library, threads, no_spinning: options.no_spinning != 0 })?;
        Ok(())
    })
}

/// Describes the ONNX Runtime that is loaded.
///
/// Errors: INVALID_STATE if none is loaded yet. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ortshard_runtime_get_info(info: *mut ortshard_runtime_info) -> ortshard_status {
    guard(|| {
        // SAFETY: the header's contract.
        let out = unsafe { Out::new(info, "info") }?;
        let runtime = Runtime::loaded()
            .ok_or_else(|| Failure::new(ORTSHARD_ERROR_INVALID_STATE, "no ONNX Runtime is loaded yet"))?;
        let (version, path) = texts(runtime);
        let info = ortshard_runtime_info {
            struct_size: 0,
            version: version.as_ptr(),
            path: path.as_ptr(),
            threads: runtime.threads() as u32,
        };
        // SAFETY: as above.
        unsafe { write(&out, info) }
    })
}

/// The runtime's texts as C strings. There is one runtime in a process, so they are made once.
fn texts(runtime: &Runtime) -> &'static (CString, CString) {
    static TEXTS: OnceLock<(CString, CString)> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let text = |text: String| CString::new(text).unwrap_or_default();
        (text(runtime.version().to_owned()), text(runtime.path().display().to_string()))
    })
}
