//! Devices: which there are, what runs where, and memory on them.

pub(super) mod cache;
pub(super) mod cuda;
pub(super) mod cuda_libraries;
pub(super) mod machine;
pub(super) mod memory;
pub(super) mod placement;
pub(super) mod provider;
