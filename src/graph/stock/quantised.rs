//! Quantised matrices in stock operators: `MatMulNBits`, and `GatherBlockQuantized` on the same bytes.

use super::super::onnx::{Attribute, ElementType, MICROSOFT, Node};
use super::{Blocks, Content, Weight, Writer};

impl Writer<'_> {
    /// The codes of a quantised matrix in the shape that an operator wants, and its scales `[rows, blocks]`.
    fn quantised(&mut self, weight: &Weight, name: &str, shape: &[usize], blocks: usize) -> [String; 2] {
        let codes = Content::Codes(weight.name.clone());
        let scales = Content::Scales(weight.name.clone());
        [
            self.external(name, ElementType::U8, shape, codes),
            self.external(&format!("{}.scales", weight.name), self.style.element, &[weight.shape[0], blocks], scales),
        ]
    }

    /// The rows of `table` at `ids`.
    pub(crate) fn quantised_embed(
        &mut self,
        table: &Weight,
        Blocks { bits, columns }: Blocks,
        ids: String,
        out: String,
    ) {
        // The rows as `MatMulNBits` has them, which may be longer than the embedding.
        let (rows, width) = (table.shape[0], table.shape[1]);
        let blocks = width.div_ceil(columns);
        let shape = [rows, blocks * columns * bits / 8];
        let [codes, scales] = self.quantised(table, &format!("{}.rows", table.name), &shape, blocks);
        let whole = width == blocks * columns;
        let gathered = if whole { out.clone() } else { format!("{out}.filled") };
        let mut node = Node::new(MICROSOFT, "GatherBlockQuantized", vec![codes, ids, scales], vec![gathered.clone()])
            .with(Attribute::int("block_size", columns as i64));
        // Releases that only know four bits do not know the attribute.
        if bits != 4 {
            node = node.with(Attribute::int("bits", bits as i64));
        }
        self.push(node);
        if !whole {
            let bounds = [("embedding.start", 0), ("embedding.end", width as i64), ("embedding.axis", -1)];
            let input = bounds.map(|(name, value)| self.constant(name, &[value]));
            self.push(Node::new("", "Slice", std::iter::once(gathered).chain(input).collect(), vec![out]));
        }
    }

    /// The processor's kernel quantises activations to 8 bits, block by block, as this library's own does; others decide for
    /// themselves. Not in half precision: there it gives wrong results for quantised activations (1.31.1 on x86-64).
    pub(crate) fn matmul_nbits(
        &mut self,
        x: String,
        weight: &Weight,
        Blocks { bits, columns }: Blocks,
        out: String,
    ) -> Node {
        const QUANTISED_ACTIVATIONS: i64 = 4;
        let (rows, cols) = (weight.shape[0], weight.shape[1]);
        let blocks = cols.div_ceil(columns);
        let name = format!("{}.blocks", weight.name);
        self.packed_codes += (rows * blocks * columns * bits / 8) as u64;
        self.packed_scales += (2 * rows * blocks * ElementType::F32.size()) as u64;
        let [codes, scales] = self.quantised(weight, &name, &[rows, blocks, columns * bits / 8], blocks);
        let node = Node::new(MICROSOFT, "MatMulNBits", vec![x, codes, scales], vec![out])
            .with(Attribute::int("K", cols as i64))
            .with(Attribute::int("N", rows as i64))
            .with(Attribute::int("bits", bits as i64))
            .with(Attribute::int("block_size", columns as i64));
        match self.style.element {
            ElementType::F32 => node.with(Attribute::int("accuracy_level", QUANTISED_ACTIVATIONS)),
            _ => node,
        }
    }
}
