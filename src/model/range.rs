//! Which layers of a model a shard runs.

use crate::error::{Result, bail};

/// A contiguous range of layers, `end` **inclusive**.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub start: usize,
    pub end: usize,
    pub layers: usize,
}

impl Range {
    /// The range, if the model has it.
    pub(crate) fn new(start: usize, end: usize, layers: usize) -> Result<Self> {
        if start > end {
            bail!(OutOfRange, "first_layer {start} is after last_layer {end}");
        }
        if end >= layers {
            bail!(OutOfRange, "last_layer {end} is not below the model's {layers} layers (last_layer is inclusive)");
        }
        Ok(Self { start, end, layers })
    }

    /// Whether the shard takes token ids.
    pub(crate) fn is_first(self) -> bool {
        self.start == 0
    }

    /// Whether the shard gives logits.
    pub(crate) fn is_last(self) -> bool {
        self.end + 1 == self.layers
    }
}
