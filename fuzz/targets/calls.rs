#![no_main]

use std::ffi::{CString, c_char};
use std::sync::LazyLock;

// The library, for the C functions that calls.c calls.
use ortshard as _;
use ortshard_fuzz::{catch_panics, repository, scratch};

unsafe extern "C" {
    fn fuzz_calls(root: *const c_char, scratch: *const c_char, data: *const u8, size: usize);
}

static FOLDERS: LazyLock<[CString; 2]> =
    LazyLock::new(|| [repository(""), scratch("calls")].map(|path| CString::new(path.to_str().unwrap()).unwrap()));

libfuzzer_sys::fuzz_target!(init: catch_panics(), |data: &[u8]| {
    let [root, scratch] = &*FOLDERS;
    // SAFETY: the texts are NUL-terminated, `data` is as long as it says.
    unsafe { fuzz_calls(root.as_ptr(), scratch.as_ptr(), data.as_ptr(), data.len()) }
});
