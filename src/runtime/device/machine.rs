//! The processor and its memory, as the system describes them.
#![allow(unsafe_code, reason = "systems are asked through their C interfaces")]

/// Total and available bytes of memory; 0 if the system does not say.
pub(crate) fn memory() -> (u64, u64) {
    let kibibytes = |field| proc_field("/proc/meminfo", field)?.strip_suffix(" kB")?.parse::<u64>().ok();
    match (kibibytes("MemTotal"), kibibytes("MemAvailable")) {
        (Some(total), available) => (total * 1024, available.unwrap_or(0) * 1024),
        (None, _) => system_memory(),
    }
}

/// The name that the processor's maker gives it, else its architecture.
pub(crate) fn processor() -> String {
    proc_field("/proc/cpuinfo", "model name").or_else(brand).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The value of the first line `field : value` in one of Linux's /proc files.
fn proc_field(file: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim_end() == field).then(|| value.trim().to_owned())
    })
}

#[cfg(unix)]
fn system_memory() -> (u64, u64) {
    // SAFETY: asks for constants of the system.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    (u64::try_from(pages).unwrap_or(0) * u64::try_from(size).unwrap_or(0), 0)
}

#[cfg(windows)]
fn system_memory() -> (u64, u64) {
    /// `MEMORYSTATUSEX`.
    #[repr(C)]
    #[derive(Default)]
    struct Status {
        length: u32,
        load: u32,
        total: u64,
        available: u64,
        page_file: [u64; 2],
        address_space: [u64; 3],
    }
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GlobalMemoryStatusEx(status: *mut Status) -> i32;
    }
    let mut status = Status { length: size_of::<Status>() as u32, ..Status::default() };
    // SAFETY: the struct says its own size, and is written if the call succeeds.
    match unsafe { GlobalMemoryStatusEx(&raw mut status) } {
        0 => (0, 0),
        _ => (status.total, status.available),
    }
}

#[cfg(not(any(unix, windows)))]
fn system_memory() -> (u64, u64) {
    (0, 0)
}

#[cfg(target_os = "macos")]
fn brand() -> Option<String> {
    let mut text = [0_u8; 128];
    let mut len = text.len();
    let (name, out) = (c"machdep.cpu.brand_string".as_ptr(), text.as_mut_ptr().cast());
    // SAFETY: at most `len` bytes are written; nothing is set.
    let failed = unsafe { libc::sysctlbyname(name, out, &raw mut len, std::ptr::null_mut(), 0) } != 0;
    let text = std::ffi::CStr::from_bytes_until_nul(&text).ok()?.to_str().ok()?;
    (!failed && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(not(target_os = "macos"))]
fn brand() -> Option<String> {
    None
}
