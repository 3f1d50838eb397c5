//! The native dialect's operators: attributes and tensors in, `kernels` called.
//!
//! Each session registers its own instances, which hold the shard's weight table; a node finds its tensors in it by
//! name, once, when the session is made.
#![allow(unsafe_code, reason = "operators are registered with ONNX Runtime, and the batch arrives as an address")]

use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ort::sys;

use super::batch::Batch;
use super::exit;
use super::operator::{Attributes, Call, Input, Kernel, Operator, Registered, Signature};
use super::session::c_string;
use super::status::check;
use crate::error::{Result, Site, bail, err};
use crate::graph::names::{attribute, op};
use crate::graph::native::DOMAIN;
use crate::kernels::{self, AttentionInputs, AttentionShape, Isa, Map, Matrix, Norm, Rotation};
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
    weights: Arc<WeightTable>,
    threads: usize,
    isa: Isa,
}

impl Domain {
    /// The operators over `weights`.
    pub(super) fn new(weights: Arc<WeightTable>, threads: usize) -> Result<Self> {
        const DOING: &str = "registering operators";
        let api = ort::api();
        let shared = Shared { weights, threads, isa: Isa::detect() };
        let mut domain = null_mut();
        let name = c_string(DOMAIN)?;
        // SAFETY: a valid name, copied by the call.
        check(unsafe { (api.CreateCustomOpDomain)(name.as_ptr(), &raw mut domain) }, Site::Load, DOING)?;
        let domain = NonNull::new(domain).ok_or_else(|| err!(Internal, "ONNX Runtime returned no domain"))?;
        let mut domain = Self { domain, operators: Vec::new() };
        for kind in [Kind::Embed, Kind::RmsNorm, Kind::Linear, Kind::Qkv, Kind::SwiGlu, Kind::Attention] {
            let operator = Registered::new(Box::new(Native { kind, shared: shared.clone() }));
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

#[derive(Clone, Copy)]
enum Kind {
    Embed,
    RmsNorm,
    Linear,
    Qkv,
    SwiGlu,
    Attention,
}

struct Native {
    kind: Kind,
    shared: Shared,
}

impl Operator for Native {
    fn signature(&self) -> &'static Signature {
        use Input::{F32, I64, Optional};
        match self.kind {
            Kind::Embed => &Signature { name: op::EMBED, inputs: &[I64], outputs: 1 },
            Kind::RmsNorm => &Signature { name: op::RMS_NORM, inputs: &[F32], outputs: 1 },
            Kind::Linear => &Signature { name: op::LINEAR, inputs: &[F32, Optional], outputs: 1 },
            Kind::Qkv => &Signature { name: op::QKV, inputs: &[F32], outputs: 3 },
            Kind::SwiGlu => &Signature { name: op::SWIGLU, inputs: &[F32], outputs: 1 },
            Kind::Attention => &Signature { name: op::ATTENTION, inputs: &[F32, F32, F32, I64], outputs: 1 },
        }
    }

    fn kernel(&self, a: &Attributes) -> Result<Box<dyn Kernel>> {
        let shared = self.shared.clone();
        let linear = |prefix: &str| shared.linear(a, prefix);
        Ok(match self.kind {
            Kind::Embed => Box::new(Embed { table: shared.required(a, attribute::WEIGHT)? }),
            Kind::RmsNorm => Box::new(RmsNorm {
                weight: shared.required(a, attribute::WEIGHT)?,
                eps: a.float(attribute::EPS)?,
                shared,
            }),
            Kind::Linear => Box::new(Linear { linear: linear(attribute::ONLY)?, shared }),
            Kind::Qkv => {
                let linears = [linear(attribute::QUERY)?, linear(attribute::KEY)?, linear(attribute::VALUE)?];
                Box::new(Qkv { linears, shared })
            }
            Kind::SwiGlu => Box::new(SwiGlu { gate: linear(attribute::GATE)?, up: linear(attribute::UP)?, shared }),
            Kind::Attention => {
                let window = a.int(attribute::WINDOW)?;
                let (query, key) = (shared.tensor(a, attribute::QUERY_NORM)?, shared.tensor(a, attribute::KEY_NORM)?);
                let head_norm = query.zip(key);
                let eps = a.float(attribute::EPS)?;
                let shape = AttentionShape {
                    heads: a.int(attribute::HEADS)?,
                    kv_heads: a.int(attribute::KV_HEADS)?,
                    head_dim: a.int(attribute::HEAD_DIM)?,
                    rotary_pairs: a.int(attribute::ROTARY_PAIRS)?,
                    rotation: Rotation::Halves,
                    scale: a.float(attribute::SCALE)?,
                    window: (window > 0).then_some(window),
                    soft_cap: None,
                    head_norm: head_norm.as_ref().map(|_| Norm::rms(eps)),
                };
                Box::new(Attention { cache: a.int(attribute::CACHE)?, shape, head_norm, shared })
            }
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
    fn tensor(&self, a: &Attributes, attribute: &str) -> Result<Option<Stored>> {
        let name = a.text(attribute)?;
        let found =
            || self.weights.get(&name).cloned().ok_or_else(|| err!(Internal, "the shard has no tensor `{name}`"));
        (!name.is_empty()).then(found).transpose()
    }

    fn required(&self, a: &Attributes, attribute: &str) -> Result<Stored> {
        self.tensor(a, attribute)?.ok_or_else(|| err!(Internal, "a node names no tensor in its attribute {attribute}"))
    }

    fn linear(&self, a: &Attributes, prefix: &str) -> Result<Weights> {
        Ok(Weights {
            weight: self.required(a, &format!("{prefix}{}", attribute::WEIGHT))?,
            bias: self.tensor(a, &format!("{prefix}{}", attribute::BIAS))?,
        })
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

struct RmsNorm {
    weight: Stored,
    eps: f32,
    shared: Shared,
}

impl Kernel for RmsNorm {
    fn compute(&self, call: &Call) -> Result<()> {
        let (x, weight) = (call.f32(0)?, self.weight.matrix());
        let out = call.output(0, x.len() / weight.cols, weight.cols)?;
        let pool = call.pool(self.shared.threads);
        kernels::rms_norm(self.shared.isa, &pool, x, &weight, self.eps, out);
        pool.finish()
    }
}

struct Linear {
    linear: Weights,
    shared: Shared,
}

impl Kernel for Linear {
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

struct SwiGlu {
    gate: Weights,
    up: Weights,
    shared: Shared,
}

impl Kernel for SwiGlu {
    fn compute(&self, call: &Call) -> Result<()> {
        let ((gate, gate_bias), (up, up_bias)) = (self.gate.matrices(), self.up.matrices());
        let x = call.f32(0)?;
        let out = call.output(0, x.len() / gate.cols, gate.rows)?;
        let pool = call.pool(self.shared.threads);
        kernels::swiglu(self.shared.isa, &pool, x, &gate, gate_bias.as_ref(), &up, up_bias.as_ref(), out);
        pool.finish()
    }
}

struct Attention {
    cache: usize,
    shape: AttentionShape,
    head_norm: Option<(Stored, Stored)>,
    shared: Shared,
}

impl Kernel for Attention {
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
        let (q_norm, k_norm) = norms.unzip();
        let (cos, sin) = (&batch.cos, &batch.sin);
        let inputs = AttentionInputs { q, k, v, cos, sin, q_norm, k_norm, ..Default::default() };
        let pool = call.pool(self.shared.threads);
        kernels::attention(self.shared.isa, &pool, s, &inputs, &mut sequences, out);
        pool.finish()
    }
}
