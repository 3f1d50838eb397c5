//! A short causal convolution of each channel (depthwise), in front of a linear attention or in its place.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Kept, Value, Weight};
use crate::kernels::ConvShape;

/// `out = after * activation(bias + the sum of weight[k] * before * x over the last tokens)`, with `x` and what multiplies it in front
/// and behind as columns of one value.
#[derive(Debug, Clone)]
pub(crate) struct ShortConv {
    pub x: Value,
    pub shape: ConvShape,
    /// `[channels, taps]`.
    pub weight: Weight,
    /// `[channels]`.
    pub bias: Option<Weight>,
    /// Which of what the shard keeps is its own: its place in [`Graph::kept`](crate::graph::Graph::kept).
    pub kept: usize,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"ShortConv"), inputs: &[Type::F32, Type::I64], outputs: 1 };

impl Operation for ShortConv {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x), Read::Batch]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        std::iter::once(&self.weight).chain(&self.bias).collect()
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept::State { values: self.shape.state() })
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a convolution over tokens is not written in stock operators")
    }
}
