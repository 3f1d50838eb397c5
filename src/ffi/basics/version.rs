//! Version
//!
//! The library's version and the ABI's are two numbers. A program compiled with this header works with every later
//! library of the same ABI version. A cautious program checks once, at start:
//!
//!     if (ortshard_abi_version() != ORTSHARD_ABI_VERSION) { ... wrong library ... }

use std::ffi::{CStr, c_char};

/// The library version of this header: the first number of 1.2.3.
pub const ORTSHARD_VERSION_MAJOR: u32 = 0;

/// The second number of 1.2.3.
pub const ORTSHARD_VERSION_MINOR: u32 = 1;

/// The third number of 1.2.3.
pub const ORTSHARD_VERSION_PATCH: u32 = 0;

/// The ABI version of this header. It changes only if a program compiled before could no longer work.
pub const ORTSHARD_ABI_VERSION: u32 = 0;

// cbindgen takes numbers only, so Cargo.toml's are written here once more.
const _: () = assert!(
    ORTSHARD_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR"))
        && ORTSHARD_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR"))
        && ORTSHARD_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH")),
    "these numbers are not those of Cargo.toml's version"
);

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => 0,
    }
}

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library that is running, such as "0.1.0".
///
/// Never NULL, never to be freed. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The ABI version of the library that is running. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_abi_version() -> u32 {
    ORTSHARD_ABI_VERSION
}
