//! What every function has around it. Nothing here is seen by C.

pub(super) mod buffers;
pub(super) mod constants;
pub(super) mod failure;
pub(super) mod guard;
pub(super) mod handle;
pub(super) mod last_failure;
pub(super) mod out;
pub(super) mod status;
pub(super) mod strings;
pub(super) mod versioned;
