//! The house in order: sources, header and documents keep their rules.

mod abi;
mod header;
mod layering;
mod promises;
mod readme;
