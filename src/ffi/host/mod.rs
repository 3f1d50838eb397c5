//! ONNX Runtime, devices and the log: one of each in a process.

pub(super) mod device;
pub(super) mod log;
pub(super) mod runtime;
