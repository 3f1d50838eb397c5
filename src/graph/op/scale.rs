//! Multiplication of every value by one factor, such as the embedding by the root of its width, or by one for each column.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;

/// `out = factor * x`, with one factor, or one for each of several ranges of columns.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub x: Value,
    /// So many columns, one after another, and their factor.
    pub factors: Vec<(usize, f32)>,
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
        let [(_, factor)] = self.factors[..] else {
            bail!(Unsupported, "a factor for each column is not written in stock operators");
        };
        let factor = w.scalar(factor);
        w.push(Node::new("", "Mul", vec![x, factor], vec![out]));
        Ok(())
    }
}
