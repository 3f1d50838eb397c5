//! Multiplication by weights, such as a factor that a layer has learned for its result.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;
use crate::graph::{Value, Weight};

/// `out = weight * x`, with one weight for all values or one for each column.
#[derive(Debug, Clone)]
pub(crate) struct ScaleColumns {
    pub x: Value,
    /// `[1]` or `[width]`.
    pub weight: Weight,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"ScaleColumns"), inputs: &[Type::F32], outputs: 1 };

impl Operation for ScaleColumns {
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
        let input = vec![w.name(self.x), w.weight(&self.weight)];
        let out = w.name(self.out);
        w.push(Node::new("", "Mul", input, vec![out]));
        Ok(())
    }
}
