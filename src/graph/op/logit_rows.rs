//! The rows whose logits are wanted.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::{LOGIT_ROWS, Name};
use crate::graph::onnx::Node;
use crate::graph::stock::{Form, Writer};

/// `out = x[logit_rows]`. In a file, where logits come for every position, nothing.
#[derive(Debug, Clone)]
pub(crate) struct LogitRows {
    pub x: Value,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"LogitRows"), inputs: &[Type::F32, Type::I64], outputs: 1 };

impl Operation for LogitRows {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x), Read::LogitRows]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn thins(&self) -> bool {
        true
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        if w.style.form == Form::File {
            w.is_the_same(self.out, self.x);
            return Ok(());
        }
        let (input, out) = (vec![w.name(self.x), LOGIT_ROWS.into()], w.name(self.out));
        w.push(Node::new("", "Gather", input, vec![out]));
        Ok(())
    }
}
