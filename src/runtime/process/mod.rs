//! The process: ONNX Runtime as a library in it, its failures, and its end.

pub(super) mod arena;
pub(super) mod exit;
pub(super) mod library;
pub(super) mod newer;
pub(super) mod status;
