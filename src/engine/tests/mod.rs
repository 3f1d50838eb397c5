//! What only shows from inside: devices that the processor stands in for, operations that no family uses so far, and the list of families.

mod half;
mod models;
mod recovery;
pub(crate) mod two_parts;
mod vocabulary;
