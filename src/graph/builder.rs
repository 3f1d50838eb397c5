//! Writes a [`Graph`] operation by operation: the language of the model files.
#![allow(dead_code, reason = "the vocabulary is wider than what the families so far use")]

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::op::{
    AboveMean, Activate, Add, AddToStreams, Attend, AttendShared, Embed, Experts, Gated, GatedDelta, Join, LogitRows,
    MatchRms, MixStreams, Multiply, Norm, Op, Project, ProjectHeads, Qkv, Scale, ScaleColumns, SelectiveScan,
    ShortConv, SigmoidGate, SoftCap, SplitHeads,
};
use super::{Attention, Expert, Graph, Input, Linear, Output, Role, Routing, Value, Weight};
use crate::kernels::{self, Activation, ConvShape, DeltaShape, Gate, ScanShape};

/// A graph that grows.
#[derive(Debug)]
pub(crate) struct Builder {
    ops: Vec<Op>,
    names: Vec<String>,
    taken: HashSet<String>,
    carried: BTreeMap<Role, Value>,
    /// How many of the operations keep something between tokens.
    kept: usize,
}

impl Builder {
    /// An empty graph.
    pub(crate) fn new() -> Self {
        Self { ops: Vec::new(), names: Vec::new(), taken: HashSet::new(), carried: BTreeMap::new(), kept: 0 }
    }

    /// A value that no operation has written: a part of the shard's input.
    pub(crate) fn input(&mut self, width: usize) -> Value {
        self.value("input", width)
    }

    /// Makes `x` what layers find under `role`, and what the boundary behind the shard passes on as that.
    pub(crate) fn carry(&mut self, role: Role, x: Value) {
        self.carried.insert(role, x);
    }

    /// What there is of `role` besides hidden states, which layers get and give.
    pub(crate) fn carried(&self, role: Role) -> Option<Value> {
        self.carried.get(&role).copied()
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

    /// What is called after `x`.
    fn after(&self, x: Value, what: &str) -> String {
        format!("{}.{what}", self.names[x.id])
    }

    fn push(&mut self, op: impl Into<Op>) {
        let op = op.into();
        self.kept += usize::from(op.kept().is_some());
        self.ops.push(op);
    }

    /// Rows of `table` `[vocabulary, width]` at the input ids.
    pub(crate) fn embed(&mut self, table: Weight) -> Value {
        let out = self.value(module(&table), table.shape[1]);
        self.push(Embed { table, first_for_others: false, out });
        out
    }

    /// The same, with the first row for ids that have none.
    pub(crate) fn embed_or_first(&mut self, table: Weight) -> Value {
        let out = self.value(module(&table), table.shape[1]);
        self.push(Embed { table, first_for_others: true, out });
        out
    }

    /// Root mean square norm (Zhang and Sennrich, 2019) with the scale `name` `[width]`.
    pub(crate) fn rms_norm(&mut self, x: Value, name: &str, eps: f32) -> Value {
        self.norm(x, kernels::Norm::rms(eps), Some(Weight::new(name, [x.width])), None)
    }

    /// A norm of each row, with the scale `weight` and the shift `bias`, both `[width]`.
    pub(crate) fn norm(
        &mut self,
        x: Value,
        norm: kernels::Norm,
        weight: Option<Weight>,
        bias: Option<Weight>,
    ) -> Value {
        let name = weight.as_ref().map_or_else(|| self.after(x, "norm"), |weight| module(weight).to_owned());
        let out = self.value(&name, x.width);
        self.push(Norm { x, kind: norm, width: x.width, weight, bias, out });
        out
    }

    /// A norm of each `width` values of a row, such as a head, with the scale `weight` and the shift `bias`, both `[width]`. Where
    /// there is no bias, each head may have a scale of its own, `[heads, width]`.
    pub(crate) fn head_norm(
        &mut self,
        x: Value,
        norm: kernels::Norm,
        weight: Option<Weight>,
        bias: Option<Weight>,
        width: usize,
    ) -> Value {
        let name = weight.as_ref().map_or_else(|| self.after(x, "norm"), |weight| module(weight).to_owned());
        let out = self.value(&name, x.width);
        self.push(Norm { x, kind: norm, width, weight, bias, out });
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

    /// A matrix for each head of `x`, all of one shape: the first values of a head, as many as there are columns, become as many as
    /// there are rows, and those that are left pass, behind them.
    pub(crate) fn project_heads(&mut self, x: Value, heads: Vec<Linear>) -> Value {
        let (_, width) = ProjectHeads::widths(x, &heads);
        let name = heads.first().map_or_else(|| self.after(x, "heads"), |head| module(&head.weight).to_owned());
        let out = self.value(&name, heads.len() * width);
        self.push(ProjectHeads { x, heads, out });
        out
    }

    /// Query, key and value projections.
    pub(crate) fn qkv(&mut self, x: Value, linears: [Linear; 3]) -> [Value; 3] {
        let out = [0, 1, 2].map(|i| self.value(module(&linears[i].weight), linears[i].out()));
        self.push(Qkv { x, linears, out });
        out
    }

    /// Query, key and value out of rows in which those of each of `heads` heads lie together.
    pub(crate) fn split_heads(&mut self, x: Value, heads: usize) -> [Value; 3] {
        let out = ["query", "key", "value"].map(|part| self.value(&self.after(x, part), x.width / 3));
        let parts = vec![x.width / heads / 3; 3];
        self.push(SplitHeads {
            x,
            heads,
            parts,
            out: out.iter().enumerate().map(|(i, out)| (i..i + 1, *out)).collect(),
        });
        out
    }

    /// Two values out of rows in which `parts` of these widths of each of `heads` heads lie together: the first with all parts in front
    /// of part `cut`, part by part, the second with the others.
    pub(crate) fn split_in_two(
        &mut self,
        x: Value,
        heads: usize,
        parts: &[usize],
        cut: usize,
        names: [&str; 2],
    ) -> [Value; 2] {
        let ranges = [0..cut, cut..parts.len()];
        let out = [0, 1].map(|i| {
            let width: usize = parts[ranges[i].clone()].iter().sum();
            self.value(&self.after(x, names[i]), heads * width)
        });
        self.push(SplitHeads { x, heads, parts: parts.to_vec(), out: ranges.into_iter().zip(out).collect() });
        out
    }

    /// These columns.
    pub(crate) fn columns(&mut self, x: Value, columns: Range<usize>) -> Value {
        let out = self.value(&self.after(x, "columns"), columns.len());
        let parts = [columns.start, columns.len(), x.width - columns.end];
        let own = usize::from(columns.start > 0);
        self.push(SplitHeads {
            x,
            heads: 1,
            parts: parts.into_iter().filter(|width| *width > 0).collect(),
            out: vec![(own..own + 1, out)],
        });
        out
    }

    /// The columns of `a`, and behind them those of `b`.
    pub(crate) fn join(&mut self, a: Value, b: Value) -> Value {
        let out = self.value(&self.after(b, "joined"), a.width + b.width);
        self.push(Join { a, b, out });
        out
    }

    /// A causal convolution of each channel, with the weight `[channels, taps]`.
    pub(crate) fn short_conv(&mut self, x: Value, shape: ConvShape, weight: Weight, bias: Option<Weight>) -> Value {
        let out = self.value(module(&weight), shape.channels);
        self.push(ShortConv { x, shape, weight: weight.exact(), bias, kept: self.kept, out });
        out
    }

    /// Linear attention by the gated delta rule, of `[qkv, corrections, decays]`, with the rates and shifts of forgetting.
    pub(crate) fn gated_delta(
        &mut self,
        [qkv, corrections, decays]: [Value; 3],
        shape: DeltaShape,
        [rates, shifts]: [Weight; 2],
    ) -> Value {
        let name = format!("{}.attention", parent(module(&rates)));
        let out = self.value(&name, shape.value_heads * shape.value_width);
        self.push(GatedDelta { qkv, corrections, decays, shape, rates, shifts, kept: self.kept, out });
        out
    }

    /// Mamba-2's scan of `x`, `B` and `C` in one value, by steps of time, with the rates and shifts of decay and the shares that skip it.
    pub(crate) fn selective_scan(
        &mut self,
        [x, steps]: [Value; 2],
        shape: ScanShape,
        [rates, shifts, skips]: [Weight; 3],
    ) -> Value {
        let out = self.value(&format!("{}.scan", parent(module(&rates))), shape.inner());
        self.push(SelectiveScan { x, steps, shape, rates, shifts, skips, kept: self.kept, out });
        out
    }

    /// `x` times the sigmoid of `gates`, times `silu(gates)`, or times `gates` as they are, value by value.
    pub(crate) fn multiply(&mut self, x: Value, gates: Value, gate: Gate) -> Value {
        let out = self.value(&self.after(x, "gated"), x.width);
        self.push(Multiply { x, gates, gate, out });
        out
    }

    /// Gated linear unit (Shazeer, 2020): `activation(gate(x)) * up(x)`.
    pub(crate) fn gated(&mut self, x: Value, gate: Linear, up: Linear, activation: Activation) -> Value {
        let out = self.value(&format!("{}.gated", parent(module(&gate.weight))), gate.out());
        self.push(Gated { x, gate, up, activation, out });
        out
    }

    /// An activation on its own.
    pub(crate) fn activate(&mut self, x: Value, activation: Activation) -> Value {
        let out = self.value(&self.after(x, "activated"), x.width);
        self.push(Activate { x, activation, out });
        out
    }

    /// `factor * x`.
    pub(crate) fn scale(&mut self, x: Value, factor: f32) -> Value {
        let out = self.value(&self.after(x, "scaled"), x.width);
        self.push(Scale { x, factors: vec![(x.width, factor)], out });
        out
    }

    /// `factor * x` with another factor for each of some ranges of columns.
    pub(crate) fn scale_parts(&mut self, x: Value, factors: Vec<(usize, f32)>) -> Value {
        let out = self.value(&self.after(x, "scaled"), x.width);
        self.push(Scale { x, factors, out });
        out
    }

    /// `weight * x`, with a weight for all values, `[1]`, or one for each column, `[width]`.
    pub(crate) fn scale_columns(&mut self, x: Value, weight: Weight) -> Value {
        let out = self.value(module(&weight), x.width);
        self.push(ScaleColumns { x, weight, out });
        out
    }

    /// What lies so many standard deviations above a row's mean, or more: by how much; nothing of all else.
    pub(crate) fn above_mean(&mut self, x: Value, deviations: f32) -> Value {
        let out = self.value(&self.after(x, "sparse"), x.width);
        self.push(AboveMean { x, deviations, out });
        out
    }

    /// `x` with the root mean square of `like` in each row. A mean square below `least` counts as that.
    pub(crate) fn match_rms(&mut self, x: Value, like: Value, least: f32) -> Value {
        let out = self.value(&self.after(x, "matched"), x.width);
        self.push(MatchRms { x, like, least, out });
        out
    }

    /// To each of `n` streams, the first and the others, the sum of all: each times one of a row's `n * n` coefficients.
    pub(crate) fn mix_streams(&mut self, [first, others]: [Value; 2], coefficients: Value) -> [Value; 2] {
        let out = [first, others].map(|x| self.value(&self.after(coefficients, "mixed"), x.width));
        self.push(MixStreams { first, others, coefficients, out });
        out
    }

    /// `add` onto each stream of `x`, as it is or times one more than the row's factor for the stream.
    pub(crate) fn add_to_streams(&mut self, x: Value, add: Value, factors: Option<Value>) -> Value {
        let out = self.value(&self.after(add, "added"), x.width);
        self.push(AddToStreams { x, add, factors, out });
        out
    }

    /// `a + factor * b`.
    pub(crate) fn add(&mut self, a: Value, b: Value, factor: f32) -> Value {
        let out = self.value(&self.after(b, "added"), a.width);
        self.push(Add { a, b, factor, out });
        out
    }

    /// `sigmoid(gate) * x`, with a gate for each row.
    pub(crate) fn sigmoid_gate(&mut self, x: Value, gate: Value) -> Value {
        let out = self.value(&self.after(x, "gated"), x.width);
        self.push(SigmoidGate { x, gate, out });
        out
    }

    /// `cap * tanh(x / cap)`.
    pub(crate) fn soft_cap(&mut self, x: Value, cap: f32) -> Value {
        let out = self.value(&self.after(x, "capped"), x.width);
        self.push(SoftCap { x, cap, out });
        out
    }

    /// The sum of what the experts that `routing` chooses by `scores` make of `x`, onto `residual` where there is one.
    pub(crate) fn experts(
        &mut self,
        x: Value,
        scores: Value,
        routing: Routing,
        experts: Vec<Expert>,
        activation: Activation,
        residual: Option<Value>,
    ) -> Value {
        let around = self.names[scores.id].rsplit_once('.').map_or("", |(around, _)| around);
        let out = self.value(&format!("{around}.experts"), x.width);
        self.push(Experts { x, scores, routing, members: experts, activation, residual, out });
        out
    }

    /// Causal self-attention. Where keys are latents, `qkv` has these, and what keys have behind them, in place of keys and values.
    pub(crate) fn attention(&mut self, qkv: [Value; 3], attention: Attention) -> Value {
        let width = attention.shape.heads * attention.shape.value_dim();
        let out = self.value(&format!("layers.{}.attention", attention.layer), width);
        self.push(Attend { qkv, attention, kept: self.kept, out });
        out
    }

    /// Attention to the keys and values that layer `source` has kept: an earlier one of this graph.
    pub(crate) fn attention_to(&mut self, queries: Value, source: usize, attention: Attention) -> Value {
        let keeps = |op: &Op| match op {
            Op::Attend(attend) if attend.attention.layer == source => Some(attend.kept),
            _ => None,
        };
        // A family whose boundaries allow another cut has no kept state to read; a run says so.
        let kept = self.ops.iter().find_map(keeps).unwrap_or(usize::MAX);
        let width = attention.shape.heads * attention.shape.value_dim();
        let out = self.value(&format!("layers.{}.attention", attention.layer), width);
        self.push(AttendShared { queries, attention, kept, out });
        out
    }

    /// The rows whose logits are wanted.
    pub(crate) fn rows(&mut self, x: Value) -> Value {
        let out = self.value("wanted_rows", x.width);
        self.push(LogitRows { x, out });
        out
    }

    /// The finished graph.
    pub(crate) fn finish(self, input: Input, output: Output) -> Graph {
        Graph { input, output, ops: self.ops.into(), names: self.names }
    }
}

/// The module that a tensor belongs to, for the names of values: `layers.7.mlp.down_proj` of `model.layers.7.mlp.down_proj.weight` and
/// of each of its parts.
fn module(weight: &Weight) -> &str {
    let name = weight.tensor();
    let name = ["model.", "gpt_neox."].iter().find_map(|base| name.strip_prefix(base)).unwrap_or(name);
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The module around another one.
fn parent(module: &str) -> &str {
    module.rsplit_once('.').map_or(module, |(parent, _)| parent)
}
