//! A factor for each row, such as how much the expert counts that every token passes in Qwen's models (Bai et al., 2024).

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;

/// `out = sigmoid(gate) * x`.
#[derive(Debug, Clone)]
pub(crate) struct SigmoidGate {
    pub x: Value,
    /// A value for each row.
    pub gate: Value,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"SigmoidGate"), inputs: &[Type::F32, Type::F32], outputs: 1 };

impl Operation for SigmoidGate {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x), Read::Value(self.gate)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, gate, out) = (w.name(self.x), w.name(self.gate), w.name(self.out));
        let factor = format!("{out}.sigmoid");
        w.push(Node::new("", "Sigmoid", vec![gate], vec![factor.clone()]));
        w.push(Node::new("", "Mul", vec![x, factor], vec![out]));
        Ok(())
    }
}
