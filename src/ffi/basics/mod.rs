//! What every program needs: version, statuses, messages, handles and constants.

pub(super) mod constants;
#[cfg(all(feature = "grammar", target_os = "linux"))]
mod hidden;
pub(super) mod last_error;
pub(super) mod objects;
pub(super) mod version;
