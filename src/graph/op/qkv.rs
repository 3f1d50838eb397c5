//! The three projections in front of attention.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Linear, Value, Weight};

/// `out[i] = linears[i](x)`: queries, keys and values, which are one task list where one thread pool computes them.
#[derive(Debug, Clone)]
pub(crate) struct Qkv {
    pub x: Value,
    pub linears: [Linear; 3],
    pub out: [Value; 3],
}

static OPERATOR: Operator = Operator { name: Name::new(c"Qkv"), inputs: &[Type::F32], outputs: 3 };

impl Operation for Qkv {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        self.out.to_vec()
    }

    fn weights(&self) -> Vec<&Weight> {
        self.linears.iter().flat_map(Linear::weights).collect()
    }

    fn linear_input(&self) -> Option<usize> {
        Some(self.x.width)
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        for (linear, out) in self.linears.iter().zip(self.out) {
            let (x, out) = (w.name(self.x), w.name(out));
            w.linear(x, linear, out);
        }
        Ok(())
    }
}
