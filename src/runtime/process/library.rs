//! Finds, checks and loads libonnxruntime.
#![allow(unsafe_code, reason = "a shared library is loaded and its entry point called")]

use std::ffi::CStr;
use std::path::{Path, PathBuf};

use ort::sys;

use crate::error::{Result, bail, err};
use crate::runtime::process::exit;

/// The version of the C API that this library is built against: the oldest that it runs on, ONNX Runtime 1.22.
const API: u32 = sys::ORT_API_VERSION;

#[cfg(target_os = "macos")]
const NAMES: &[&str] = &["libonnxruntime.dylib", "libonnxruntime.1.dylib"];
#[cfg(target_os = "windows")]
const NAMES: &[&str] = &["onnxruntime.dll"];
#[cfg(not(any(target_os = "macos", target_os = "windows")))]
const NAMES: &[&str] = &["libonnxruntime.so", "libonnxruntime.so.1"];

/// A loaded and checked library. It stays loaded until the process ends.
pub(in crate::runtime) struct Library {
    pub base: &'static sys::OrtApiBase,
    pub version: String,
    pub minor: u32,
    pub path: PathBuf,
}

/// Loads the first candidate that can be used, and gives its API to the crate `ort`.
pub(in crate::runtime) fn load(explicit: Option<&Path>) -> Result<Library> {
    silence_telemetry();
    if let Some(path) = explicit {
        return open(path).map_err(|why| err!(RuntimeNotFound, "ONNX Runtime: {why}"));
    }
    for variable in ["ORTSHARD_ONNXRUNTIME", "ORT_DYLIB_PATH"] {
        if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
            return open(Path::new(&path)).map_err(|why| err!(RuntimeNotFound, "ONNX Runtime: {variable}: {why}"));
        }
    }
    let beside = own_folder();
    let candidates = NAMES
        .iter()
        .filter_map(|name| beside.as_ref().map(|folder| folder.join(name)))
        .chain(NAMES.iter().map(PathBuf::from));
    let mut tried = Vec::new();
    for path in candidates {
        match open(&path) {
            Ok(library) => return Ok(library),
            Err(why) => tried.push(why),
        }
    }
    bail!(
        RuntimeNotFound,
        "no usable ONNX Runtime (1.{API} or newer) was found; pass a path, or set ORTSHARD_ONNXRUNTIME to the library \
         file. Tried: {}",
        tried.join("; ")
    )
}

/// The official Linux builds from 1.30 on send usage data and write files at start-up unless this is set *before* the
/// library is loaded; turning telemetry off by the API would come too late.
fn silence_telemetry() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: changing the environment races with threads that read it without Rust's lock. It happens once, at
        // the first load, and only if the host has not set the variable itself; the header says so.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}

/// Loads `path` and checks that it is an ONNX Runtime of a supported version. The error is a clause for the caller's
/// message.
fn open(path: &Path) -> std::result::Result<Library, String> {
    let shown = path.display();
    // Opening a pipe would wait. A bare name is no file here: the system's loader looks for it.
    let is_bare = path.parent().is_some_and(|folder| folder.as_os_str().is_empty());
    if !is_bare && path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("`{shown}` is no regular file"));
    }
    // SAFETY: loading runs the library's initialisers. The user chose the file, or the documented search did.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        format!("`{shown}` cannot be loaded ({reason})")
    })?;
    // The library's static objects exist now, and will be destroyed after the handler that is registered here has
    // run.
    exit::register();
    // SAFETY: the symbol has this signature in every ONNX Runtime release.
    let entry = unsafe { library.get::<unsafe extern "C" fn() -> *const sys::OrtApiBase>(b"OrtGetApiBase\0") }
        .map_err(|_| format!("`{shown}` is not ONNX Runtime (it has no OrtGetApiBase)"))?;
    // SAFETY: as above; the returned table is static.
    let base = unsafe { entry().as_ref() }.ok_or_else(|| format!("`{shown}` returned no API"))?;
    // SAFETY: returns a static NUL-terminated string.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    let minor = match *numbers(&version) {
        [1, minor, ..] if minor >= API => minor,
        _ => return Err(format!("`{shown}` is ONNX Runtime {version}; 1.{API} or a later 1.x is needed")),
    };
    // SAFETY: returns a static table of at least version API, or NULL where it has none.
    let Some(api) = (unsafe { (base.GetApi)(API).as_ref() }) else {
        return Err(format!("`{shown}` (ONNX Runtime {version}) does not offer API {API}"));
    };
    let path = loaded_path(*entry as *const ()).unwrap_or_else(|| path.to_owned());
    ort::set_api(api.clone());
    // The library's threads may run at any time, so unloading it is never safe.
    std::mem::forget(library);
    stay();
    Ok(Library { base, version, minor, path })
}

/// Keeps this library in memory, too: ONNX Runtime's threads, and the handler at the end of the process, run its
/// code.
fn stay() {
    #[cfg(unix)]
    if let Some(file) = loaded_file(stay as *const ()) {
        // SAFETY: a NUL-terminated name. What is loaded already is not loaded again, and a program is no library that
        // could go.
        unsafe { libc::dlopen(file.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// The folder of the shared library or program that contains this code.
fn own_folder() -> Option<PathBuf> {
    let file = loaded_path(own_folder as *const ())?;
    file.parent().map(Path::to_owned)
}

/// The file that the code at `address` was loaded from.
#[cfg(unix)]
fn loaded_path(address: *const ()) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    std::fs::canonicalize(std::ffi::OsStr::from_bytes(loaded_file(address)?.to_bytes())).ok()
}

/// The file that the code at `address` was loaded from, as the loader names it.
#[cfg(unix)]
fn loaded_file(address: *const ()) -> Option<&'static CStr> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: `info` is written if the call succeeds; any address may be asked about.
    let info = unsafe {
        if libc::dladdr(address.cast(), info.as_mut_ptr()) == 0 {
            return None;
        }
        info.assume_init()
    };
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: a NUL-terminated string owned by the loader, which outlives the loaded code.
    Some(unsafe { CStr::from_ptr(info.dli_fname) })
}

#[cfg(not(unix))]
fn loaded_path(_address: *const ()) -> Option<PathBuf> {
    std::env::current_exe().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(numbers("1.31.1"), [1, 31, 1]);
        assert_eq!(numbers("1.22.0-dev"), [1, 22]);
        assert!(numbers("no version").is_empty());
    }

    #[test]
    fn unusable_files_are_named_with_the_reason() {
        let missing = open(Path::new("/nonexistent/libonnxruntime.so")).map(|l| l.path).unwrap_err();
        assert!(missing.contains("/nonexistent/libonnxruntime.so"), "{missing}");
        let text = open(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").as_path()).map(|l| l.path);
        assert!(text.unwrap_err().contains("cannot be loaded"));
        let folder = open(Path::new(env!("CARGO_MANIFEST_DIR"))).map(|l| l.path).unwrap_err();
        assert!(folder.contains("no regular file"), "{folder}");
    }
}
