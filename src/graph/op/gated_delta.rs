//! Linear attention by the gated delta rule (Yang et al., 2024).

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Kept, Value, Weight};
use crate::kernels::DeltaShape;

/// `out = qᵀ S` for each head, where its matrix `S` has forgotten a part of itself, and then been corrected to hold the value under the
/// key: see [`gated_delta`](crate::kernels::gated_delta).
#[derive(Debug, Clone)]
pub(crate) struct GatedDelta {
    /// Queries of all key heads, then their keys, then the values of all value heads.
    pub qkv: Value,
    /// For each value head, how far it corrects a value: a sigmoid is taken of it.
    pub corrections: Value,
    /// For each value head, what decides how much it forgets.
    pub decays: Value,
    pub shape: DeltaShape,
    /// `[value_heads]`: the logarithm of each head's rate of forgetting.
    pub rates: Weight,
    /// `[value_heads]`: added to `decays`.
    pub shifts: Weight,
    /// Which of what the shard keeps is its own: its place in [`Graph::kept`](crate::graph::Graph::kept).
    pub kept: usize,
    pub out: Value,
}

static OPERATOR: Operator =
    Operator { name: Name::new(c"GatedDelta"), inputs: &[Type::F32, Type::F32, Type::F32, Type::I64], outputs: 1 };

impl Operation for GatedDelta {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        [self.qkv, self.corrections, self.decays].into_iter().map(Read::Value).chain([Read::Batch]).collect()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        vec![&self.rates, &self.shifts]
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept::State { values: self.shape.state() })
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "the gated delta rule is not written in stock operators")
    }
}
