//! Writes a [`Graph`] operation by operation: the language of the model files.

use std::collections::HashSet;

use super::op::{Attend, Embed, Gated, Norm, Op, Project, Qkv, Rows};
use super::{Attention, Graph, Input, Linear, Output, Value, Weight};

/// A graph that grows.
#[derive(Debug)]
pub(crate) struct Builder {
    ops: Vec<Op>,
    names: Vec<String>,
    taken: HashSet<String>,
}

impl Builder {
    /// An empty graph.
    pub(crate) fn new() -> Self {
        Self { ops: Vec::new(), names: Vec::new(), taken: HashSet::new() }
    }

    /// A value that no operation has written: the shard's input.
    pub(crate) fn input(&mut self, width: usize) -> Value {
        self.value("input", width)
    }

    /// A new value, called `name`, or something like it if another one is.
    fn value(&mut self, name: &str, width: usize) -> Value {
        let (mut free, mut count) = (name.to_owned(), 1);
        while !self.taken.insert(free.clone()) {
            count += 1;
            free = format!("{name}.{count}");
        }
        self.names.push(free);
        Value { id: self.names.len() - 1, width }
    }

    fn push(&mut self, op: impl Into<Op>) {
        self.ops.push(op.into());
    }

    /// Rows of `table` `[vocabulary, width]` at the input ids.
    pub(crate) fn embed(&mut self, table: Weight) -> Value {
        let out = self.value(module(&table), table.shape[1]);
        self.push(Embed { table, out });
        out
    }

    /// Root mean square norm (Zhang and Sennrich, 2019) with the scale `name` `[width]`.
    pub(crate) fn rms_norm(&mut self, x: Value, name: &str, eps: f32) -> Value {
        let weight = Weight::new(name, [x.width]);
        let out = self.value(module(&weight), x.width);
        self.push(Norm { x, weight, eps, out });
        out
    }

    /// A linear layer.
    pub(crate) fn linear(&mut self, x: Value, linear: Linear) -> Value {
        let out = self.value(module(&linear.weight), linear.out());
        self.push(Project { x, linear, residual: None, out });
        out
    }

    /// A linear layer onto the residual stream: `residual + linear(x)`.
    pub(crate) fn linear_onto(&mut self, residual: Value, x: Value, linear: Linear) -> Value {
        let out = self.value(module(&linear.weight), linear.out());
        self.push(Project { x, linear, residual: Some(residual), out });
        out
    }

    /// Query, key and value projections.
    pub(crate) fn qkv(&mut self, x: Value, linears: [Linear; 3]) -> [Value; 3] {
        let out = [0, 1, 2].map(|i| self.value(module(&linears[i].weight), linears[i].out()));
        self.push(Qkv { x, linears, out });
        out
    }

    /// Gated linear unit with `silu` (Shazeer, 2020).
    pub(crate) fn swiglu(&mut self, x: Value, gate: Linear, up: Linear) -> Value {
        let out = self.value(&format!("{}.gated", parent(module(&gate.weight))), gate.out());
        self.push(Gated { x, gate, up, out });
        out
    }

    /// Causal self-attention.
    pub(crate) fn attention(&mut self, qkv: [Value; 3], attention: Attention) -> Value {
        let out = self.value(&format!("layers.{}.attention", attention.layer), qkv[0].width);
        self.push(Attend { qkv, attention, out });
        out
    }

    /// The rows whose logits are wanted.
    pub(crate) fn rows(&mut self, x: Value) -> Value {
        let out = self.value("wanted_rows", x.width);
        self.push(Rows { x, out });
        out
    }

    /// The finished graph.
    pub(crate) fn finish(self, input: Input, output: Output) -> Graph {
        Graph { input, output, ops: self.ops.into(), names: self.names }
    }
}

/// The module that a tensor belongs to, for the names of values: `layers.7.mlp.down_proj` of `model.layers.7.mlp.down_proj.weight`.
fn module(weight: &Weight) -> &str {
    let name = weight.name.as_str();
    let name = name.strip_prefix("model.").unwrap_or(name);
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The module around another one.
fn parent(module: &str) -> &str {
    module.rsplit_once('.').map_or(module, |(parent, _)| parent)
}
