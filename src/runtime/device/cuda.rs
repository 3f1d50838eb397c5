//! NVIDIA's GPUs, as the CUDA driver lists them.
#![allow(unsafe_code, reason = "the driver is loaded and called")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use libloading::{Library, Symbol};

/// A GPU. Its index is its place in the list; ONNX Runtime counts in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gpu {
    pub name: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Bytes of its memory that are free; 0 if unknown.
    pub free: u64,
}

#[cfg(windows)]
const DRIVER: &str = "nvcuda.dll";
#[cfg(not(windows))]
const DRIVER: &str = "libcuda.so.1";
/// NVIDIA's management library, which comes with the driver.
#[cfg(windows)]
const MANAGEMENT: &str = "nvml.dll";
#[cfg(not(windows))]
const MANAGEMENT: &str = "libnvidia-ml.so.1";

/// The GPUs that this process may use; none where there is no driver.
pub(crate) fn gpus() -> Vec<Gpu> {
    list(DRIVER, MANAGEMENT).unwrap_or_default()
}

/// The driver's functions return 0 when all is well. None of those used here creates a context, which would take
/// memory on the GPU. The driver tells free memory only with a context, so the management library is asked for that.
fn list(driver: &str, management: &str) -> Option<Vec<Gpu>> {
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

        let get_uuid: Option<Symbol<unsafe extern "system" fn(*mut [u8; 16], c_int) -> c_int>> =
            driver.get(b"cuDeviceGetUuid\0").ok();

        let management = Management::load(management);
        let mut count = 0;
        if init(0) != 0 || get_count(&raw mut count) != 0 {
            return None;
        }
        let gpu = |index| {
            let (mut device, mut name, mut memory) = (0, [0 as c_char; 128], 0);
            let failed = get(&raw mut device, index) != 0
                || get_name(name.as_mut_ptr(), name.len() as c_int - 1, device) != 0
                || get_memory(&raw mut memory, device) != 0;
            // The buffer was filled with NULs, and the driver leaves the last one.
            let name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            let mut uuid = [0; 16];
            let known = get_uuid.as_ref().is_some_and(|get| get(&raw mut uuid, device) == 0);
            let free = management.as_ref().filter(|_| known).and_then(|management| management.free(uuid));
            (!failed).then_some(Gpu { name, memory: memory as u64, free: free.unwrap_or(0) })
        };
        (0..count).map(gpu).collect()
    }
}

/// The management library.
struct Management(std::mem::ManuallyDrop<Library>);

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Default)]
struct Memory {
    total: u64,
    free: u64,
    used: u64,
}

impl Management {
    fn load(name: &str) -> Option<Self> {
        // SAFETY: the driver's own library, kept as that is; `nvmlInit_v2` has this signature wherever it is.
        unsafe {
            let library = Self(std::mem::ManuallyDrop::new(Library::new(name).ok()?));
            let init: Symbol<unsafe extern "C" fn() -> c_int> = library.0.get(b"nvmlInit_v2\0").ok()?;
            (init() == 0).then_some(library)
        }
    }

    /// Bytes that are free on the GPU of this id. The GPU is named by its id, since the two libraries may count in
    /// different orders.
    fn free(&self, uuid: [u8; 16]) -> Option<u64> {
        let hex: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hex[part].concat());
        let name = CString::new(format!("GPU-{}", parts.join("-"))).ok()?;
        let (mut device, mut memory) = (std::ptr::null_mut(), Memory::default());
        // SAFETY: the functions have these signatures wherever they are; the out-pointers are valid.
        unsafe {
            let find: Symbol<unsafe extern "C" fn(*const c_char, *mut *mut c_void) -> c_int> =
                self.0.get(b"nvmlDeviceGetHandleByUUID\0").ok()?;
            let ask: Symbol<unsafe extern "C" fn(*mut c_void, *mut Memory) -> c_int> =
                self.0.get(b"nvmlDeviceGetMemoryInfo\0").ok()?;
            let found = find(name.as_ptr(), &raw mut device) == 0 && ask(device, &raw mut memory) == 0;
            found.then_some(memory.free)
        }
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
        int cuDeviceGetUuid(unsigned char *uuid, int device) {
            for (int i = 0; i < 16; i++) uuid[i] = (unsigned char)(device + i * 16);
            return 0; }
        static int managed;
        int nvmlInit_v2(void) { managed = 1; return 0; }
        int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
            *device = &managed; return strcmp(uuid, \"GPU-29394959-6979-8999-a9b9-c9d9e9f90919\"); }
        int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
            memory[0] = 9; memory[1] = 7; memory[2] = 2; return device != &managed || !managed; }
    ";

    #[test]
    fn gpus_are_listed_in_the_drivers_order() {
        let folder = tempfile::tempdir().unwrap();
        let (source, driver) = (folder.path().join("fake.c"), folder.path().join("libcuda.so.1"));
        std::fs::write(&source, FAKE).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut compile = std::process::Command::new(compiler);
        assert!(compile.args(["-shared", "-fPIC", "-o"]).args([&driver, &source]).status().unwrap().success());
        let gpu = |name: &str, memory, free| Gpu { name: name.into(), memory, free };
        let driver = driver.to_str().unwrap();
        // The management library knows only the second GPU.
        let found = list(driver, driver);
        assert_eq!(found, Some(vec![gpu("First GPU", 1 << 33, 0), gpu("Second GPU", 1 << 34, 7)]));
        let found = list(driver, "/nonexistent/libnvidia-ml.so.1").unwrap();
        assert!(found.iter().all(|gpu| gpu.free == 0));
        assert_eq!(list("/nonexistent/libcuda.so.1", driver), None);
    }
}
