//! NVIDIA's GPUs, as the CUDA driver lists them.
#![allow(unsafe_code, reason = "the driver is loaded and called")]

use std::ffi::{CStr, c_char, c_int};

use libloading::{Library, Symbol};

/// A GPU. Its index is its place in the list, which is how ONNX Runtime counts too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gpu {
    pub name: String,
    /// Bytes of its memory.
    pub memory: u64,
}

#[cfg(windows)]
const DRIVER: &str = "nvcuda.dll";
#[cfg(not(windows))]
const DRIVER: &str = "libcuda.so.1";

/// The GPUs that this process may use; none where there is no driver.
pub(crate) fn gpus() -> Vec<Gpu> {
    list(DRIVER).unwrap_or_default()
}

/// The driver's functions return 0 when all is well. None of those used here creates a context, which would take
/// memory on the GPU; that is why free memory is not asked for.
fn list(driver: &str) -> Option<Vec<Gpu>> {
    // SAFETY: the system's own driver, loaded by name. It is kept: unloading a driver that has threads is never safe.
    let driver = std::mem::ManuallyDrop::new(unsafe { Library::new(driver) }.ok()?);
    // SAFETY: the symbols have these signatures in every driver that has them.
    unsafe {
        let init: Symbol<unsafe extern "system" fn(u32) -> c_int> = driver.get(b"cuInit\0").ok()?;
        let get_count: Symbol<unsafe extern "system" fn(*mut c_int) -> c_int> =
            driver.get(b"cuDeviceGetCount\0").ok()?;
        let get: Symbol<unsafe extern "system" fn(*mut c_int, c_int) -> c_int> = driver.get(b"cuDeviceGet\0").ok()?;
        let get_name: Symbol<unsafe extern "system" fn(*mut c_char, c_int, c_int) -> c_int> =
            driver.get(b"cuDeviceGetName\0").ok()?;
        let get_memory: Symbol<unsafe extern "system" fn(*mut usize, c_int) -> c_int> =
            driver.get(b"cuDeviceTotalMem_v2\0").ok()?;

        let mut count = 0;
        if init(0) != 0 || get_count(&raw mut count) != 0 {
            return None;
        }
        let gpu = |index| {
            let (mut device, mut name, mut memory) = (0, [0 as c_char; 128], 0);
            let failed = get(&raw mut device, index) != 0
                || get_name(name.as_mut_ptr(), name.len() as c_int - 1, device) != 0
                || get_memory(&raw mut memory, device) != 0;
            // The last byte is still the NUL it began as.
            let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            (!failed).then_some(Gpu { name, memory: memory as u64 })
        };
        (0..count).map(gpu).collect()
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    /// A driver of two GPUs whose handles are not their indices.
    const FAKE: &str = "
        #include <stddef.h>
        #include <string.h>
        static int ready;
        int cuInit(unsigned flags) { ready = flags == 0; return !ready; }
        int cuDeviceGetCount(int *count) { *count = 2; return !ready; }
        int cuDeviceGet(int *device, int index) { *device = index + 40; return index < 0 || index > 1; }
        int cuDeviceGetName(char *name, int size, int device) {
            strncpy(name, device == 40 ? \"First GPU\" : \"Second GPU\", size); return 0; }
        int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device - 39) << 33; return 0; }
    ";

    #[test]
    fn gpus_are_listed_in_the_drivers_order() {
        let folder = tempfile::tempdir().unwrap();
        let (source, driver) = (folder.path().join("fake.c"), folder.path().join("libcuda.so.1"));
        std::fs::write(&source, FAKE).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut compile = std::process::Command::new(compiler);
        assert!(compile.args(["-shared", "-fPIC", "-o"]).args([&driver, &source]).status().unwrap().success());
        let gpu = |name: &str, memory| Gpu { name: name.into(), memory };
        let found = list(driver.to_str().unwrap());
        assert_eq!(found, Some(vec![gpu("First GPU", 1 << 33), gpu("Second GPU", 1 << 34)]));
        assert_eq!(list("/nonexistent/libcuda.so.1"), None);
    }
}
