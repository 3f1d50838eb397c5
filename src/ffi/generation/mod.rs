//! Text after a prompt.

pub(super) mod generated;
pub(super) mod lifecycle;
pub(super) mod options;
pub(super) mod pulled;
pub(super) mod remote;
pub(super) mod state;
pub(super) mod step;
