//! Values held below a cap, smoothly (Gemma 2).

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;

/// `out = cap * tanh(x / cap)`.
#[derive(Debug, Clone)]
pub(crate) struct SoftCap {
    pub x: Value,
    pub cap: f32,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"SoftCap"), inputs: &[Type::F32], outputs: 1 };

impl Operation for SoftCap {
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
        let (cap, part) = (w.scalar(self.cap), |name: &str| format!("{out}.{name}"));
        w.push(Node::new("", "Div", vec![x, cap.clone()], vec![part("ratio")]));
        w.push(Node::new("", "Tanh", vec![part("ratio")], vec![part("tanh")]));
        w.push(Node::new("", "Mul", vec![part("tanh"), cap], vec![out.clone()]));
        Ok(())
    }
}
