//! The native dialect's operators: an operation of the graph and tensors in, `kernels` called.
//!
//! Each session registers its own instances, which hold the shard's operations and weight table; the kernel of a node is made from
//! the operation whose index the node carries, and finds its tensors by name, once, when the session is made.
#![allow(unsafe_code, reason = "operators are registered with ONNX Runtime, and the batch arrives as an address")]

use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ort::sys;

use super::batch::Batch;
use super::exit;
use super::operator::{Call, Kernel, Nodes, Registered};
use super::session::c_string;
use super::status::check;
use crate::error::{Result, Site, bail, err};
use crate::graph::native::DOMAIN;
use crate::graph::op::Operator;
use crate::graph::{Attention, Graph, Linear, Op, Weight};
use crate::kernels::{self, AttentionShape, Isa, Map, Matrix};
use crate::weights::{Stored, WeightTable};

/// The operators of one session.
#[derive(Debug)]
pub(super) struct Domain {
    domain: NonNull<sys::OrtCustomOpDomain>,
    #[allow(clippy::vec_box, reason = "ONNX Runtime holds their addresses")]
    operators: Vec<Box<Registered>>,
}

// SAFETY: written only by `new`; afterwards ONNX Runtime reads it, from any thread.
unsafe impl Send for Domain {}
// SAFETY: as above.
unsafe impl Sync for Domain {}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registered")
    }
}

/// What every operator of a session shares.
#[derive(Clone)]
struct Shared {
    ops: Arc<[Op]>,
    weights: Arc<WeightTable>,
    threads: usize,
    isa: Isa,
}

impl Domain {
    /// The operators of `graph` over `weights`.
    pub(super) fn new(graph: &Graph, weights: Arc<WeightTable>, threads: usize) -> Result<Self> {
        const DOING: &str = "registering operators";
        let api = ort::api();
        let shared = Shared { ops: Arc::clone(&graph.ops), weights, threads, isa: Isa::detect() };
        let mut domain = null_mut();
        let name = c_string(DOMAIN)?;
        // SAFETY: a valid name, copied by the call.
        check(unsafe { (api.CreateCustomOpDomain)(name.as_ptr(), &raw mut domain) }, Site::Load, DOING)?;
        let domain = NonNull::new(domain).ok_or_else(|| err!(Internal, "ONNX Runtime returned no domain"))?;
        let mut domain = Self { domain, operators: Vec::new() };
        let mut operators: Vec<&'static Operator> = Vec::new();
        for operator in graph.ops.iter().map(|op| op.operator()) {
            if operators.contains(&operator) {
                continue;
            }
            operators.push(operator);
            let operator = Registered::new(Box::new(Native { operator, shared: shared.clone() }));
            // SAFETY: the operator is boxed and kept by the domain, so its address stays valid.
            check(unsafe { (api.CustomOpDomain_Add)(domain.domain.as_ptr(), operator.as_ptr()) }, Site::Load, DOING)?;
            domain.operators.push(operator);
        }
        Ok(domain)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::OrtCustomOpDomain {
        self.domain.as_ptr()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        exit::release(|| {
            // SAFETY: made by `new`, released once, after the session that used it.
            unsafe { (ort::api().ReleaseCustomOpDomain)(self.domain.as_ptr()) }
        });
    }
}

/// One operator of the native dialect: every operation of its kind is a node of it.
struct Native {
    operator: &'static Operator,
    shared: Shared,
}

impl Nodes for Native {
    fn operator(&self) -> &'static Operator {
        self.operator
    }

    fn kernel(&self, operation: usize) -> Result<Box<dyn Kernel>> {
        let shared = self.shared.clone();
        let ops = Arc::clone(&shared.ops);
        let op = ops.get(operation).filter(|op| op.operator() == self.operator);
        let op = op.ok_or_else(|| err!(Internal, "operation {operation} is no {}", self.operator.name.text()))?;
        Ok(match op {
            Op::Embed(op) => Box::new(Embed { table: shared.tensor(&op.table)? }),
            Op::Norm(op) => Box::new(Norm { weight: shared.tensor(&op.weight)?, eps: op.eps, shared }),
            Op::Project(op) => Box::new(Project { linear: shared.linear(&op.linear)?, shared }),
            Op::Qkv(op) => {
                let [q, k, v] = &op.linears;
                Box::new(Qkv { linears: [shared.linear(q)?, shared.linear(k)?, shared.linear(v)?], shared })
            }
            Op::Gated(op) => Box::new(Gated { gate: shared.linear(&op.gate)?, up: shared.linear(&op.up)?, shared }),
            Op::Attend(op) => Box::new(Attend::new(&op.attention, shared)?),
            Op::Rows(op) => Box::new(Rows { width: op.x.width }),
        })
    }
}

/// A weight matrix and its bias.
struct Weights {
    weight: Stored,
    bias: Option<Stored>,
}

impl Weights {
    fn matrices(&self) -> (Matrix<'_>, Option<Matrix<'_>>) {
        (self.weight.matrix(), self.bias.as_ref().map(Stored::matrix))
    }
}

impl Shared {
    fn tensor(&self, weight: &Weight) -> Result<Stored> {
        let name = &weight.name;
        self.weights.get(name).cloned().ok_or_else(|| err!(Internal, "the shard has no tensor `{name}`"))
    }

    fn linear(&self, linear: &Linear) -> Result<Weights> {
        let bias = linear.bias.as_ref().map(|bias| self.tensor(bias)).transpose()?;
        Ok(Weights { weight: self.tensor(&linear.weight)?, bias })
    }
}

struct Embed {
    table: Stored,
}

impl Kernel for Embed {
    fn compute(&self, call: &Call) -> Result<()> {
        let (ids, table) = (call.i64(0)?, self.table.matrix());
        let out = call.output(0, ids.len(), table.cols)?;
        kernels::embed(ids, &table, out)
            .map_err(|index| err!(OutOfRange, "token id {} at index {index} is not in the vocabulary", ids[index]))
    }
}

struct Norm {
    weight: Stored,
    eps: f32,
    shared: Shared,
}

impl Kernel for Norm {
    fn compute(&self, call: &Call) -> Result<()> {
        let (x, weight) = (call.f32(0)?, self.weight.matrix());
        let out = call.output(0, x.len() / weight.cols, weight.cols)?;
        let pool = call.pool(self.shared.threads);
        kernels::rms_norm(self.shared.isa, &pool, x, &weight, self.eps, out);
        pool.finish()
    }
}

struct Project {
    linear: Weights,
    shared: Shared,
}

impl Kernel for Project {
    fn compute(&self, call: &Call) -> Result<()> {
        let (weight, bias) = self.linear.matrices();
        let x = call.f32(0)?;
        let out = call.output(0, x.len() / weight.cols, weight.rows)?;
        let pool = call.pool(self.shared.threads);
        kernels::linear(self.shared.isa, &pool, x, &weight, bias.as_ref(), call.optional(1)?, out);
        pool.finish()
    }
}

struct Qkv {
    linears: [Weights; 3],
    shared: Shared,
}

impl Kernel for Qkv {
    fn compute(&self, call: &Call) -> Result<()> {
        let x = call.f32(0)?;
        let [q, k, v] = [0, 1, 2].map(|i| {
            let (weight, bias) = self.linears[i].matrices();
            call.output(i, x.len() / weight.cols, weight.rows).map(|y| Map { weights: weight, bias, residual: None, y })
        });
        let pool = call.pool(self.shared.threads);
        kernels::linear_many(self.shared.isa, &pool, x, &mut [q?, k?, v?]);
        pool.finish()
    }
}

struct Gated {
    gate: Weights,
    up: Weights,
    shared: Shared,
}

impl Kernel for Gated {
    fn compute(&self, call: &Call) -> Result<()> {
        let ((gate, gate_bias), (up, up_bias)) = (self.gate.matrices(), self.up.matrices());
        let x = call.f32(0)?;
        let out = call.output(0, x.len() / gate.cols, gate.rows)?;
        let pool = call.pool(self.shared.threads);
        kernels::swiglu(self.shared.isa, &pool, x, &gate, gate_bias.as_ref(), &up, up_bias.as_ref(), out);
        pool.finish()
    }
}

struct Attend {
    cache: usize,
    shape: AttentionShape,
    head_norm: Option<(Stored, Stored)>,
    shared: Shared,
}

impl Attend {
    fn new(attention: &Attention, shared: Shared) -> Result<Self> {
        let head_norm = attention.head_norm.as_ref();
        let shape = AttentionShape {
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            rotary_pairs: attention.rotary_pairs,
            scale: attention.scale,
            window: attention.window,
            norm_eps: head_norm.map_or(0.0, |norm| norm.eps),
        };
        let head_norm =
            head_norm.map(|norm| Ok((shared.tensor(&norm.query)?, shared.tensor(&norm.key)?))).transpose()?;
        Ok(Self { cache: attention.cache, shape, head_norm, shared })
    }
}

impl Kernel for Attend {
    fn compute(&self, call: &Call) -> Result<()> {
        let (q, k, v) = (call.f32(0)?, call.f32(1)?, call.f32(2)?);
        let [address] = *call.i64(3)? else { bail!(Internal, "the batch input is not one address") };
        // SAFETY: the engine passes the address of the batch it runs, which outlives the run.
        let batch = unsafe { Batch::from_address(address) }.ok_or_else(|| err!(Internal, "no batch"))?;
        let s = &self.shape;
        // SAFETY: this is the one attention node of its layer.
        let mut sequences = unsafe { batch.layer(self.cache, s.kv_heads, s.head_dim) }?;
        let width = s.heads * s.head_dim;
        let rows = q.len() / width;
        let out = call.output(0, rows, width)?;
        if batch.cos.len() != rows * s.rotary_pairs || sequences.iter().map(|s| s.tokens).sum::<usize>() != rows {
            bail!(Internal, "the batch describes other rows than the run has");
        }
        let norms = self.head_norm.as_ref().map(|(q, k)| (q.matrix(), k.matrix()));
        let (q_norm, k_norm) = norms.as_ref().map_or((None, None), |(q, k)| (Some(q), Some(k)));
        let pool = call.pool(self.shared.threads);
        kernels::attention(
            self.shared.isa,
            &pool,
            s,
            q,
            k,
            v,
            &batch.cos,
            &batch.sin,
            q_norm,
            k_norm,
            &mut sequences,
            out,
        );
        pool.finish()
    }
}

struct Rows {
    width: usize,
}

impl Kernel for Rows {
    fn compute(&self, call: &Call) -> Result<()> {
        let (x, wanted) = (call.f32(0)?, call.i64(1)?);
        let out = call.output(0, wanted.len(), self.width)?;
        for (out, row) in out.chunks_exact_mut(self.width).zip(wanted) {
            let from = usize::try_from(*row).ok().and_then(|row| x.chunks_exact(self.width).nth(row));
            out.copy_from_slice(from.ok_or_else(|| err!(Internal, "the run has no row {row}"))?);
        }
        Ok(())
    }
}
