//! The CUDA libraries that ONNX Runtime's CUDA provider is linked with.
//!
//! The official provider has no search path of its own, so the loader looks for these libraries only in the system's
//! folders and in `LD_LIBRARY_PATH`. But a library that is loaded already is taken by its name, whatever its folder.
//! So the libraries that `make onnxruntime-gpu` or pip have installed are loaded here first.
#![allow(unsafe_code, reason = "shared libraries are loaded")]

use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::runtime::Runtime;

/// The beginnings of the files' names, each library after those that it needs.
const NAMES: &[&str] = &["libcudart.so.", "libcublasLt.so.", "libcublas.so.", "libcurand.so."];

/// Loads, once, the libraries that belong to `runtime`. The loader looks for those that are not found here, and says
/// what it misses.
pub(in crate::runtime) fn preload(runtime: &Runtime) {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| {
        for path in found(runtime.path()) {
            // SAFETY: NVIDIA's own library beside the ONNX Runtime that the user chose.
            match unsafe { libloading::Library::new(&path) } {
                // The provider uses the library as long as the process lives.
                Ok(library) => std::mem::forget(library),
                Err(error) => log::warn!("{} cannot be loaded: {error}", path.display()),
            }
        }
    });
}

/// The files of `NAMES` in the first place that has any: beside the library; in pip's nvidia packages, if it lies in pip's
/// onnxruntime package, `onnxruntime/capi`.
fn found(library: &Path) -> Vec<PathBuf> {
    let beside = library.parent();
    let packages = library.ancestors().nth(3).map(|site| site.join("nvidia"));
    let packages = packages.iter().flat_map(|nvidia| entries(nvidia)).map(|package| package.join("lib"));
    let named = |folders: Vec<PathBuf>| -> Vec<PathBuf> {
        let files: Vec<PathBuf> = folders.iter().flat_map(|folder| entries(folder)).collect();
        let of = |name: &&str| files.iter().filter(|file| begins(file, name)).cloned().collect::<Vec<_>>();
        NAMES.iter().flat_map(of).collect()
    };
    let files = named(beside.map(Path::to_owned).into_iter().collect());
    if files.is_empty() { named(packages.collect()) } else { files }
}

fn begins(file: &Path, name: &str) -> bool {
    file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
}

/// The paths in a folder, sorted; none if there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }

    #[test]
    fn libraries_are_found_in_pips_packages_and_first_beside_onnx_runtime() {
        let site = tempfile::tempdir().unwrap();
        let at = |path: &str| site.path().join(path);
        let library = at("onnxruntime/capi/libonnxruntime.so.1");
        assert!(found(&library).is_empty());
        let pip =
            ["nvidia/cu13/lib/libcublasLt.so.13", "nvidia/cu13/lib/libcublas.so.13", "nvidia/rand/lib/libcurand.so.10"];
        for path in pip.iter().chain(&["nvidia/cu13/lib/libnvblas.so.13"]) {
            touch(&at(path));
        }
        assert_eq!(found(&library), pip.map(at));
        let beside = ["onnxruntime/capi/libcudart.so.13", "onnxruntime/capi/libcurand.so.10"];
        for path in beside {
            touch(&at(path));
        }
        assert_eq!(found(&library), beside.map(at));
    }
}
