//! How weights are kept.

use crate::graph::stock::Blocks;
use crate::graph::{Graph, Weight};
use crate::kernels::Packing;
use crate::weights;

/// How weights are kept and multiplied.
///
/// The precision is about matrices only, the embedding and the output head among them; norms and biases always stay exact. With every
/// precision, each partition of a model, each batch and each number of threads gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// The best for the device; on the processor, [`Exact`](Self::Exact).
    #[default]
    Auto,
    /// The checkpoint's own bf16, fp16 or f32 weights. The processor reads them in place and computes in float32; CUDA computes in the
    /// type of the weights, or in bfloat16 for f32.
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

    /// How matrices are packed; `None` if they are not.
    pub(crate) fn packing(self) -> Option<Packing> {
        match self {
            Self::Auto | Self::Exact => None,
            Self::Int8 => Some(Packing::Int8),
            Self::Int4 => Some(Packing::Int4),
            Self::Int4Fine => Some(Packing::Int4Fine),
        }
    }

    /// The blocks in which the stock operators take packed matrices.
    pub(crate) fn blocks(self) -> Option<Blocks> {
        self.packing().map(|packing| Blocks { bits: packing.bits(), columns: packing.block() })
    }
}
