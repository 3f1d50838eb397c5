//! Parts of heads that one fused projection gives head by head, such as queries, keys and values; or columns of a whole row.

use std::ops::Range;

use super::{Operation, Operator, Read, Type};
use crate::error::Result;
use crate::graph::Value;
use crate::graph::names::Name;
use crate::graph::onnx::{Attribute, Node};
use crate::graph::stock::{Form, Writer};

/// A row of `x` has all parts of the first head, then those of the second, and so on (GPT-NeoX): a value of `out` has the first of its
/// parts of all heads, then the second of all, and so on. So the fused weight stays as it lies in its file.
#[derive(Debug, Clone)]
pub(crate) struct SplitHeads {
    pub x: Value,
    pub heads: usize,
    /// Values of each part of a head.
    pub parts: Vec<usize>,
    /// One to three values, and which parts go into each.
    pub out: Vec<(Range<usize>, Value)>,
}

static COLUMNS: Operator = Operator { name: Name::new(c"Columns"), inputs: &[Type::F32], outputs: 1 };
static IN_TWO: Operator = Operator { name: Name::new(c"SplitHeadsInTwo"), inputs: &[Type::F32], outputs: 2 };
static IN_THREE: Operator = Operator { name: Name::new(c"SplitHeads"), inputs: &[Type::F32], outputs: 3 };

impl Operation for SplitHeads {
    fn operator(&self) -> &'static Operator {
        match self.out.len() {
            1 => &COLUMNS,
            2 => &IN_TWO,
            _ => &IN_THREE,
        }
    }

    fn reads(&self) -> Vec<Read> {
        vec![Read::Value(self.x)]
    }

    fn writes(&self) -> Vec<Value> {
        self.out.iter().map(|(_, value)| *value).collect()
    }

    /// `[.., heads * width]` seen as `[.., heads, width]`, cut into parts, and these put together.
    fn stock(&self, w: &mut Writer) -> Result<()> {
        let x = w.name(self.x);
        let outs: Vec<String> = self.out.iter().map(|(_, value)| w.name(*value)).collect();
        // What is made of an input is called after the output: others may read the same input.
        let part = |name: &str| format!("{}.{name}", outs[0]);
        // A zero keeps the dimension that is there.
        let rows: &[i64] = if w.style.form == Form::File { &[0, 0] } else { &[0] };
        let (heads, width) = (self.heads as i64, (self.x.width / self.heads) as i64);
        let split = w.constant(&format!("split.{heads}.{width}"), &[rows, &[heads, width]].concat());
        let widths: Vec<i64> = self.parts.iter().map(|width| *width as i64).collect();
        let named: Vec<String> = widths.iter().map(i64::to_string).collect();
        let widths = w.constant(&format!("parts.{}", named.join(".")), &widths);
        let parts: Vec<String> = (0..self.parts.len()).map(|index| part(&format!("part.{index}"))).collect();
        w.push(Node::new("", "Reshape", vec![x, split], vec![part("heads")]));
        let cut = Node::new("", "Split", vec![part("heads"), widths], parts.clone());
        w.push(cut.with(Attribute::int("axis", -1)));
        for ((range, _), out) in self.out.iter().zip(&outs) {
            let mut joined = Vec::new();
            for index in range.clone() {
                let width = self.heads * self.parts[index];
                let join = w.constant(&format!("join.{width}"), &[rows, &[width as i64]].concat());
                let to = if range.len() == 1 { out.clone() } else { part(&format!("joined.{index}")) };
                w.push(Node::new("", "Reshape", vec![parts[index].clone(), join], vec![to.clone()]));
                joined.push(to);
            }
            if joined.len() > 1 {
                w.push(Node::new("", "Concat", joined, vec![out.clone()]).with(Attribute::int("axis", -1)));
            }
        }
        Ok(())
    }
}
