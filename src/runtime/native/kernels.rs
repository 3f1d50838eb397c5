//! The kernels of the native operators: one for each operation, with its weights found.
#![allow(unsafe_code, reason = "the batch arrives as an address")]

use std::ops::Range;

use super::shared::{Shared, Weights};
use crate::error::{Error, Result, Site, bail, err};
use crate::graph::{self, Temperature, op};
use crate::kernels::{self, Activation, AttentionInputs, AttentionShape, Expert, Map, Matrix, Norm, Routes, Routing};
use crate::runtime::native::operator::{Context, Kernel};
use crate::runtime::run::batch::{Batch, Segment};
use crate::weights::MappedTensor;

/// The matrix of a tensor that may be left out.
fn matrix(stored: Option<&MappedTensor>) -> Option<Matrix<'_>> {
    stored.map(MappedTensor::matrix)
}

pub(super) struct Embed {
    table: MappedTensor,
    first_for_others: bool,
}

impl Embed {
    pub(super) fn new(op: &op::Embed, shared: &Shared) -> Result<Self> {
        Ok(Self { table: shared.tensor(&op.table)?, first_for_others: op.first_for_others })
    }
}

impl Kernel for Embed {
    fn compute(&self, context: &Context) -> Result<()> {
        let (mut ids, table) = (context.i64(0)?, self.table.matrix());
        let out = context.output(0, ids.len(), table.cols)?;
        let with_row: Vec<i64>;
        if self.first_for_others {
            with_row = ids.iter().map(|id| if *id < table.rows as i64 { *id } else { 0 }).collect();
            ids = &with_row;
        }
        kernels::embed(ids, &table, out)
            .map_err(|index| err!(OutOfRange, "token id {} at index {index} is not in the vocabulary", ids[index]))
    }
}

pub(super) struct Normalise {
    norm: Norm,
    width: usize,
    weight: Option<MappedTensor>,
    bias: Option<MappedTensor>,
    row: usize,
    shared: Shared,
}

impl Normalise {
    pub(super) fn new(op: &op::Norm, shared: Shared) -> Result<Self> {
        let (weight, bias) = (shared.optional(op.weight.as_ref())?, shared.optional(op.bias.as_ref())?);
        Ok(Self { norm: op.kind, width: op.width, weight, bias, row: op.x.width, shared })
    }
}

impl Kernel for Normalise {
    fn compute(&self, context: &Context) -> Result<()> {
        let x = context.f32(0)?;
        let (weight, bias) = (matrix(self.weight.as_ref()), matrix(self.bias.as_ref()));
        let out = context.output(0, x.len() / self.row, self.row)?;
        let pool = context.pool(self.shared.threads);
        let isa = self.shared.isa;
        kernels::norm(isa, &pool, &self.norm, x, self.width, weight.as_ref(), bias.as_ref(), out);
        pool.finish()
    }
}

pub(super) struct Project {
    linear: Weights,
    shared: Shared,
}

impl Project {
    pub(super) fn new(op: &op::Project, shared: Shared) -> Result<Self> {
        Ok(Self { linear: shared.linear(&op.linear)?, shared })
    }
}

impl Kernel for Project {
    fn compute(&self, context: &Context) -> Result<()> {
        let (weight, bias) = self.linear.matrices();
        let x = context.f32(0)?;
        let out = context.output(0, x.len() / weight.cols, weight.rows)?;
        let pool = context.pool(self.shared.threads);
        kernels::linear(self.shared.isa, &pool, x, &weight, bias.as_ref(), context.optional(1)?, out);
        pool.finish()
    }
}

pub(super) struct ProjectHeads {
    heads: Vec<Weights>,
    /// Values of a head of what goes in, and of what comes out.
    widths: (usize, usize),
    shared: Shared,
}

impl ProjectHeads {
    pub(super) fn new(op: &op::ProjectHeads, shared: Shared) -> Result<Self> {
        let heads = op.heads.iter().map(|head| shared.linear(head)).collect::<Result<_>>()?;
        Ok(Self { heads, widths: op::ProjectHeads::widths(op.x, &op.heads), shared })
    }
}

impl Kernel for ProjectHeads {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, (width, out_width)) = (context.f32(0)?, self.widths);
        let out = context.output(0, x.len() / (self.heads.len() * width), self.heads.len() * out_width)?;
        let heads: Vec<Matrix> = self.heads.iter().map(|head| head.matrices().0).collect();
        let pool = context.pool(self.shared.threads);
        kernels::linear_heads(self.shared.isa, &pool, x, width, &heads, out);
        pool.finish()
    }
}

pub(super) struct Qkv {
    linears: [Weights; 3],
    shared: Shared,
}

impl Qkv {
    pub(super) fn new(op: &op::Qkv, shared: Shared) -> Result<Self> {
        let [q, k, v] = &op.linears;
        Ok(Self { linears: [shared.linear(q)?, shared.linear(k)?, shared.linear(v)?], shared })
    }
}

impl Kernel for Qkv {
    fn compute(&self, context: &Context) -> Result<()> {
        let x = context.f32(0)?;
        let [q, k, v] = [0, 1, 2].map(|i| {
            let (weight, bias) = self.linears[i].matrices();
            context.output(i, x.len() / weight.cols, weight.rows).map(|y| Map {
                weights: weight,
                bias,
                residual: None,
                y,
            })
        });
        let pool = context.pool(self.shared.threads);
        kernels::linear_many(self.shared.isa, &pool, x, &mut [q?, k?, v?]);
        pool.finish()
    }
}

pub(super) struct Gated {
    gate: Weights,
    up: Weights,
    activation: Activation,
    shared: Shared,
}

impl Gated {
    pub(super) fn new(op: &op::Gated, shared: Shared) -> Result<Self> {
        let (gate, up) = (shared.linear(&op.gate)?, shared.linear(&op.up)?);
        Ok(Self { gate, up, activation: op.activation, shared })
    }
}

impl Kernel for Gated {
    fn compute(&self, context: &Context) -> Result<()> {
        let ((gate, gate_bias), (up, up_bias)) = (self.gate.matrices(), self.up.matrices());
        let x = context.f32(0)?;
        let out = context.output(0, x.len() / gate.cols, gate.rows)?;
        let pool = context.pool(self.shared.threads);
        let (isa, activation) = (self.shared.isa, self.activation);
        kernels::gated(isa, &pool, x, &gate, gate_bias.as_ref(), &up, up_bias.as_ref(), activation, out);
        pool.finish()
    }
}

pub(super) struct Experts {
    routing: graph::Routing,
    bias: Option<Vec<f32>>,
    expert_scales: Option<Vec<f32>>,
    /// Gate, up and down of each.
    members: Vec<(Option<Weights>, Weights, Weights)>,
    activation: Activation,
    width: usize,
    shared: Shared,
}

impl Experts {
    pub(super) fn new(op: &op::Experts, shared: Shared) -> Result<Self> {
        let expert = |expert: &graph::Expert| {
            let gate = expert.gate.as_ref().map(|gate| shared.linear(gate)).transpose()?;
            Ok((gate, shared.linear(&expert.up)?, shared.linear(&expert.down)?))
        };
        let experts = op.members.iter().map(expert).collect::<Result<_>>()?;
        let vector = |weight: &Option<graph::Weight>| weight.as_ref().map(|weight| shared.vector(weight)).transpose();
        let (bias, expert_scales) = (vector(&op.routing.bias)?, vector(&op.routing.expert_scales)?);
        Ok(Self {
            routing: op.routing.clone(),
            bias,
            expert_scales,
            members: experts,
            activation: op.activation,
            width: op.x.width,
            shared,
        })
    }
}

impl Kernel for Experts {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, scores) = (context.f32(0)?, context.f32(1)?);
        let (rows, top_k) = (x.len() / self.width, self.routing.top_k);
        let out = context.output(0, rows, self.width)?;
        let pool = context.pool(self.shared.threads);
        let graph::Routing { score, normalise, least_sum, sum_offset, groups, scale, .. } = self.routing;
        let routing = Routing {
            score,
            top_k,
            normalise,
            least_sum,
            sum_offset,
            bias_for_choice: self.bias.as_deref(),
            groups,
            scale,
        };
        let (mut ids, mut weights) = (vec![0; rows * top_k], vec![0.0; rows * top_k]);
        kernels::route(&pool, scores, self.members.len(), &routing, &mut ids, &mut weights);
        if let Some(scales) = &self.expert_scales {
            weights.iter_mut().zip(&ids).for_each(|(weight, id)| *weight *= scales[*id as usize]);
        }
        let experts: Vec<Expert> = self
            .members
            .iter()
            .map(|(gate, up, down)| Expert {
                gate: gate.as_ref().map(Weights::projection),
                up: up.projection(),
                down: down.projection(),
            })
            .collect();
        let routes = Routes { top_k, ids: &ids, weights: &weights, on_input: self.routing.on_input };
        let residual = context.optional(2)?;
        kernels::experts(self.shared.isa, &pool, x, &routes, &experts, self.activation, residual, out).map_err(
            |kernels::OutOfMemory { bytes }| {
                Error::oom(Site::Run, "cpu", bytes as u64, "the rows of a layer of experts")
            },
        )?;
        pool.finish()
    }
}

pub(super) struct Attend {
    kept: usize,
    /// Whether the rows are another layer's, which has written them.
    is_shared: bool,
    rope: usize,
    shape: AttentionShape,
    q_norm: Option<MappedTensor>,
    k_norm: Option<MappedTensor>,
    sinks: Option<MappedTensor>,
    temperature: Option<Temperature>,
    shared: Shared,
}

impl Attend {
    pub(super) fn new(op: &op::Attend, shared: Shared) -> Result<Self> {
        Self::of(&op.attention, op.kept, false, shared)
    }

    /// Of what another layer keeps.
    pub(super) fn shared(op: &op::AttendShared, shared: Shared) -> Result<Self> {
        Self::of(&op.attention, op.kept, true, shared)
    }

    fn of(a: &graph::Attention, kept: usize, is_shared: bool, shared: Shared) -> Result<Self> {
        let (q_norm, k_norm) = (shared.optional(a.query_norm.as_ref())?, shared.optional(a.key_norm.as_ref())?);
        let sinks = shared.optional(a.sinks.as_ref())?;
        Ok(Self {
            kept,
            is_shared,
            rope: a.rope,
            shape: a.shape,
            q_norm,
            k_norm,
            sinks,
            temperature: a.temperature,
            shared,
        })
    }
}

impl Kernel for Attend {
    fn compute(&self, context: &Context) -> Result<()> {
        let q = context.f32(0)?;
        let (k, v) = if self.is_shared { (&[][..], &[][..]) } else { (context.f32(1)?, context.f32(2)?) };
        let [address] = *context.i64(if self.is_shared { 1 } else { 3 })? else {
            bail!(Internal, "the batch input is not one address")
        };
        // SAFETY: the engine passes the address of the batch it runs, which outlives the run.
        let batch = unsafe { Batch::from_address(address) }.ok_or_else(|| err!(Internal, "no batch"))?;
        let s = &self.shape;
        // SAFETY: the attention nodes that share these rows run one after another, since each computes what the next one reads.
        let mut segments = unsafe { batch.rows(self.kept, s) }?;
        let rows = q.len() / (s.heads * s.head_dim);
        let out = context.output(0, rows, s.heads * s.value_dim())?;
        // Layers without rotation may stand beside others that have one.
        let (cos, sin) = match batch.angles.get(self.rope) {
            _ if s.rotary_pairs == 0 => (&[][..], &[][..]),
            Some(angles) => (&angles.cos[..], &angles.sin[..]),
            None => bail!(Internal, "the batch has no angles of rotation {}", self.rope),
        };
        if cos.len() != rows * s.rotary_pairs || segments.iter().map(|s| s.tokens).sum::<usize>() != rows {
            bail!(Internal, "the batch describes other rows than the run has");
        }
        let [q_norm, k_norm, sinks] = [&self.q_norm, &self.k_norm, &self.sinks].map(|stored| matrix(stored.as_ref()));
        let temperature: Option<Vec<f32>> = self.temperature.map(|temperature| {
            batch.segments.iter().flat_map(Segment::rows).map(|position| temperature.at(position)).collect()
        });
        let temperature = temperature.as_deref();
        let inputs = AttentionInputs { q, k, v, cos, sin, q_norm, k_norm, sinks, temperature };
        let pool = context.pool(self.shared.threads);
        kernels::attention(self.shared.isa, &pool, s, &inputs, &mut segments, out);
        pool.finish()
    }
}

pub(super) struct SplitHeads {
    heads: usize,
    /// Values of all parts of a head.
    width: usize,
    /// Of each output, which parts of a head go into it: where each begins, and its values.
    out: Vec<Vec<(usize, usize)>>,
}

impl SplitHeads {
    pub(super) fn new(op: &op::SplitHeads) -> Self {
        let begin = |part: usize| op.parts[..part].iter().sum::<usize>();
        let parts = |range: &Range<usize>| range.clone().map(|part| (begin(part), op.parts[part])).collect();
        let out = op.out.iter().map(|(range, _)| parts(range)).collect();
        Self { heads: op.heads, width: op.parts.iter().sum(), out }
    }
}

impl Kernel for SplitHeads {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, row) = (context.f32(0)?, self.heads * self.width);
        for (i, parts) in self.out.iter().enumerate() {
            let joined = self.heads * parts.iter().map(|(_, width)| width).sum::<usize>();
            let mut out = context.output(i, x.len() / row, joined)?;
            for row in x.chunks_exact(row) {
                for (begin, width) in parts {
                    for head in row.chunks_exact(self.width) {
                        let (part, rest) = out.split_at_mut(*width);
                        part.copy_from_slice(&head[*begin..][..*width]);
                        out = rest;
                    }
                }
            }
        }
        Ok(())
    }
}

pub(super) struct Join {
    widths: [usize; 2],
}

impl Join {
    pub(super) fn new(op: &op::Join) -> Self {
        Self { widths: [op.a.width, op.b.width] }
    }
}

impl Kernel for Join {
    fn compute(&self, context: &Context) -> Result<()> {
        let (a, b, [first, second]) = (context.f32(0)?, context.f32(1)?, self.widths);
        let out = context.output(0, a.len() / first, first + second)?;
        let rows = a.chunks_exact(first).zip(b.chunks_exact(second));
        for (out, (a, b)) in out.chunks_exact_mut(first + second).zip(rows) {
            out[..first].copy_from_slice(a);
            out[first..].copy_from_slice(b);
        }
        Ok(())
    }
}

pub(super) struct LogitRows {
    width: usize,
}

impl LogitRows {
    pub(super) fn new(op: &op::LogitRows) -> Self {
        Self { width: op.x.width }
    }
}

impl Kernel for LogitRows {
    fn compute(&self, context: &Context) -> Result<()> {
        let (x, wanted) = (context.f32(0)?, context.i64(1)?);
        let out = context.output(0, wanted.len(), self.width)?;
        for (out, row) in out.chunks_exact_mut(self.width).zip(wanted) {
            let from = usize::try_from(*row).ok().and_then(|row| x.chunks_exact(self.width).nth(row));
            out.copy_from_slice(from.ok_or_else(|| err!(Internal, "the run has no row {row}"))?);
        }
        Ok(())
    }
}
