//! Version
//!
//! The library's version and the ABI's are two numbers. A program compiled with this header works with every later
//! library of the same ABI version. A cautious program checks once, at start:
//!
//!     if (ortshard_abi_version() != ORTSHARD_ABI_VERSION) { ... wrong library ... }

use std::ffi::{CStr, c_char};

/// The ABI version of this header. It changes only if a program compiled before could no longer work.
pub const ORTSHARD_ABI_VERSION: u32 = 0;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library that is running, such as "0.1.0".
///
/// Never NULL, never to be freed, any thread. @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The ABI version of the library that is running. Any thread. @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_abi_version() -> u32 {
    ORTSHARD_ABI_VERSION
}
