//! Python's `str`: its methods, its formatting, and its characters.

pub(super) mod casing;
pub(super) mod format;
pub(super) mod percent;
pub(super) mod spec;
pub(super) mod str_methods;
pub(super) mod strings;
mod tables;
pub(super) mod unicode;
