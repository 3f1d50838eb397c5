//! The gated linear unit in front of an MLP's last layer (Shazeer, 2020).

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;
use crate::graph::{Linear, Value, Weight};
use crate::kernels::Activation;

/// `out = activation(gate(x)) * up(x)`.
#[derive(Debug, Clone)]
pub(crate) struct Gated {
    pub x: Value,
    pub gate: Linear,
    pub up: Linear,
    pub activation: Activation,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Gated"), inputs: &[Type::F32], outputs: 1 };

impl Operation for Gated {
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
        self.gate.weights().chain(self.up.weights()).collect()
    }

    fn linear_input(&self) -> Option<usize> {
        Some(self.x.width)
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, out) = (w.name(self.x), w.name(self.out));
        let part = |name: &str| format!("{out}.{name}");
        w.linear(x.clone(), &self.gate, part("gate"));
        w.linear(x, &self.up, part("up"));
        w.activation(&part("gate"), self.activation, &part("activated"))?;
        w.push(Node::new("", "Mul", vec![part("activated"), part("up")], vec![out]));
        Ok(())
    }
}
