//! Normalisation of each row.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, Node};
use crate::graph::stock::Writer;
use crate::graph::{Value, Weight};

/// `out = x / rms(x) * weight`: root mean square norm (Zhang and Sennrich, 2019).
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub x: Value,
    pub weight: Weight,
    pub eps: f32,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Norm"), inputs: &[Type::F32], outputs: 1 };

impl Operation for Norm {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        vec![&self.weight]
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, out) = (w.name(self.x), w.name(self.out));
        w.norm(x, &self.weight, self.eps, out);
        Ok(())
    }
}

impl Writer<'_> {
    /// The norm of the last axis of `x`.
    pub(super) fn norm(&mut self, x: String, weight: &Weight, eps: f32, out: String) {
        let node = Node::new("", "SimplifiedLayerNormalization", vec![x, self.weight(weight)], vec![out])
            .with(Attribute::int("axis", -1))
            .with(Attribute::float("epsilon", eps))
            .with(Attribute::int("stash_type", 1));
        self.push(node);
    }
}
