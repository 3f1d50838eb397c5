//! The selective scan of Mamba-2 (Dao and Gu, 2024).

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Kept, Value, Weight};
use crate::kernels::ScanShape;

/// `out = S C + skip * x` for each head, where its matrix `S` has decayed, and then taken up `x ⊗ B`: see
/// [`selective_scan`](crate::kernels::selective_scan).
#[derive(Debug, Clone)]
pub(crate) struct SelectiveScan {
    /// `x` of all heads, then `B` and `C` of all groups.
    pub x: Value,
    /// For each head, what decides its step of time.
    pub steps: Value,
    pub shape: ScanShape,
    /// `[heads]`: the logarithm of each head's rate of decay.
    pub rates: Weight,
    /// `[heads]`: added to `steps`.
    pub shifts: Weight,
    /// `[heads]`: the share of `x` that is passed on beside the matrix.
    pub skips: Weight,
    /// Which of what the shard keeps is its own: its place in [`Graph::kept`](crate::graph::Graph::kept).
    pub kept: usize,
    pub out: Value,
}

static OPERATOR: Operator =
    Operator { name: Name::new(c"SelectiveScan"), inputs: &[Type::F32, Type::F32, Type::I64], outputs: 1 };

impl Operation for SelectiveScan {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x), Read::Value(self.steps), Read::Batch]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        vec![&self.rates, &self.shifts, &self.skips]
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept::State { values: self.shape.state() })
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a selective scan is not written in stock operators")
    }
}
