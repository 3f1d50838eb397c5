//! How weights are kept, and where quantised ones stay between loads.

use std::path::PathBuf;

use super::EngineOptions;
use crate::engine::load::Report;
use crate::error::Result;
use crate::graph::stock::Blocks;
use crate::graph::{Graph, Weight};
use crate::kernels::Packing;
use crate::model::Range;
use crate::runtime::Runtime;
use crate::source::absolute;
use crate::weights::{self, DEFAULT_LIMIT, Store, Stored, WeightTable};

/// How weights are kept and multiplied.
///
/// Matrices only, the embedding and the head among them: norms and biases always stay as they are. Whatever the precision,
/// every partition of a model, every batch and every number of threads gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// The best for the device; on the processor, [`Exact`](Self::Exact).
    #[default]
    Auto,
    /// The checkpoint's own bf16, fp16 or f32 weights: on the processor read in place, in float32 arithmetic; on CUDA in
    /// arithmetic of their own type, or bfloat16 for f32.
    Exact,
    /// 8 bits a weight, one scale for 128 of a row: nearly exact, half the memory of bf16, twice its decode speed.
    Int8,
    /// 4 bits a weight, one scale for 128 of a row: the fastest and smallest.
    Int4,
    /// 4 bits a weight, one scale for 32 of a row: closer to exact than [`Int4`](Self::Int4), a tenth slower.
    Int4Fine,
}

impl Precision {
    /// Bytes of the weights `wanted`, of which `stored` are those in the checkpoint.
    pub(crate) fn bytes(self, wanted: &[&Weight], stored: impl Fn(&Weight) -> u64) -> u64 {
        match self.packing() {
            None => wanted.iter().map(|weight| stored(weight)).sum(),
            Some(packing) => weights::packed_bytes(wanted, packing, stored),
        }
    }

    /// Bytes that a run of `rows` tokens keeps for quantised activations.
    pub(crate) fn scratch_bytes(self, graph: &Graph, rows: usize) -> u64 {
        graph.scratch_bytes(rows, self.packing()) as u64
    }

    /// How it packs matrices, if it does.
    fn packing(self) -> Option<Packing> {
        match self {
            Self::Auto | Self::Exact => None,
            Self::Int8 => Some(Packing::Int8),
            Self::Int4 => Some(Packing::Int4),
            Self::Int4Fine => Some(Packing::Int4Fine),
        }
    }

    /// The same in the words of ONNX Runtime's own operators.
    pub(crate) fn blocks(self) -> Option<Blocks> {
        self.packing().map(|packing| Blocks { bits: packing.bits(), columns: packing.block() })
    }
}

/// Where quantised weights are kept: quantising takes seconds, mapping what was quantised before milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PackCache {
    /// `ORTSHARD_CACHE`, else `$XDG_CACHE_HOME/ortshard`, else `~/.cache/ortshard`; none if there is no such place.
    #[default]
    Default,
    /// This folder, made if need be.
    Folder(PathBuf),
    /// Nowhere: quantised at each load, into memory of this process.
    Off,
}

impl PackCache {
    /// The folder of packed shards, if any.
    pub(crate) fn store(&self, limit: u64) -> Option<Store> {
        let folder = match self {
            Self::Off => return None,
            Self::Folder(folder) => absolute(folder),
            Self::Default => absolute(&default_folder()?),
        };
        Some(Store::new(folder, if limit == 0 { DEFAULT_LIMIT } else { limit }))
    }
}

fn default_folder() -> Option<PathBuf> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || path("HOME").or_else(|| path("USERPROFILE")).map(|home| home.join(".cache"));
    path("ORTSHARD_CACHE").or_else(|| Some(path("XDG_CACHE_HOME").or_else(user)?.join("ortshard")))
}

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
