//! An activation on its own, as in an MLP without a gate.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, Node};
use crate::graph::stock::Writer;
use crate::kernels::Activation;

/// `out = activation(x)`.
#[derive(Debug, Clone)]
pub(crate) struct Activate {
    pub x: Value,
    pub activation: Activation,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Activate"), inputs: &[Type::F32], outputs: 1 };

impl Operation for Activate {
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
        w.activation(&x, self.activation, &out)?;
        Ok(())
    }
}

impl Writer<'_> {
    /// `out = activation(x)`.
    pub(super) fn activation(&mut self, x: &str, activation: Activation, out: &str) -> Result<()> {
        let part = |name: &str| format!("{out}.{name}");
        let (input, output) = (vec![x.to_owned()], vec![out.to_owned()]);
        match activation {
            Activation::Silu => {
                self.push(Node::new("", "Sigmoid", input, vec![part("sigmoid")]));
                self.push(Node::new("", "Mul", vec![x.to_owned(), part("sigmoid")], output));
            }
            Activation::Gelu => self.push(Node::new("", "Gelu", input, output)),
            Activation::GeluTanh => {
                self.push(Node::new("", "Gelu", input, output).with(Attribute::string("approximate", "tanh")));
            }
            Activation::Relu => self.push(Node::new("", "Relu", input, output)),
            Activation::Relu2 => {
                self.push(Node::new("", "Relu", input, vec![part("relu")]));
                self.push(Node::new("", "Mul", vec![part("relu"), part("relu")], output));
            }
            Activation::ClampedSwiglu { .. } => {
                bail!(Unsupported, "a clamped SwiGLU is not written in stock operators")
            }
        }
        Ok(())
    }
}
