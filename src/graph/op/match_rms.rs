//! Rows made as large as those of another value.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::stock::Writer;

/// `out = x * rms(like) / rms(x)` in each row. A mean square of `x` below `least` counts as that.
#[derive(Debug, Clone)]
pub(crate) struct MatchRms {
    pub x: Value,
    pub like: Value,
    pub least: f32,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"MatchRms"), inputs: &[Type::F32, Type::F32], outputs: 1 };

impl Operation for MatchRms {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        [self.x, self.like].map(Read::Value).to_vec()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a layer of several streams (AltUp) is not written in stock operators")
    }
}
