//! Two values side by side.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, Node};
use crate::graph::stock::Writer;

/// `out` = the columns of `a`, and behind them those of `b`.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub a: Value,
    pub b: Value,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Join"), inputs: &[Type::F32, Type::F32], outputs: 1 };

impl Operation for Join {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        [self.a, self.b].map(Read::Value).to_vec()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (input, out) = (vec![w.name(self.a), w.name(self.b)], w.name(self.out));
        w.push(Node::new("", "Concat", input, vec![out]).with(Attribute::int("axis", -1)));
        Ok(())
    }
}
