//! What only shows from inside: devices that the processor stands in for, and operations that no family uses so far.

mod half;
mod recovery;
mod vocabulary;
