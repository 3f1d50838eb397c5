//! A shard's session: its graph in one of two dialects, behind one way to run it.
//!
//! On the processor the graph is written in this library's native operators, which read the mapped weights. For any other device it
//! is written in stock operators, those that ONNX Runtime brings, which get the weights in one type or, quantised, as codes and scales. Both
//! take and give float32 rows, so requests do not see the difference.

mod sink;
mod stock;

pub(crate) use sink::{Best, Given, Results, Sink};
pub(crate) use stock::{StockSession, copied_bytes};

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::engine::load::Packer;
use crate::engine::memory::{Budget, KeptStore, Reservation, SHRINK_FROM, Slots, run_of};
use crate::engine::options::{Device, Target};
use crate::error::{Result, Site, bail};
use crate::graph::names::{self, Name};
use crate::graph::{self, Graph, PerPart};
use crate::kept::{KeptShape, KeptState, Room};
use crate::kernels::Dtype;
use crate::model::ModelConfig;
use crate::runtime::{self, Batch, Cancel, Placement, Rows, Tensor, TensorMut, Values};
use crate::weights::WeightTable;
use stock::is_device_failure;

/// A shard's graph, ready to run.
#[derive(Debug)]
pub(crate) struct Session {
    dialect: Dialect,
    /// The most rows that one run may have.
    pub rows: usize,
    /// Whether the session gives logits.
    pub is_last: bool,
    /// The name and the width of each tensor that it gives.
    gives: PerPart<(Name, usize)>,
    /// The device that the session runs on.
    pub device: Device,
    pub placement: Placement,
    memory: Vec<Reservation>,
    /// Each run holds it under a memory limit, because the arena has room for one run.
    turn: Option<Mutex<()>>,
}

#[derive(Debug)]
enum Dialect {
    Native(runtime::Session),
    Stock(StockSession),
}

impl Session {
    /// The session of `graph` on `target`. If it cannot be made there, and the target is not required, it is made on the processor.
    pub(crate) fn new(
        target: &Target,
        packer: &Packer,
        graph: &Graph,
        config: &ModelConfig,
        weights: &Arc<WeightTable>,
        budget: &Arc<Budget>,
    ) -> Result<Self> {
        let native = || Self::native(packer, graph, weights, budget);
        let session = if target.stock() {
            match StockSession::new(target, packer, graph, config, weights, budget) {
                Err(error) if target.may_fall_back() && is_device_failure(&error) => {
                    log::warn!("the shard cannot run on {}: {}; using cpu", target.device, error.chain());
                    native()
                }
                made => made.map(|(session, placement, rows, memory)| {
                    Self::of(Dialect::Stock(session), graph, rows, target.device, placement, memory)
                }),
            }
        } else {
            native()
        };
        Ok(Self { turn: budget.limit().map(|_| Mutex::new(())), ..session? })
    }

    fn native(packer: &Packer, graph: &Graph, weights: &Arc<WeightTable>, budget: &Arc<Budget>) -> Result<Self> {
        let scratch = |rows| packer.scratch_bytes(graph, rows);
        let (rows, limit) = run_of(&Target::PROCESSOR, graph, scratch, budget);
        let run = limit.map_or(0, |limit| limit + scratch(rows));
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

    /// Bytes that the session has taken from the budget.
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
        let is_last = matches!(graph.output, graph::Output::Logits(_));
        let gives = graph.output.tensors();
        Self { dialect, rows, is_last, gives, device, placement, memory, turn: None }
    }

    /// Waits for the run in progress, if the arena has room for one at a time.
    pub(crate) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        self.turn.as_ref().map(Mutex::lock)
    }

    /// Runs the rows `input` of the requests in `batch` through the graph into `sink`, which gets hidden states of every row, or logits
    /// of the rows `wanted`.
    pub(crate) fn run(
        &self,
        input: Rows,
        batch: &Batch,
        wanted: &[i64],
        sink: &mut Sink,
        cancel: &Cancel,
    ) -> Result<()> {
        let _inside = runtime::enter()?;
        let session = match &self.dialect {
            Dialect::Native(session) => session,
            Dialect::Stock(session) => return session.run(input, batch, wanted, sink, cancel),
        };
        let Sink::Host(out) = sink else { bail!(Internal, "results on a device of a session that is not on one") };
        let rows = match input {
            Rows::Ids(ids) => vec![(names::INPUT_IDS.c(), Tensor::new(ids, &[ids.len()])?)],
            Rows::Parts(parts) => {
                let tensors = parts.iter().map(|part| Tensor::new(part.values, &[input.len(), part.width]));
                let names = parts.iter().map(|part| part.role.input().c());
                names.zip(tensors).map(|(name, tensor)| Ok((name, tensor?))).collect::<Result<_>>()?
            }
            Rows::Device(..) => bail!(Internal, "rows on a device for a session that is not on one"),
        };
        let address = [batch.address()];
        let address = Tensor::new(&address, &[1])?;
        let gives = if self.is_last { wanted.len() } else { input.len() };
        let wanted = Tensor::new(wanted, &[wanted.len()])?;
        let out = self.gives.iter().zip(out.rows_mut(0..gives)?);
        let mut out = out.map(|((_, width), out)| TensorMut::new(out, &[gives, *width])).collect::<Result<Vec<_>>>()?;
        let mut values = Values::new(2 + rows.len(), out.len());
        for (name, rows) in &rows {
            values.input(name, rows);
        }
        values.input(names::BATCH.c(), &address);
        if self.is_last {
            values.input(names::LOGIT_ROWS.c(), &wanted);
        }
        self.gives.iter().zip(&mut out).for_each(|((name, _), out)| values.output(name.c(), out));
        session.run(&mut values, cancel, input.len() > SHRINK_FROM)
    }

    /// Bytes that a token takes in a KV cache of shape `kept`, while all layers keep the token.
    pub(crate) fn kv_bytes_per_token(&self, kept: &KeptShape) -> u64 {
        match &self.dialect {
            Dialect::Native(_) => kept.bytes_per_token(),
            Dialect::Stock(session) => kept.values_per_token() * session.dtype().size() as u64,
        }
    }

    /// The name of the type in which KV caches are kept.
    pub(crate) fn kv_type(&self, kept: &KeptShape) -> String {
        match &self.dialect {
            Dialect::Native(_) => kept.rows.to_string(),
            Dialect::Stock(session) => session.dtype().name().to_owned(),
        }
    }

    /// What keeps as much as a request has `room` for, where the session reads it.
    pub(crate) fn new_kept(
        &self,
        kept: &KeptShape,
        room: Room,
        slots: &Slots,
        budget: &Arc<Budget>,
    ) -> Result<KeptStore> {
        match &self.dialect {
            Dialect::Native(_) => {
                let memory = budget.reserve(kept.bytes(room), Site::Kv, "a request's KV cache")?;
                Ok(KeptStore::Mapped { cache: KeptState::new(kept, room)?, _memory: memory })
            }
            Dialect::Stock(session) => {
                let slot = session.slot(kept, room.capacity, slots, budget)?;
                Ok(KeptStore::Device(slot, Arc::clone(&kept.layers)))
            }
        }
    }

    /// The session in the stock dialect, if this is one.
    #[cfg(test)]
    pub(crate) fn as_stock(&self) -> Option<&StockSession> {
        match &self.dialect {
            Dialect::Native(_) => None,
            Dialect::Stock(session) => Some(session),
        }
    }

    /// Whether the session has lost memory and must be made anew to get it back.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(&self.dialect, Dialect::Stock(session) if session.is_broken())
    }

    /// The device on which the session leaves its results, and their type, if another session there can take them.
    pub(crate) fn results_on_device(&self) -> Option<(Device, Dtype)> {
        match &self.dialect {
            Dialect::Native(_) => None,
            Dialect::Stock(session) => session.passes_on_device().then(|| (self.device, session.dtype())),
        }
    }
}
