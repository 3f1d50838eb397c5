//! What only shows from inside: devices that the processor stands in for.

mod half;
mod recovery;
