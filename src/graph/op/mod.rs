//! The operations that graphs are made of, one file each: what an operation reads and writes, its weights, what it keeps between
//! tokens, and how it is written in stock operators. Nothing else lists them but the match in `runtime` that finds an
//! operation's kernel.

mod above_mean;
mod activate;
mod add;
mod add_to_streams;
mod attend;
mod attend_shared;
mod embed;
mod experts;
mod gated;
mod gated_delta;
mod join;
mod logit_rows;
mod match_rms;
mod mix_streams;
mod multiply;
mod norm;
mod project;
mod project_heads;
mod qkv;
mod scale;
mod scale_columns;
mod selective_scan;
mod short_conv;
mod sigmoid_gate;
mod soft_cap;
mod split_heads;

use std::ops::Deref;

use super::names::Name;
use super::stock::Writer;
use super::{Kept, Value, Weight};
use crate::error::Result;
use crate::kernels::Packing;
pub(crate) use above_mean::AboveMean;
pub(crate) use activate::Activate;
pub(crate) use add::Add;
pub(crate) use add_to_streams::AddToStreams;
pub(crate) use attend::{Attend, Attention, Temperature};
pub(crate) use attend_shared::AttendShared;
pub(crate) use embed::Embed;
pub(crate) use experts::{Expert, Experts, Routing};
pub(crate) use gated::Gated;
pub(crate) use gated_delta::GatedDelta;
pub(crate) use join::Join;
pub(crate) use logit_rows::LogitRows;
pub(crate) use match_rms::MatchRms;
pub(crate) use mix_streams::MixStreams;
pub(crate) use multiply::Multiply;
pub(crate) use norm::Norm;
pub(crate) use project::Project;
pub(crate) use project_heads::ProjectHeads;
pub(crate) use qkv::Qkv;
pub(crate) use scale::Scale;
pub(crate) use scale_columns::ScaleColumns;
pub(crate) use selective_scan::SelectiveScan;
pub(crate) use short_conv::ShortConv;
pub(crate) use sigmoid_gate::SigmoidGate;
pub(crate) use soft_cap::SoftCap;
pub(crate) use split_heads::SplitHeads;

/// What the graph knows of an operation.
pub(crate) trait Operation {
    /// Its operator in the native dialect.
    fn operator(&self) -> &'static Operator;

    /// What the operation reads, in the operator's order. An optional value at the end may be left out.
    fn reads(&self) -> Vec<Read>;

    /// What the operation writes, in the operator's order. The node is named after the first value.
    fn writes(&self) -> Vec<Value>;

    /// Its tensors of the checkpoint, in order of use.
    fn weights(&self) -> Vec<&Weight> {
        Vec::new()
    }

    /// Bytes of its weights that one token reads, where a weight has `bytes`.
    fn token_bytes(&self, bytes: &dyn Fn(&Weight) -> u64) -> u64 {
        self.weights().into_iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Bytes that it needs besides what it reads and writes in a run of `rows` tokens, where matrices are packed so or not at all.
    fn scratch_bytes(&self, _rows: usize, _packing: Option<Packing>) -> usize {
        0
    }

    /// What the operation keeps between tokens.
    fn kept(&self) -> Option<Kept> {
        None
    }

    /// Whether only rows whose logits are wanted are left behind it.
    fn thins(&self) -> bool {
        false
    }

    /// Writes it in operators that stock ONNX Runtime has.
    ///
    /// # Errors
    /// [`Unsupported`](crate::error::ErrorKind::Unsupported) where those cannot compute it, with the reason. Nothing else decides
    /// that.
    fn stock(&self, writer: &mut Writer) -> Result<()>;
}

/// An operator of the native dialect, as ONNX Runtime is told of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub name: Name,
    pub inputs: &'static [Type],
    /// How many float32 tensors it writes.
    pub outputs: usize,
}

/// The type of an operator's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// float32 `[rows, width]`.
    F32,
    /// float32 `[rows, width]`, which may be left out.
    Optional,
    /// int64.
    I64,
}

/// What an operation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Value(Value),
    /// The token ids.
    Ids,
    /// The address of the run's batch.
    Batch,
    /// The indices of the rows whose logits are wanted.
    LogitRows,
}

macro_rules! operations {
    ($($operation:ident),*) => {
        /// One operation.
        #[allow(clippy::large_enum_variant, reason = "a graph has a few hundred operations")]
        #[derive(Debug, Clone)]
        pub(crate) enum Op {
            $(
                #[doc = concat!("See [`", stringify!($operation), "`].")]
                $operation($operation),
            )*
        }

        impl Deref for Op {
            type Target = dyn Operation;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(Self::$operation(operation) => operation,)*
                }
            }
        }

        $(
            impl From<$operation> for Op {
                fn from(operation: $operation) -> Self {
                    Self::$operation(operation)
                }
            }
        )*
    };
}

operations!(
    AboveMean,
    Activate,
    Add,
    AddToStreams,
    Attend,
    AttendShared,
    Embed,
    Experts,
    Gated,
    GatedDelta,
    Join,
    LogitRows,
    MatchRms,
    MixStreams,
    Multiply,
    Norm,
    Project,
    ProjectHeads,
    Qkv,
    Scale,
    ScaleColumns,
    SelectiveScan,
    ShortConv,
    SigmoidGate,
    SoftCap,
    SplitHeads
);
