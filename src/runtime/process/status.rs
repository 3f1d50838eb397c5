//! Turns ONNX Runtime's failures into this library's errors.
//!
//! ONNX Runtime has no status code for "out of memory", and the codes that it uses instead differ between releases.
//! So the message's text decides.
#![allow(unsafe_code, reason = "status pointers are taken over from the C API")]

use std::ffi::CStr;

use ort::sys;

use crate::error::{Error, ErrorKind, Result, Site, err};

/// ONNX Runtime's message for a run that was cancelled.
const TERMINATED: &str = "Exiting due to terminate flag";

/// Turns a status into a result, and releases it. `doing` says what was tried; `site` is where memory would have run
/// out.
pub(in crate::runtime) fn check(status: sys::OrtStatusPtr, site: Site, doing: &str) -> Result<()> {
    check_on("cpu", status, site, doing)
}

/// As [`check`], for work on `device`, whose memory may run out.
pub(in crate::runtime) fn check_on(device: &str, status: sys::OrtStatusPtr, site: Site, doing: &str) -> Result<()> {
    // SAFETY: every caller passes the status that a C API function has just returned to it.
    unsafe { ort::Error::result_from_status(status) }.map_err(|e| translate(device, site, doing, e.message()))
}

fn translate(device: &str, site: Site, doing: &str, message: &str) -> Error {
    if message.contains(TERMINATED) {
        return err!(Cancelled, "{doing} was cancelled");
    }
    if let Some(requested) = out_of_memory(message) {
        let error = Error::oom(site, device, requested, doing);
        return error.with_source(err!(Runtime, "{message}"));
    }
    Error::new(ErrorKind::Runtime, format!("{doing} failed")).with_source(err!(Runtime, "{message}"))
}

/// If `message` is one of ONNX Runtime's out-of-memory texts: the bytes asked for, or 0 if the text does not say.
fn out_of_memory(message: &str) -> Option<u64> {
    const SIGNS: &[&str] = &[
        "is smaller than requested bytes of",
        "Failed to allocate memory for requested buffer of size",
        "std::bad_alloc",
        "bad allocation",
        "out of memory",
        "ALLOC_FAILED",
        "cudaMallocFromPoolAsync failed",
        "Failed to find a free memory block",
        "Memory allocation failed. Size=",
    ];
    let sign = SIGNS.iter().find(|sign| message.contains(*sign))?;
    let after = &message[message.find(sign)? + sign.len()..];
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    Some(digits.parse().unwrap_or(0))
}

/// Execution providers compiled into the loaded library.
pub(in crate::runtime) fn providers() -> Result<Vec<String>> {
    let api = ort::api();
    let mut list = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: both out-pointers are valid; the list is released below.
    check(unsafe { (api.GetAvailableProviders)(&raw mut list, &raw mut count) }, Site::Load, "listing providers")?;
    let names = (0..usize::try_from(count).unwrap_or(0))
        // SAFETY: the call returned `count` NUL-terminated strings.
        .map(|i| unsafe { CStr::from_ptr(*list.add(i)) }.to_string_lossy().into_owned())
        .collect();
    // SAFETY: releases exactly what the call above returned.
    check(unsafe { (api.ReleaseAvailableProviders)(list, count) }, Site::Load, "listing providers")?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_memory_texts_of_every_release_are_recognised() {
        let arena = "/onnxruntime/core/framework/bfc_arena.cc:359 void* onnxruntime::BFCArena::AllocateRawInternal(..) \
                     Available memory of 1048576 is smaller than requested bytes of 4194304";
        assert_eq!(out_of_memory(arena), Some(4_194_304));
        let system = "BFCArena::AllocateRawInternal(..) Failed to allocate memory for requested buffer of size 42";
        assert_eq!(out_of_memory(system), Some(42));
        assert_eq!(out_of_memory("Exception during initialization: std::bad_alloc"), Some(0));
        assert_eq!(out_of_memory("CUDA failure 2: out of memory ; GPU=0"), Some(0));
        assert_eq!(out_of_memory("Invalid rank for input: x"), None);
        assert_eq!(out_of_memory("Tensor shape.Size() must be >= 0"), None);
    }

    #[test]
    fn cancellation_is_not_a_failure() {
        let error = translate("cpu", Site::Run, "the run", "Exiting due to terminate flag being set to true.");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
