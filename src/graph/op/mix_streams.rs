//! Sums of streams with coefficients that each row has of its own: the prediction of alternating updates (Baykal et al., 2023).

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::stock::Writer;

/// Of `n` streams, stream `i` plus the sum of each stream `j` times the row's coefficient `i * n + j`. The first stream is a value of its
/// own, the others lie one after another in a second one.
#[derive(Debug, Clone)]
pub(crate) struct MixStreams {
    pub first: Value,
    pub others: Value,
    /// `n * n` wide.
    pub coefficients: Value,
    /// As `first` and `others`.
    pub out: [Value; 2],
}

static OPERATOR: Operator =
    Operator { name: Name::new(c"MixStreams"), inputs: &[Type::F32, Type::F32, Type::F32], outputs: 2 };

impl Operation for MixStreams {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        [self.first, self.others, self.coefficients].map(Read::Value).to_vec()
    }

    fn writes(&self) -> Vec<Value> {
        self.out.to_vec()
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a layer of several streams (AltUp) is not written in stock operators")
    }
}
