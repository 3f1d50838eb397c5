//! The house in order: sources, header and documents keep their rules.

mod header;
mod layering;
mod promises;
mod readme;
