//! Queries, keys and values of heads that one fused projection gives head by head.

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, Node};
use crate::graph::stock::{Form, Writer};

/// A row of `x` has the query, the key and the value of the first head, then those of the second, and so on (GPT-NeoX): `out` are all
/// queries, all keys and all values. So the fused weight stays as it lies in its file.
#[derive(Debug, Clone)]
pub(crate) struct SplitHeads {
    pub x: Value,
    pub heads: usize,
    pub out: [Value; 3],
}

static OPERATOR: Operator = Operator { name: Name::new(c"SplitHeads"), inputs: &[Type::F32], outputs: 3 };

impl Operation for SplitHeads {
    fn operator(&self) -> &'static Operator {
        &OPERATOR
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        self.out.to_vec()
    }

    /// `[.., heads * 3 * dim]` seen as `[.., heads, 3 * dim]` and cut in three.
    fn stock(&self, w: &mut Writer) -> Result<()> {
        let (x, out) = (w.name(self.x), self.out.map(|value| w.name(value)));
        // What is made of an input is called after the output: others may read the same input.
        let part = |name: &str| format!("{}.{name}", out[0]);
        // A zero keeps the dimension that is there.
        let rows: &[i64] = if w.style.form == Form::File { &[0, 0] } else { &[0] };
        let (heads, width) = (self.heads as i64, (self.x.width / self.heads) as i64);
        let split = w.constant(&format!("split.{heads}.{width}"), &[rows, &[heads, width]].concat());
        let joined = self.out[0].width;
        let join = w.constant(&format!("join.{joined}"), &[rows, &[joined as i64]].concat());
        let thirds = w.constant(&format!("thirds.{width}"), &[width / 3; 3]);
        let parts = ["queries", "keys", "values"].map(part);
        w.push(Node::new("", "Reshape", vec![x.clone(), split], vec![part("heads")]));
        let cut = Node::new("", "Split", vec![part("heads"), thirds], parts.to_vec()).with(Attribute::int("axis", -1));
        w.push(cut);
        for (part, out) in parts.into_iter().zip(out) {
            w.push(Node::new("", "Reshape", vec![part, join.clone()], vec![out]));
        }
        Ok(())
    }
}
