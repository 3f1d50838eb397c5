//! Why a call failed, in the terms of the C interface.

use std::ffi::CString;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, OutOfMemory};
use crate::ffi::frame::status::{
    ORTSHARD_ERROR_CANCELLED, ORTSHARD_ERROR_CONTEXT_FULL, ORTSHARD_ERROR_DEVICE_UNAVAILABLE,
    ORTSHARD_ERROR_HASH_MISMATCH, ORTSHARD_ERROR_INTERNAL, ORTSHARD_ERROR_INVALID_ARGUMENT,
    ORTSHARD_ERROR_INVALID_STATE, ORTSHARD_ERROR_IO, ORTSHARD_ERROR_MALFORMED, ORTSHARD_ERROR_NOT_FOUND,
    ORTSHARD_ERROR_NULL_ARGUMENT, ORTSHARD_ERROR_OFFLINE, ORTSHARD_ERROR_ONNXRUNTIME,
    ORTSHARD_ERROR_ONNXRUNTIME_NOT_FOUND, ORTSHARD_ERROR_OUT_OF_MEMORY, ORTSHARD_ERROR_OUT_OF_RANGE,
    ORTSHARD_ERROR_STALE_SHARD, ORTSHARD_ERROR_UNSUPPORTED, ortshard_status,
};

/// Why a call failed, in the terms of the C API.
#[derive(Debug)]
pub(in crate::ffi) struct Failure {
    pub(in crate::ffi) status: ortshard_status,
    pub(in crate::ffi) message: String,
    pub(in crate::ffi) oom: Option<OutOfMemory>,
}

impl Failure {
    pub(in crate::ffi) fn new(status: ortshard_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), oom: None }
    }

    pub(in crate::ffi) fn null(parameter: &str) -> Self {
        Self::new(ORTSHARD_ERROR_NULL_ARGUMENT, format!("{parameter} is NULL"))
    }

    pub(in crate::ffi) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ORTSHARD_ERROR_INVALID_ARGUMENT, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: of(error.kind()), message: error.chain(), oom: error.out_of_memory().cloned() }
    }
}

/// The kind of error that a host's callback reports by `status`.
pub(in crate::ffi) fn kind_of(status: ortshard_status) -> ErrorKind {
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
        // Internal, and a kind that is missing here.
        _ => ORTSHARD_ERROR_INTERNAL,
    }
}

/// A failure as it is told.
#[derive(Debug, Default)]
pub(in crate::ffi) struct Recorded {
    pub(in crate::ffi) message: CString,
    pub(in crate::ffi) oom: Option<OutOfMemory>,
}

impl Recorded {
    pub(in crate::ffi) fn of(failure: &Failure) -> Arc<Self> {
        let message = CString::new(failure.message.replace('\0', "\\0")).unwrap_or_default();
        Arc::new(Self { message, oom: failure.oom.clone() })
    }
}
