//! Attention to the keys and values of an earlier layer.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::Name;
use crate::graph::stock::Writer;
use crate::graph::{Attention, Value, Weight};

/// As [`Attend`](super::Attend), over rows that another operation keeps. Those of this run's tokens are there: what queries are made of has
/// passed that operation's layer.
#[derive(Debug, Clone)]
pub(crate) struct AttendShared {
    pub queries: Value,
    pub attention: Attention,
    /// Which of what the shard keeps it reads: its place in [`Graph::kept`](crate::graph::Graph::kept).
    pub kept: usize,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"AttendShared"), inputs: &[Type::F32, Type::I64], outputs: 1 };

impl Operation for AttendShared {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.queries), Read::Batch]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        self.attention.query_norm.iter().chain(&self.attention.sinks).collect()
    }

    /// `GroupQueryAttention` appends the keys and values that it is given.
    fn stock(&self, _: &mut Writer) -> Result<()> {
        bail!(Unsupported, "attention to the keys and values of an earlier layer is not written in stock operators")
    }
}
