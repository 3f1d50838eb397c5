//! Multiplication of every value by one factor, such as the embedding by the root of its width.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;

/// `out = factor * x`.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub x: Value,
    pub factor: f32,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Scale"), inputs: &[Type::F32], outputs: 1 };

impl Operation for Scale {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, out) = (w.name(self.x), w.name(self.out));
        let factor = w.scalar(self.factor);
        w.push(Node::new("", "Mul", vec![x, factor], vec![out]));
        Ok(())
    }
}
