//! A shard as pure data: the operations of layers `first..=last` in order, each naming its weights by the
//! checkpoint's own tensor names.
//!
//! [`Graph`] says *what* is computed, in the vocabulary model files are written in: [`op`] has one file for each operation, and
//! all that the graph knows of an operation is in it. Two writers turn a graph into ONNX: [`native`] into this library's own CPU
//! operators, [`stock`] into operators that stock ONNX Runtime has on every device. Neither this module nor its writers know ONNX
//! Runtime or see a byte of weights.

mod arena;
mod boundary;
mod builder;
mod kept;
pub(crate) mod names;
pub(crate) mod native;
pub(crate) mod onnx;
pub(crate) mod op;
pub(crate) mod stock;
mod weight;

use std::collections::HashSet;
use std::sync::Arc;

use crate::kernels::Packing;
pub(crate) use boundary::PerPart;
pub use boundary::Role;
pub(crate) use builder::Builder;
pub(crate) use kept::Kept;
use names::Name;
pub(crate) use op::{Attention, Expert, Op, Routing, Temperature};
pub(crate) use weight::{Format, Linear, MXFP4_BLOCK, Strides, Weight};

/// A tensor that flows between operations, float32 of shape `[tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    /// What passes the boundary in front of the shard.
    Parts(Parts),
}

/// What comes out of its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// What passes the boundary behind the shard.
    Parts(Parts),
    /// Logits of the rows asked for.
    Logits(Value),
}

/// What passes a boundary: a value of each role.
pub(crate) type Parts = PerPart<(Role, Value)>;

impl Input {
    /// Hidden states alone.
    #[cfg(test)]
    pub(crate) fn hidden(value: Value) -> Self {
        Self::Parts(std::iter::once((Role::HiddenStates, value)).collect())
    }

    /// The role and width of each part; none if ids go in.
    pub(crate) fn widths(&self) -> PerPart<(Role, usize)> {
        match self {
            Self::Ids => PerPart::default(),
            Self::Parts(parts) => parts.iter().map(|(role, value)| (*role, value.width)).collect(),
        }
    }
}

impl Output {
    /// Hidden states alone.
    #[cfg(test)]
    pub(crate) fn hidden(value: Value) -> Self {
        Self::Parts(std::iter::once((Role::HiddenStates, value)).collect())
    }

    /// The role and width of each part; none if logits come out.
    pub(crate) fn widths(&self) -> PerPart<(Role, usize)> {
        match self {
            Self::Logits(_) => PerPart::default(),
            Self::Parts(parts) => parts.iter().map(|(role, value)| (*role, value.width)).collect(),
        }
    }

    /// The name and the width of each tensor that comes out.
    pub(crate) fn tensors(&self) -> PerPart<(Name, usize)> {
        match self {
            Self::Logits(logits) => std::iter::once((names::LOGITS, logits.width)).collect(),
            Self::Parts(parts) => parts.iter().map(|(role, value)| (role.output(), value.width)).collect(),
        }
    }
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

    /// Bytes of weights that one token reads, where a weight has `bytes`: of an embedding a row, of experts those that it passes.
    pub(crate) fn token_bytes(&self, bytes: &dyn Fn(&Weight) -> u64) -> u64 {
        self.ops.iter().map(|op| op.token_bytes(bytes)).fold(0, u64::saturating_add)
    }

    /// What operations keep between tokens, in order.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Kept> {
        self.ops.iter().filter_map(|op| op.kept())
    }

    /// The name that `value` has in a file: the interface's for what goes in and comes out, else its own.
    pub(crate) fn name(&self, value: Value) -> String {
        let of = |parts: &Parts| parts.iter().find(|(_, part)| *part == value).map(|(role, _)| *role);
        let input = match &self.input {
            Input::Ids => None,
            Input::Parts(parts) => of(parts).map(Role::input),
        };
        let output = match &self.output {
            Output::Parts(parts) => of(parts).map(Role::output),
            Output::Logits(logits) => (*logits == value).then_some(names::LOGITS),
        };
        input.or(output).map_or_else(|| self.names[value.id].clone(), String::from)
    }
}
