//! A linear layer, onto the residual stream or not.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, MICROSOFT, Node};
use crate::graph::stock::{Form, Writer};
use crate::graph::{Linear, Value, Weight};

/// `out = linear(x)`, plus `residual` where there is one.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub x: Value,
    pub linear: Linear,
    pub residual: Option<Value>,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Project"), inputs: &[Type::F32, Type::Optional], outputs: 1 };

impl Operation for Project {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        std::iter::once(self.x).chain(self.residual).map(Read::Value).collect()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        self.linear.weights().collect()
    }

    fn linear_input(&self) -> Option<usize> {
        Some(self.x.width)
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, out) = (w.name(self.x), w.name(self.out));
        match self.residual.map(|residual| w.name(residual)) {
            None => w.linear(x, &self.linear, out),
            Some(residual) => {
                let product = format!("{out}.product");
                w.linear(x, &self.linear, product.clone());
                w.push(Node::new("", "Add", vec![residual, product], vec![out]));
            }
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// The linear layer `linear` of `x`.
    pub(super) fn linear(&mut self, x: String, linear: &Linear, out: String) {
        let bias = linear.bias.as_ref().map(|bias| self.weight(bias));
        let blocks = self.style.blocks.filter(|_| linear.weight.is_quantisable());
        if self.style.form == Form::Session && blocks.is_none() {
            let input = [x, self.weight(&linear.weight)].into_iter().chain(bias).collect();
            return self.push(Node::new("", "Gemm", input, vec![out]).with(Attribute::int("transB", 1)));
        }
        let product = if bias.is_some() { format!("{out}.matmul") } else { out.clone() };
        let node = match blocks {
            Some(blocks) => self.matmul_nbits(x, &linear.weight, blocks, product.clone()),
            None => Node::new(MICROSOFT, "FusedMatMul", vec![x, self.weight(&linear.weight)], vec![product.clone()])
                .with(Attribute::int("transB", 1)),
        };
        self.push(node);
        if let Some(bias) = bias {
            self.push(Node::new("", "Add", vec![product, bias], vec![out]));
        }
    }
}
