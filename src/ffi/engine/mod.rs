//! Engines: options, specs, loading, and what is asked of them.

pub(super) mod boundary;
pub(super) mod checkpoint;
pub(super) mod estimate;
pub(super) mod fetch;
pub(super) mod files;
pub(super) mod lifecycle;
pub(super) mod lookup;
pub(super) mod model;
pub(super) mod options;
pub(super) mod plan;
pub(super) mod progress;
pub(super) mod spec;
pub(super) mod stats;
