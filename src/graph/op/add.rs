//! The sum of two values, such as a block's result and the residual stream.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;

/// `out = a + factor * b`.
#[derive(Debug, Clone)]
pub(crate) struct Add {
    pub a: Value,
    pub b: Value,
    /// 1 in most models.
    pub factor: f32,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Add"), inputs: &[Type::F32, Type::F32], outputs: 1 };

impl Operation for Add {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.a), Read::Value(self.b)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    #[allow(clippy::float_cmp, reason = "a factor of exactly one is none")]
    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (a, mut b, out) = (w.name(self.a), w.name(self.b), w.name(self.out));
        if self.factor != 1.0 {
            let (factor, scaled) = (w.scalar(self.factor), format!("{out}.product"));
            w.push(Node::new("", "Mul", vec![b, factor], vec![scaled.clone()]));
            b = scaled;
        }
        w.push(Node::new("", "Add", vec![a, b], vec![out]));
        Ok(())
    }
}
