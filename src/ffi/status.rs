//! Statuses
//!
//! Almost every function returns one. Zero is success; the hundreds group the errors. A value never changes its
//! meaning and is never used again; new ones may appear, so treat an unknown value as an error of its group.

use std::ffi::{CStr, c_char};

use crate::error::{Error, ErrorKind, OutOfMemory};

/// The outcome of a call: ORTSHARD_OK or one of ORTSHARD_ERROR_*.
pub type ortshard_status = i32;

/// The call did what it says.
pub const ORTSHARD_OK: ortshard_status = 0;

/// A pointer that must not be NULL is NULL. The message names the parameter.
pub const ORTSHARD_ERROR_NULL_ARGUMENT: ortshard_status = 101;
/// An argument or option has a value that is not allowed.
pub const ORTSHARD_ERROR_INVALID_ARGUMENT: ortshard_status = 102;
/// A string is not UTF-8.
pub const ORTSHARD_ERROR_INVALID_UTF8: ortshard_status = 103;
/// An index, token id, layer or position lies outside its range.
pub const ORTSHARD_ERROR_OUT_OF_RANGE: ortshard_status = 104;
/// A buffer cannot hold the answer. Nothing was written to it; the size it needs was.
pub const ORTSHARD_ERROR_BUFFER_TOO_SMALL: ortshard_status = 105;
/// A struct uses a field that this version of the library does not know.
pub const ORTSHARD_ERROR_VERSION_MISMATCH: ortshard_status = 106;

/// A file, folder or tensor does not exist.
pub const ORTSHARD_ERROR_NOT_FOUND: ortshard_status = 201;
/// Reading, writing or mapping a file failed.
pub const ORTSHARD_ERROR_IO: ortshard_status = 202;
/// A file's content breaks its own format or contradicts another file.
pub const ORTSHARD_ERROR_MALFORMED: ortshard_status = 203;
/// The input is well formed, but this library cannot run it.
pub const ORTSHARD_ERROR_UNSUPPORTED: ortshard_status = 204;
/// The network would be needed, and is not to be used.
pub const ORTSHARD_ERROR_OFFLINE: ortshard_status = 205;
/// A file does not have the hash it should.
pub const ORTSHARD_ERROR_HASH_MISMATCH: ortshard_status = 206;

/// The call does not fit the object's present state; also: the object is in use by another thread right now.
pub const ORTSHARD_ERROR_INVALID_STATE: ortshard_status = 301;
/// The shard behind this request was replaced or cleared.
pub const ORTSHARD_ERROR_STALE_SHARD: ortshard_status = 302;
/// The tokens do not fit into the rest of the request's capacity.
pub const ORTSHARD_ERROR_CONTEXT_FULL: ortshard_status = 303;
/// The work was cancelled, by ortshard_request_cancel() or by a callback that did not return 0.
pub const ORTSHARD_ERROR_CANCELLED: ortshard_status = 304;

/// No usable ONNX Runtime library was found. The message lists what was tried.
pub const ORTSHARD_ERROR_ONNXRUNTIME_NOT_FOUND: ortshard_status = 401;
/// ONNX Runtime reported a failure that is none of the others.
pub const ORTSHARD_ERROR_ONNXRUNTIME: ortshard_status = 402;
/// Memory ran out; ortshard_last_oom() says where. The object is as it was before the call.
pub const ORTSHARD_ERROR_OUT_OF_MEMORY: ortshard_status = 403;
/// The device asked for does not exist or cannot be used here.
pub const ORTSHARD_ERROR_DEVICE_UNAVAILABLE: ortshard_status = 404;

/// A broken invariant of this library: a bug, please report it.
pub const ORTSHARD_ERROR_INTERNAL: ortshard_status = 901;
/// This library crashed inside the call: a bug, please report it. The process goes on; free the object.
pub const ORTSHARD_ERROR_PANIC: ortshard_status = 902;

// cbindgen does not look into macros, so the constants stand above as plain items; a test checks that this list has
// each of them.
macro_rules! names {
    ($($constant:ident)*) => {
        fn name(status: ortshard_status) -> &'static CStr {
            match status {
                $($constant => const { literal(concat!(stringify!($constant), "\0")) },)*
                _ => c"unknown status",
            }
        }

        #[cfg(test)]
        const ALL: &[(&str, ortshard_status)] = &[$((stringify!($constant), $constant)),*];
    };
}

names! {
    ORTSHARD_OK
    ORTSHARD_ERROR_NULL_ARGUMENT ORTSHARD_ERROR_INVALID_ARGUMENT ORTSHARD_ERROR_INVALID_UTF8
    ORTSHARD_ERROR_OUT_OF_RANGE ORTSHARD_ERROR_BUFFER_TOO_SMALL ORTSHARD_ERROR_VERSION_MISMATCH
    ORTSHARD_ERROR_NOT_FOUND ORTSHARD_ERROR_IO ORTSHARD_ERROR_MALFORMED
    ORTSHARD_ERROR_UNSUPPORTED ORTSHARD_ERROR_OFFLINE ORTSHARD_ERROR_HASH_MISMATCH
    ORTSHARD_ERROR_INVALID_STATE ORTSHARD_ERROR_STALE_SHARD ORTSHARD_ERROR_CONTEXT_FULL ORTSHARD_ERROR_CANCELLED
    ORTSHARD_ERROR_ONNXRUNTIME_NOT_FOUND ORTSHARD_ERROR_ONNXRUNTIME ORTSHARD_ERROR_OUT_OF_MEMORY
    ORTSHARD_ERROR_DEVICE_UNAVAILABLE
    ORTSHARD_ERROR_INTERNAL ORTSHARD_ERROR_PANIC
}

/// The name of a status, such as "ORTSHARD_ERROR_IO"; "unknown status" for a value that is none.
///
/// Never NULL, never to be freed, any thread. @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_status_name(status: ortshard_status) -> *const c_char {
    name(status).as_ptr()
}

/// Why a call failed, in the terms of the C API.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: ortshard_status,
    pub(super) message: String,
    pub(super) oom: Option<OutOfMemory>,
}

impl Failure {
    pub(super) fn new(status: ortshard_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), oom: None }
    }

    pub(super) fn null(parameter: &str) -> Self {
        Self::new(ORTSHARD_ERROR_NULL_ARGUMENT, format!("{parameter} is NULL"))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ORTSHARD_ERROR_INVALID_ARGUMENT, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: of(error.kind()), message: error.chain(), oom: error.out_of_memory().cloned() }
    }
}

/// The kind of error that a host's callback reports by `status`.
pub(super) fn kind_of(status: ortshard_status) -> ErrorKind {
    const KINDS: &[ErrorKind] = &[
        ErrorKind::InvalidArgument,
        ErrorKind::OutOfRange,
        ErrorKind::Malformed,
        ErrorKind::Unsupported,
        ErrorKind::Offline,
        ErrorKind::HashMismatch,
        ErrorKind::InvalidState,
        ErrorKind::Cancelled,
    ];
    KINDS.iter().copied().find(|kind| of(*kind) == status).unwrap_or(ErrorKind::Io)
}

fn of(kind: ErrorKind) -> ortshard_status {
    match kind {
        ErrorKind::InvalidArgument => ORTSHARD_ERROR_INVALID_ARGUMENT,
        ErrorKind::OutOfRange => ORTSHARD_ERROR_OUT_OF_RANGE,
        ErrorKind::NotFound => ORTSHARD_ERROR_NOT_FOUND,
        ErrorKind::Io => ORTSHARD_ERROR_IO,
        ErrorKind::Malformed => ORTSHARD_ERROR_MALFORMED,
        ErrorKind::Unsupported => ORTSHARD_ERROR_UNSUPPORTED,
        ErrorKind::Offline => ORTSHARD_ERROR_OFFLINE,
        ErrorKind::HashMismatch => ORTSHARD_ERROR_HASH_MISMATCH,
        ErrorKind::InvalidState => ORTSHARD_ERROR_INVALID_STATE,
        ErrorKind::StaleShard => ORTSHARD_ERROR_STALE_SHARD,
        ErrorKind::ContextFull => ORTSHARD_ERROR_CONTEXT_FULL,
        ErrorKind::Cancelled => ORTSHARD_ERROR_CANCELLED,
        ErrorKind::RuntimeNotFound => ORTSHARD_ERROR_ONNXRUNTIME_NOT_FOUND,
        ErrorKind::Runtime => ORTSHARD_ERROR_ONNXRUNTIME,
        ErrorKind::OutOfMemory => ORTSHARD_ERROR_OUT_OF_MEMORY,
        ErrorKind::DeviceUnavailable => ORTSHARD_ERROR_DEVICE_UNAVAILABLE,
        ErrorKind::Internal => ORTSHARD_ERROR_INTERNAL,
    }
}

const fn literal(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constant_is_named_once() {
        let declared: Vec<&str> = include_str!("status.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
            .collect();
        let named: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(declared, named);
        assert!(ALL.is_sorted_by(|a, b| a.1 < b.1), "values grow, so none is used twice");
        for (constant, value) in ALL {
            assert_eq!(name(*value).to_str(), Ok(*constant));
        }
        assert_eq!(name(-1), c"unknown status");
    }
}
