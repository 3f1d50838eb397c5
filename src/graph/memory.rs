//! How much memory the values of a graph take while it runs.

use super::{Graph, Op, Output, Value};

impl Op {
    /// The values an operation reads.
    fn inputs(&self) -> Vec<Value> {
        match self {
            Self::Embed { .. } => Vec::new(),
            Self::RmsNorm { x, .. } | Self::Qkv { x, .. } | Self::SwiGlu { x, .. } | Self::Rows { x, .. } => vec![*x],
            Self::Linear { x, residual, .. } => std::iter::once(*x).chain(*residual).collect(),
            Self::Attention { qkv, .. } => qkv.to_vec(),
        }
    }

    /// The values it writes.
    fn outputs(&self) -> Vec<Value> {
        match self {
            Self::Embed { out, .. }
            | Self::RmsNorm { out, .. }
            | Self::SwiGlu { out, .. }
            | Self::Rows { out, .. }
            | Self::Linear { out, .. }
            | Self::Attention { out, .. } => vec![*out],
            Self::Qkv { out, .. } => out.to_vec(),
        }
    }
}

impl Graph {
    /// Bytes that ONNX Runtime's arena grows to in a run of `rows` tokens of which `logit_rows` give logits: the values
    /// alive at once and what falls between them. The run's input and output are the caller's memory.
    pub(crate) fn arena_bytes(&self, rows: usize, logit_rows: usize) -> u64 {
        let last_use = |value: Value| self.ops.iter().rposition(|op| op.inputs().contains(&value));
        let (Output::Hidden(result) | Output::Logits(result)) = self.output;
        let mut thinned = false;
        let mut alive: Vec<Value> = Vec::new();
        let mut arena = Arena::default();
        for (index, op) in self.ops.iter().enumerate() {
            thinned |= matches!(op, Op::Rows { .. });
            let count = if thinned { logit_rows } else { rows };
            for value in op.outputs().into_iter().filter(|value| *value != result) {
                arena.take(value.id, count * value.width * size_of::<f32>());
                alive.push(value);
            }
            alive.retain(|value| {
                let used_again = last_use(*value).is_some_and(|last| last > index);
                if !used_again {
                    arena.give_back(value.id);
                }
                used_again
            });
        }
        arena.bytes()
    }
}

/// ONNX Runtime's arena (`bfc_arena.cc`) as sessions here set it up: it grows by what is asked for, hands out the smallest
/// free piece that is large enough, and cuts one only if half of it or more would be left.
#[derive(Default)]
struct Arena {
    regions: Vec<Vec<Piece>>,
}

#[derive(Clone, Copy)]
struct Piece {
    bytes: usize,
    holder: Option<usize>,
}

impl Arena {
    /// Pieces are multiples of this.
    const UNIT: usize = 256;
    /// More than this is not left unused in a piece.
    const MOST_LEFT: usize = 128 << 20;

    fn take(&mut self, holder: usize, bytes: usize) {
        let bytes = bytes.max(1).next_multiple_of(Self::UNIT);
        let pieces = self
            .regions
            .iter()
            .enumerate()
            .flat_map(|(r, region)| region.iter().enumerate().map(move |(i, p)| (r, i, p)));
        let free = pieces.filter(|(.., piece)| piece.holder.is_none() && piece.bytes >= bytes);
        let Some((region, index)) = free.min_by_key(|(.., piece)| piece.bytes).map(|(r, i, _)| (r, i)) else {
            self.regions.push(vec![Piece { bytes, holder: Some(holder) }]);
            return;
        };
        let region = &mut self.regions[region];
        let left = region[index].bytes - bytes;
        region[index].holder = Some(holder);
        if left >= bytes || left >= Self::MOST_LEFT {
            region[index].bytes = bytes;
            region.insert(index + 1, Piece { bytes: left, holder: None });
        }
    }

    /// Frees what `holder` took and joins it with free neighbours.
    fn give_back(&mut self, holder: usize) {
        for region in &mut self.regions {
            for piece in region.iter_mut().filter(|piece| piece.holder == Some(holder)) {
                piece.holder = None;
            }
            region.dedup_by(|next, piece| {
                let join = next.holder.is_none() && piece.holder.is_none();
                piece.bytes += if join { next.bytes } else { 0 };
                join
            });
        }
    }

    fn bytes(&self) -> u64 {
        self.regions.iter().flatten().map(|piece| piece.bytes as u64).sum()
    }
}
