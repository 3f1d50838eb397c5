//! A gate on each value, such as that behind the attention of Qwen3-Next.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;
use crate::kernels::Gate;

/// `out = x * sigmoid(gates)`, `x * silu(gates)` or `x * gates`.
#[derive(Debug, Clone)]
pub(crate) struct Multiply {
    pub x: Value,
    /// As wide as `x`.
    pub gates: Value,
    pub gate: Gate,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Multiply"), inputs: &[Type::F32, Type::F32], outputs: 1 };

impl Operation for Multiply {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x), Read::Value(self.gates)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, gates, out) = (w.name(self.x), w.name(self.gates), w.name(self.out));
        let factor = match self.gate {
            Gate::Plain => gates,
            Gate::Sigmoid | Gate::Silu => {
                let sigmoid = format!("{out}.sigmoid");
                w.push(Node::new("", "Sigmoid", vec![gates.clone()], vec![sigmoid.clone()]));
                if self.gate == Gate::Sigmoid {
                    sigmoid
                } else {
                    let silu = format!("{out}.silu");
                    w.push(Node::new("", "Mul", vec![gates, sigmoid], vec![silu.clone()]));
                    silu
                }
            }
        };
        w.push(Node::new("", "Mul", vec![x, factor], vec![out]));
        Ok(())
    }
}
