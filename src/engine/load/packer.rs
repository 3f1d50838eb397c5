//! How a shard's weights are made from the checkpoint's.

use super::progress::Report;
use crate::engine::options::{EngineOptions, Precision};
use crate::error::Result;
use crate::graph::stock::Blocks;
use crate::graph::{Graph, Weight};
use crate::kernels::Packing;
use crate::model::Range;
use crate::runtime::Runtime;
use crate::weights::{self, Store, Stored, WeightTable};

/// How a shard's weights are made from the checkpoint's.
#[derive(Debug, Clone)]
pub(crate) struct Packer {
    precision: Precision,
    store: Option<Store>,
    name: String,
}

impl Packer {
    /// For the layers `range` of the model called `model`.
    pub(crate) fn new(options: &EngineOptions, model: &str, range: Range) -> Self {
        let precision = options.precision;
        let store = precision.packing().and_then(|_| options.pack_cache.store(options.pack_cache_limit));
        // For people who look into the folder; the content's own key follows.
        let packing = precision.packing().map_or("exact", Packing::name);
        let name = format!("{model}-{}-{}-{packing}", range.start, range.end).to_lowercase();
        Self { precision, store, name }
    }

    /// Bytes of the weights `wanted` once they are packed.
    pub(crate) fn bytes(&self, wanted: &[&Weight], exact: &WeightTable) -> u64 {
        self.precision.bytes(wanted, |weight| exact.get(&weight.name).map_or(0, Stored::len))
    }

    /// Bytes that a run of `rows` tokens keeps for quantised activations.
    pub(crate) fn scratch_bytes(&self, graph: &Graph, rows: usize) -> u64 {
        self.precision.scratch_bytes(graph, rows)
    }

    /// How ONNX Runtime's own operators quantise matrices as it packs them.
    pub(crate) fn blocks(&self) -> Option<Blocks> {
        self.precision.blocks()
    }

    /// The weights as the shard runs on them.
    pub(crate) fn pack(&self, exact: WeightTable, wanted: &[&Weight], report: &mut Report) -> Result<WeightTable> {
        let Some(packing) = self.precision.packing() else { return Ok(exact) };
        let threads = Runtime::get()?.threads();
        weights::packed(&exact, wanted, packing, &self.name, self.store.as_ref(), threads, &mut |event| {
            report.hear(event)
        })
    }

    /// Whether the shard runs on other bytes than the checkpoint's.
    pub(crate) fn changes(&self) -> bool {
        self.precision.packing().is_some()
    }
}
