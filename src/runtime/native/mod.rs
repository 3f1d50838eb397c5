//! The native dialect's operators: an operation of the graph and tensors in, `kernels` called.
//!
//! Each session registers its own instances, which hold the shard's operations and weight table; the kernel of a node is made from
//! the operation whose index the node carries, and finds its tensors by name, once, when the session is made.
#![allow(unsafe_code, reason = "operators are registered with ONNX Runtime through its C API")]

mod elementwise;
mod kernels;
pub(super) mod operator;
mod recurrent;
mod shared;
mod streams;

use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ort::sys;

use crate::error::{Result, Site, err};
use crate::graph::native::DOMAIN;
use crate::graph::op::Operator;
use crate::graph::{Graph, Op};
use crate::kernels::Isa;
use crate::runtime::native::operator::{Kernel, Nodes, Registered};
use crate::runtime::process::exit;
use crate::runtime::process::status::check;
use crate::runtime::run::session::c_string;
use crate::weights::WeightTable;
use elementwise::{AboveMean, Elementwise, ScaleColumns, SigmoidGate};
use kernels::{Attend, Embed, Experts, Gated, Join, LogitRows, Normalise, Project, ProjectHeads, Qkv, SplitHeads};
use recurrent::{GatedDelta, SelectiveScan, ShortConv};
use shared::Shared;
use streams::{AddToStreams, MatchRms, MixStreams};

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
            Op::AboveMean(op) => Box::new(AboveMean::new(op, shared)),
            Op::Activate(op) => Box::new(Elementwise::activate(op, shared)),
            Op::Add(op) => Box::new(Elementwise::add(op, shared)),
            Op::AddToStreams(op) => Box::new(AddToStreams::new(op, shared)),
            Op::Attend(op) => Box::new(Attend::new(op, shared)?),
            Op::AttendShared(op) => Box::new(Attend::shared(op, shared)?),
            Op::Embed(op) => Box::new(Embed::new(op, &shared)?),
            Op::Experts(op) => Box::new(Experts::new(op, shared)?),
            Op::Gated(op) => Box::new(Gated::new(op, shared)?),
            Op::GatedDelta(op) => Box::new(GatedDelta::new(op, shared)?),
            Op::MatchRms(op) => Box::new(MatchRms::new(op, shared)),
            Op::MixStreams(op) => Box::new(MixStreams::new(op, shared)),
            Op::Join(op) => Box::new(Join::new(op)),
            Op::Multiply(op) => Box::new(Elementwise::multiply(op, shared)),
            Op::Norm(op) => Box::new(Normalise::new(op, shared)?),
            Op::Project(op) => Box::new(Project::new(op, shared)?),
            Op::ProjectHeads(op) => Box::new(ProjectHeads::new(op, shared)?),
            Op::Qkv(op) => Box::new(Qkv::new(op, shared)?),
            Op::LogitRows(op) => Box::new(LogitRows::new(op)),
            Op::Scale(op) => Box::new(Elementwise::scale(op, shared)),
            Op::ScaleColumns(op) => Box::new(ScaleColumns::new(op, shared)?),
            Op::SelectiveScan(op) => Box::new(SelectiveScan::new(op, shared)?),
            Op::ShortConv(op) => Box::new(ShortConv::new(op, shared)?),
            Op::SigmoidGate(op) => Box::new(SigmoidGate::new(op, shared)),
            Op::SoftCap(op) => Box::new(Elementwise::soft_cap(op, shared)),
            Op::SplitHeads(op) => Box::new(SplitHeads::new(op)),
        })
    }
}
