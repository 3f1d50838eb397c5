//! One value added to each of several streams: the correction of alternating updates (Baykal et al., 2023).

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::stock::Writer;

/// Each stream of `x` plus `add`, as it is or times one more than the row's factor for the stream.
#[derive(Debug, Clone)]
pub(crate) struct AddToStreams {
    /// Streams one after another, each as wide as `add`.
    pub x: Value,
    pub add: Value,
    /// As wide as there are streams.
    pub factors: Option<Value>,
    pub out: Value,
}

static OPERATOR: Operator =
    Operator { name: Name::new(c"AddToStreams"), inputs: &[Type::F32, Type::F32, Type::Optional], outputs: 1 };

impl Operation for AddToStreams {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        [self.x, self.add].into_iter().chain(self.factors).map(Read::Value).collect()
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "a layer of several streams (AltUp) is not written in stock operators")
    }
}
