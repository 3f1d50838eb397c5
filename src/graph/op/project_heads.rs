//! A matrix for each head.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Linear, Value, Weight};
use crate::kernels::Packing;

/// `x` is cut into as many heads as there are matrices, all of one shape. The first values of a head, as many as its matrix has columns,
/// become as many as it has rows; those that are left pass, behind them.
#[derive(Debug, Clone)]
pub(crate) struct ProjectHeads {
    pub x: Value,
    /// None has a bias.
    pub heads: Vec<Linear>,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"ProjectHeads"), inputs: &[Type::F32], outputs: 1 };

impl ProjectHeads {
    /// Values of a head of what goes in, and of what comes out.
    pub(crate) fn widths(x: Value, heads: &[Linear]) -> (usize, usize) {
        let width = x.width / heads.len().max(1);
        let (rows, cols) = heads.first().map_or((0, 0), |head| (head.out(), head.weight.shape[1]));
        (width, rows + width.saturating_sub(cols))
    }
}

impl Operation for ProjectHeads {
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
        self.heads.iter().flat_map(Linear::weights).collect()
    }

    fn scratch_bytes(&self, rows: usize, packing: Option<Packing>) -> usize {
        let cols = self.heads.first().map_or(0, |head| head.weight.shape[1]);
        packing.map_or(0, |packing| packing.scratch_bytes(rows.saturating_mul(self.heads.len()), cols))
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a matrix for each head (latent attention) is not written in stock operators")
    }
}
