//! A shard's session: its graph in one of two dialects, behind one way to run it.
//!
//! On the processor the graph is written in this library's own operators, which read the mapped weights. For any other
//! device it is written in ONNX Runtime's, which get the weights in one type, or, quantised, as codes and scales. Both take and
//! give float32 rows, so requests do not see which it is.

mod output;
mod rows;
mod stock;

pub(crate) use output::{Given, Results, Sink, Want};
pub(crate) use rows::{Best, Kept, Rows};
pub(crate) use stock::{StockSession, copied_bytes};

use std::ffi::CStr;
use std::sync::Arc;

use crate::engine::memory::{Budget, KvRows, Reservation, SHRINK_FROM, Slots, run_of};
use crate::engine::options::{Device, Packer, Target};
use crate::error::{Result, Site, bail};
use crate::graph::{self, Graph, names};
use crate::kept::{KeptShape, KvCache};
use crate::kernels::Dtype;
use crate::model::ModelConfig;
use crate::runtime::{self, Batch, Cancel, Placement, Tensor, TensorMut, Values};
use crate::weights::WeightTable;
use rows::Out;
use stock::is_device_failure;

/// A shard's graph, ready to run.
#[derive(Debug)]
pub(crate) struct Session {
    dialect: Dialect,
    /// Rows one run may have.
    pub rows: usize,
    /// Whether its output is logits.
    pub is_last: bool,
    width: usize,
    /// Where it runs.
    pub device: Device,
    pub placement: Placement,
    memory: Vec<Reservation>,
}

#[derive(Debug)]
enum Dialect {
    Native(runtime::Session),
    Stock(StockSession),
}

impl Session {
    /// The session of `graph` where `target` says, or on the processor if that fails and need not be.
    pub(crate) fn new(
        target: &Target,
        packer: &Packer,
        graph: &Graph,
        config: &ModelConfig,
        weights: &Arc<WeightTable>,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        if !target.stock() {
            return Self::native(packer, graph, weights, budget);
        }
        match Self::stock(target, packer, graph, config, weights, budget) {
            Err(error) if target.may_fall_back() && is_device_failure(&error) => {
                log::warn!("the shard cannot run on {}: {}; using cpu", target.device, error.chain());
                Self::native(packer, graph, weights, budget)
            }
            other => other,
        }
    }

    fn native(packer: &Packer, graph: &Graph, weights: &Arc<WeightTable>, budget: &Arc<Budget>) -> Result<Self> {
        let (rows, limit) = run_of(&Target::PROCESSOR, graph, budget);
        let run = limit.map_or(0, |limit| limit + packer.scratch_bytes(graph, rows));
        let memory = budget.reserve(run, Site::Load, "the memory of a run")?;
        Self::native_within(limit, graph, weights, rows, vec![memory])
    }

    /// A session in the native dialect whose arena takes at most `limit` bytes.
    pub(crate) fn native_within(
        limit: Option<u64>,
        graph: &Graph,
        weights: &Arc<WeightTable>,
        rows: usize,
        memory: Vec<Reservation>,
    ) -> Result<Self> {
        let session = runtime::Session::native(graph, Arc::clone(weights), limit)?;
        let placement = Placement { nodes: graph.ops.len(), cpu_nodes: graph.ops.len() };
        Ok(Self::of(Dialect::Native(session), graph, rows, Device::Cpu, placement, memory))
    }

    fn stock(
        target: &Target,
        packer: &Packer,
        graph: &Graph,
        config: &ModelConfig,
        weights: &Arc<WeightTable>,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        let (session, placement, rows, memory) = StockSession::new(target, packer, graph, config, weights, budget)?;
        Ok(Self::of(Dialect::Stock(session), graph, rows, target.device, placement, memory))
    }

    /// Bytes it has taken from the budget.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.iter().map(Reservation::bytes).sum()
    }

    fn of(
        dialect: Dialect,
        graph: &Graph,
        rows: usize,
        device: Device,
        placement: Placement,
        memory: Vec<Reservation>,
    ) -> Self {
        let (is_last, width) = match graph.output {
            graph::Output::Hidden(value) => (false, value.width),
            graph::Output::Logits(value) => (true, value.width),
        };
        Self { dialect, rows, is_last, width, device, placement, memory }
    }

    /// One run: the rows of `batch` through the graph into `out`, hidden states of every row or logits of the `wanted`.
    pub(crate) fn run(&self, input: Rows, batch: &mut Batch, wanted: &[i64], out: Out, cancel: &Cancel) -> Result<()> {
        let _inside = runtime::enter()?;
        match (&self.dialect, out) {
            (Dialect::Native(session), Out::Host(out)) => self.run_native(session, input, batch, wanted, out, cancel),
            (Dialect::Native(_), _) => bail!(Internal, "results on a device of a session that is not"),
            (Dialect::Stock(session), out) => session.run(input, batch, wanted, out, cancel),
        }
    }

    fn run_native(
        &self,
        session: &runtime::Session,
        input: Rows,
        batch: &Batch,
        wanted: &[i64],
        out: &mut [f32],
        cancel: &Cancel,
    ) -> Result<()> {
        let address = [batch.address()];
        let (name, rows) = input.tensor()?;
        let address = Tensor::new(&address, &[1])?;
        let wanted = Tensor::new(wanted, &[wanted.len()])?;
        let out_rows = out.len() / self.width;
        let mut out = TensorMut::new(out, &[out_rows, self.width])?;
        let mut values = Values::new(3, 1);
        values.input(name, &rows);
        values.input(names::BATCH.c(), &address);
        if self.is_last {
            values.input(names::LOGIT_ROWS.c(), &wanted);
        }
        values.output(self.output(), &mut out);
        session.run(&mut values, cancel, input.len() > SHRINK_FROM)
    }

    /// Bytes that a token takes in a cache of `kept`, while all layers keep it.
    pub(crate) fn kv_bytes_per_token(&self, kept: &KeptShape) -> u64 {
        match &self.dialect {
            Dialect::Native(_) => kept.bytes_per_token(),
            Dialect::Stock(session) => kept.values_per_token() * session.dtype().size() as u64,
        }
    }

    /// The name of what it is kept in.
    pub(crate) fn kv_type(&self, kept: &KeptShape) -> String {
        match &self.dialect {
            Dialect::Native(_) => kept.rows.to_string(),
            Dialect::Stock(session) => session.dtype().name().to_owned(),
        }
    }

    /// A KV cache for `capacity` tokens, of which at most `chunk` come in one run, where the session reads it, and what it takes of `budget` for itself.
    pub(crate) fn new_rows(
        &self,
        kept: &KeptShape,
        capacity: usize,
        chunk: usize,
        slots: &Slots,
        budget: &Arc<Budget>,
    ) -> Result<(KvRows, Option<Reservation>)> {
        match &self.dialect {
            Dialect::Native(_) => {
                let memory = budget.reserve(kept.bytes(capacity, chunk), Site::Kv, "a request's KV cache")?;
                Ok((KvRows::Mapped(KvCache::new(kept, capacity, chunk)?), Some(memory)))
            }
            Dialect::Stock(session) => {
                let slot = session.slot(kept, capacity, slots, budget)?;
                Ok((KvRows::Device(slot, Arc::clone(&kept.layers)), None))
            }
        }
    }

    /// The session in the stock dialect that it is.
    #[cfg(test)]
    pub(crate) fn as_stock(&self) -> Option<&StockSession> {
        match &self.dialect {
            Dialect::Native(_) => None,
            Dialect::Stock(session) => Some(session),
        }
    }

    /// Whether it must be made anew to get back memory that it had.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(&self.dialect, Dialect::Stock(session) if session.is_broken())
    }

    /// What it leaves on its device, for another session to take: its device and its type of values; `None` if it does not.
    pub(crate) fn leaves(&self) -> Option<(Device, Dtype)> {
        match &self.dialect {
            Dialect::Native(_) => None,
            Dialect::Stock(session) => Some((self.device, session.dtype())),
        }
    }

    fn output(&self) -> &'static CStr {
        if self.is_last { names::LOGITS.c() } else { names::HIDDEN_OUT.c() }
    }
}
