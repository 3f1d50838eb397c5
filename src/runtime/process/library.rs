//! Finds, checks and loads libonnxruntime.
#![allow(unsafe_code, reason = "a shared library is loaded and its entry point called")]

use std::cmp::Reverse;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

use ort::sys;

use crate::error::{Result, bail, err};
use crate::runtime::process::exit;

/// The version of the C API that this library is built against: the oldest that it runs on, ONNX Runtime 1.22.
const API: u32 = sys::ORT_API_VERSION;

/// The library's file name, in front of and behind its version: `libonnxruntime.so`, and `.so.1.31.1` in packages of
/// Python, Node and distributions.
#[cfg(target_os = "macos")]
const NAME: (&str, &str) = ("libonnxruntime", ".dylib");
#[cfg(target_os = "windows")]
const NAME: (&str, &str) = ("onnxruntime", ".dll");
#[cfg(not(any(target_os = "macos", target_os = "windows")))]
const NAME: (&str, &str) = ("libonnxruntime.so", "");

/// The system's loader cannot list what it has, so the names of these versions are tried there, too.
const LATEST: u32 = 63;

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
        return open_named(path).map_err(|why| err!(RuntimeNotFound, "ONNX Runtime: {why}"));
    }
    for variable in ["ORTSHARD_ONNXRUNTIME", "ORT_DYLIB_PATH"] {
        if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
            return open_named(Path::new(&path))
                .map_err(|why| err!(RuntimeNotFound, "ONNX Runtime: {variable}: {why}"));
        }
    }
    let beside = own_folder().map_or_else(Vec::new, |folder| {
        let found = inside(&folder);
        if found.is_empty() { vec![folder.join(named(""))] } else { found }
    });
    let mut tried = match open_first(beside.into_iter().chain(["", ".1"].map(|version| named(version).into()))) {
        Ok(library) => return Ok(library),
        Err(why) => why,
    };
    // The newest first. Most of these names are no file, which the error need not tell of each.
    for name in (API..=LATEST).rev().map(|minor| PathBuf::from(named(&format!(".1.{minor}")))) {
        if let Ok(library) = load_file(&name) {
            match accept(library, &name) {
                Ok(library) => return Ok(library),
                Err(why) => tried = format!("{tried}; {why}"),
            }
        }
    }
    bail!(
        RuntimeNotFound,
        "no usable ONNX Runtime (1.{API} or newer) was found; pass a path, or set ORTSHARD_ONNXRUNTIME to the library \
         file or its folder. Tried: {tried}; `{}` and later",
        named(&format!(".1.{API}"))
    )
}

/// Loads the library `path` or, where that is a folder, the first that can be used in it.
fn open_named(path: &Path) -> std::result::Result<Library, String> {
    if !path.is_dir() {
        return open(path);
    }
    let found = inside(path);
    if found.is_empty() {
        return Err(format!("the folder `{}` holds no {}", path.display(), named("")));
    }
    open_first(found.into_iter())
}

/// Loads the first of `paths` that can be used. The error tells of all.
fn open_first(paths: impl Iterator<Item = PathBuf>) -> std::result::Result<Library, String> {
    let mut tried = Vec::new();
    for path in paths {
        match open(&path) {
            Ok(library) => return Ok(library),
            Err(why) => tried.push(why),
        }
    }
    Err(tried.join("; "))
}

/// The name of the library's file of a version that begins with a dot, or of none.
fn named(version: &str) -> String {
    format!("{}{version}{}", NAME.0, NAME.1)
}

/// The version in a file's name, empty where there is none; `None` for the name of another file.
fn version_in(name: &str) -> Option<Vec<u32>> {
    let version = name.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?;
    if version.is_empty() {
        return Some(Vec::new());
    }
    version.strip_prefix('.')?.split('.').map(|part| part.parse().ok()).collect()
}

/// The libraries in `folder`: those without a version or with the first number of one, which mean the one to use where
/// there are several, then the newest first. None where it is no folder.
pub(in crate::runtime) fn inside(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut found: Vec<(Vec<u32>, PathBuf)> =
        entries.flatten().filter_map(|entry| Some((version_in(entry.file_name().to_str()?)?, entry.path()))).collect();
    found.sort_by_cached_key(|(version, _)| (version.len().min(2), Reverse(version.clone())));
    found.into_iter().map(|(_, path)| path).collect()
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
    accept(load_file(path)?, path)
}

fn load_file(path: &Path) -> std::result::Result<libloading::Library, String> {
    let shown = path.display();
    // Opening a pipe would wait. A bare name is no file here: the system's loader looks for it.
    let is_bare = path.parent().is_some_and(|folder| folder.as_os_str().is_empty());
    if !is_bare && path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("`{shown}` is no regular file"));
    }
    // SAFETY: loading runs the library's initialisers. The user chose the file, or the documented search did.
    unsafe { libloading::Library::new(path) }.map_err(|e| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        format!("`{shown}` cannot be loaded ({reason})")
    })
}

/// Checks that `library`, loaded from `path`, is an ONNX Runtime of a supported version, and gives its API to the crate
/// `ort`.
fn accept(library: libloading::Library, path: &Path) -> std::result::Result<Library, String> {
    let shown = path.display();
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
    fn names_of_files_tell_versions() {
        assert_eq!(version_in(&named("")), Some(vec![]));
        assert_eq!(version_in(&named(".1.31.1")), Some(vec![1, 31, 1]));
        for other in ["libonnxruntime_providers_shared.so", &named(".1.x"), &named("-1"), "libonnx.so"] {
            assert_eq!(version_in(other), None, "{other}");
        }
    }

    /// The name without a version is what somebody has chosen, by a link or by removing the others.
    #[test]
    fn of_several_libraries_in_a_folder_the_chosen_one_comes_first_then_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let versions = [".1.9.0", ".1.31.1", ".1", ".1.22.0", "", ".1.31"];
        for name in versions.iter().map(|version| named(version)).chain(["libother.so".to_owned()]) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let order = ["", ".1", ".1.31.1", ".1.31", ".1.22.0", ".1.9.0"].map(|version| PathBuf::from(named(version)));
        let found: Vec<PathBuf> = inside(folder.path()).iter().map(|path| path.file_name().unwrap().into()).collect();
        assert_eq!(found, order);
    }

    #[test]
    fn unusable_files_are_named_with_the_reason() {
        let missing = open(Path::new("/nonexistent/libonnxruntime.so")).map(|l| l.path).unwrap_err();
        assert!(missing.contains("/nonexistent/libonnxruntime.so"), "{missing}");
        let text = open(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").as_path()).map(|l| l.path);
        assert!(text.unwrap_err().contains("cannot be loaded"));
        let folder = open_named(Path::new(env!("CARGO_MANIFEST_DIR"))).map(|l| l.path).unwrap_err();
        assert!(folder.contains("holds no libonnxruntime"), "{folder}");
    }
}
