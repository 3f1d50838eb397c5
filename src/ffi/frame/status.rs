//! Statuses
//!
//! Almost every function returns one. Zero is success; the hundreds group the errors. A value never changes its
//! meaning and is never used again; new ones may appear, so treat an unknown value as an error of its group.

use std::ffi::{CStr, c_char};

use crate::ffi::frame::constants::constants;

/// The outcome of a call: ORTSHARD_OK or one of ORTSHARD_ERROR_*.
pub type ortshard_status = i32;

constants! {
    /// What an ortshard_status can be.
    #[named(CONSTANTS)]
    enum ortshard_status_code {
        /// The call did what it says.
        ORTSHARD_OK = 0,

        /// A pointer that must not be NULL is NULL. The message names the parameter.
        ORTSHARD_ERROR_NULL_ARGUMENT = 101,
        /// An argument or option has a value that is not allowed.
        ORTSHARD_ERROR_INVALID_ARGUMENT = 102,
        /// A string is not UTF-8.
        ORTSHARD_ERROR_INVALID_UTF8 = 103,
        /// An index, token id, layer or position lies outside its range.
        ORTSHARD_ERROR_OUT_OF_RANGE = 104,
        /// A buffer cannot hold the answer. Nothing was written to it; the size it needs was.
        ORTSHARD_ERROR_BUFFER_TOO_SMALL = 105,
        /// A struct uses a field that this version of the library does not know.
        ORTSHARD_ERROR_VERSION_MISMATCH = 106,

        /// A file, folder or tensor does not exist.
        ORTSHARD_ERROR_NOT_FOUND = 201,
        /// Reading, writing or mapping a file failed.
        ORTSHARD_ERROR_IO = 202,
        /// A file's content breaks its own format or contradicts another file.
        ORTSHARD_ERROR_MALFORMED = 203,
        /// The input is well formed, but this library cannot run it.
        ORTSHARD_ERROR_UNSUPPORTED = 204,
        /// The network would be needed, and is not to be used.
        ORTSHARD_ERROR_OFFLINE = 205,
        /// A file does not have the hash it should.
        ORTSHARD_ERROR_HASH_MISMATCH = 206,

        /// The call does not fit the object's present state; also: the object is in use by another thread right now.
        ORTSHARD_ERROR_INVALID_STATE = 301,
        /// The shard behind this request was replaced or cleared.
        ORTSHARD_ERROR_STALE_SHARD = 302,
        /// The tokens do not fit into the rest of the request's capacity.
        ORTSHARD_ERROR_CONTEXT_FULL = 303,
        /// The work was cancelled, by ortshard_request_cancel() or by a callback that did not return 0.
        ORTSHARD_ERROR_CANCELLED = 304,

        /// No usable ONNX Runtime library was found. The message lists what was tried.
        ORTSHARD_ERROR_ONNXRUNTIME_NOT_FOUND = 401,
        /// ONNX Runtime reported a failure that is none of the others.
        ORTSHARD_ERROR_ONNXRUNTIME = 402,
        /// Memory ran out; ortshard_error_get_oom() says where. The object is as it was before the call.
        ORTSHARD_ERROR_OUT_OF_MEMORY = 403,
        /// The device asked for does not exist or cannot be used here.
        ORTSHARD_ERROR_DEVICE_UNAVAILABLE = 404,

        /// A broken invariant of this library: a bug, please report it.
        ORTSHARD_ERROR_INTERNAL = 901,
        /// This library crashed inside the call: a bug, please report it. The process goes on; free the object.
        ORTSHARD_ERROR_PANIC = 902,
    }
}

/// The name of a status, such as "ORTSHARD_ERROR_IO"; "unknown status" for a value that is none.
///
/// Never NULL, never to be freed. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn ortshard_status_name(status: ortshard_status) -> *const c_char {
    name(status).as_ptr()
}

fn name(status: ortshard_status) -> &'static CStr {
    CONSTANTS.iter().find(|(_, value)| *value == status).map_or(c"unknown status", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_name() {
        assert!(CONSTANTS.len() > 20 && CONSTANTS.is_sorted_by(|a, b| a.1 < b.1), "values grow, so none is used twice");
        assert_eq!(name(ORTSHARD_ERROR_IO), c"ORTSHARD_ERROR_IO");
        assert_eq!(name(-1), c"unknown status");
    }
}
