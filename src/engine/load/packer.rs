//! How a shard's weights are made from the checkpoint's.

use super::progress::Report;
use crate::engine::options::{EngineOptions, Precision};
use crate::error::Result;
use crate::graph::stock::Blocks;
use crate::graph::{Graph, Weight};
use crate::kernels::Packing;
use crate::model::Range;
use crate::runtime::Runtime;
use crate::weights::{self, MappedTensor, Store, WeightTable};

/// How a shard's weights are made from the checkpoint's.
#[derive(Debug, Clone)]
pub(crate) struct Packer {
    precision: Precision,
    store: Option<Store>,
    name: String,
}

impl Packer {
    /// The packer for layers `range` of the model called `model`.
    pub(crate) fn new(options: &EngineOptions, model: &str, range: Range) -> Self {
        let precision = options.precision;
        let store = precision.packing().and_then(|_| options.pack_cache.store(options.pack_cache_limit));
        // The name is for people who look into the folder. A key of the content follows it.
        let packing = precision.packing().map_or("exact", Packing::name);
        let name = format!("{model}-{}-{}-{packing}", range.start, range.end).to_lowercase();
        Self { precision, store, name }
    }

    /// The number of the precision in the C interface and in frames, which never says that the best was asked for.
    pub(crate) fn precision_code(&self) -> u32 {
        match self.precision {
            Precision::Auto | Precision::Exact => 1,
            Precision::Int8 => 2,
            Precision::Int4 => 3,
            Precision::Int4Fine => 4,
        }
    }

    /// Bytes that the weights `wanted` take when they are packed.
    pub(crate) fn bytes(&self, wanted: &[&Weight], exact: &WeightTable) -> u64 {
        self.precision.bytes(wanted, |weight| exact.get(&weight.name).map_or(0, MappedTensor::len))
    }

    /// Bytes that a run of `rows` tokens keeps for quantised activations.
    pub(crate) fn scratch_bytes(&self, graph: &Graph, rows: usize) -> u64 {
        self.precision.scratch_bytes(graph, rows)
    }

    /// The blocks in which the stock operators take packed matrices.
    pub(crate) fn blocks(&self) -> Option<Blocks> {
        self.precision.blocks()
    }

    /// The weights `wanted` as kernels read them: packed, if the shard is quantised.
    pub(crate) fn pack(&self, exact: WeightTable, wanted: &[&Weight], report: &mut Report) -> Result<WeightTable> {
        let (packing, threads) = (self.precision.packing(), Runtime::get()?.threads());
        weights::packed(exact, wanted, packing, &self.name, self.store.as_ref(), threads, &mut |event| {
            report.event(event)
        })
    }

    /// Whether the weights `wanted` lie elsewhere than in the checkpoint when they are packed.
    pub(crate) fn changes(&self, wanted: &[&Weight]) -> bool {
        self.precision.packing().is_some() || wanted.iter().any(|weight| weight.is_gathered())
    }
}
