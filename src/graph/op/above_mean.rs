//! The largest values of each row, found by where they lie in a normal distribution (Gemma 3n's sparse activations).

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::stock::Writer;

/// `out = max(x - cutoff, 0)`, with each row's mean and so many standard deviations as its cutoff.
#[derive(Debug, Clone)]
pub(crate) struct AboveMean {
    pub x: Value,
    pub deviations: f32,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"AboveMean"), inputs: &[Type::F32], outputs: 1 };

impl Operation for AboveMean {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a sparse activation is not written in stock operators")
    }
}
