//! A shard as pure data: the operations of layers `first..=last` in order, each naming its weights by the
//! checkpoint's own tensor names.
//!
//! [`Graph`] says *what* is computed, in the vocabulary model files are written in: [`op`] has one file for each operation, and
//! all that the graph knows of an operation is in it. Two writers turn a graph into ONNX: [`native`] into this library's own CPU
//! operators, [`stock`] into operators that stock ONNX Runtime has on every device. Neither this module nor its writers know ONNX
//! Runtime or see a byte of weights.

mod arena;
mod builder;
pub(crate) mod names;
pub(crate) mod native;
pub(crate) mod onnx;
pub(crate) mod op;
pub(crate) mod stock;
mod weight;

use std::collections::HashSet;
use std::sync::Arc;

use crate::kernels::Packing;
pub(crate) use builder::Builder;
pub(crate) use op::{Attention, Expert, Kept, Op, Routing, Temperature};
pub(crate) use weight::{Format, Linear, MXFP4_BLOCK, Strides, Weight};

/// A tensor that flows between operations, float32 of shape `[tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its place in [`Graph::names`].
    pub id: usize,
    pub width: usize,
}

/// What goes into the shard's first operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Token ids.
    Ids,
    /// The previous shard's hidden states.
    Hidden(Value),
}

/// What comes out of its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Hidden states for the next shard.
    Hidden(Value),
    /// Logits of the rows asked for.
    Logits(Value),
}

/// The operations of one shard.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub input: Input,
    pub output: Output,
    pub ops: Arc<[Op]>,
    /// The name of each value, by its id: that of the operation that writes it, such as `layers.7.attention`.
    names: Vec<String>,
}

impl Graph {
    /// Every tensor the shard reads, in order of first use; a tied embedding table appears once.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        let mut seen = HashSet::new();
        self.ops.iter().flat_map(|op| op.weights()).filter(|weight| seen.insert(weight.name.as_str())).collect()
    }

    /// Bytes that operations need in a run of `rows` tokens besides the values, where matrices are packed so or not at all.
    pub(crate) fn scratch_bytes(&self, rows: usize, packing: Option<Packing>) -> usize {
        self.ops.iter().map(|op| op.scratch_bytes(rows, packing)).max().unwrap_or(0)
    }

    /// What each layer keeps between tokens, in order.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Kept> {
        self.ops.iter().filter_map(|op| op.kept())
    }

    /// The name that `value` has in a file: the interface's for what goes in and comes out, else its own.
    pub(crate) fn name(&self, value: Value) -> String {
        match (self.input, self.output) {
            (Input::Hidden(input), _) if input == value => names::HIDDEN_IN.into(),
            (_, Output::Hidden(output)) if output == value => names::HIDDEN_OUT.into(),
            (_, Output::Logits(output)) if output == value => names::LOGITS.into(),
            _ => self.names[value.id].clone(),
        }
    }
}
