//! Row lookup: token ids to hidden states.

use super::{Operation, Operator, Read, Type};
use crate::error::{Result, bail};
use crate::graph::names::{INPUT_IDS, Name};
use crate::graph::onnx::Node;
use crate::graph::stock::Writer;
use crate::graph::{Value, Weight};

/// `out = table[ids]`, with `table` `[vocabulary, width]`. Where a table of fewer rows than the vocabulary has a row for all others, that is
/// the first.
#[derive(Debug, Clone)]
pub(crate) struct Embed {
    pub table: Weight,
    /// Whether ids that have no row get the first one.
    pub first_for_others: bool,
    pub out: Value,
}

static OPERATOR: Operator = Operator { name: Name::new(c"Embed"), inputs: &[Type::I64], outputs: 1 };

impl Operation for Embed {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Ids]
    }

    fn writes(&self) -> Vec<Value> {
        vec![self.out]
    }

    fn weights(&self) -> Vec<&Weight> {
        vec![&self.table]
    }

    /// A row of the table.
    fn token_bytes(&self, bytes: &dyn Fn(&Weight) -> u64) -> u64 {
        bytes(&self.table) / self.table.shape[0].max(1) as u64
    }

    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (out, ids) = (w.name(self.out), String::from(INPUT_IDS));
        if self.first_for_others {
            bail!(Unsupported, "a table without rows for some ids is not written in stock operators");
        }
        if let Some(blocks) = w.style.blocks.filter(|_| self.table.is_quantisable()) {
            w.quantised_embed(&self.table, blocks, ids, out);
            return Ok(());
        }
        let input = vec![w.weight(&self.table), ids];
        w.push(Node::new("", "Gather", input, vec![out]));
        Ok(())
    }
}
