//! How much memory the values of a graph take while it runs.

use super::op::{Op, Read};
use super::{Graph, Output, Value};

impl Graph {
    /// Bytes that ONNX Runtime's arena grows to in a run of `rows` tokens of which `logit_rows` give logits: the values
    /// alive at once and what falls between them. The run's input and output are the caller's memory.
    pub(crate) fn arena_bytes(&self, rows: usize, logit_rows: usize) -> u64 {
        let last_use = self.last_use();
        let is_given = |value: &Value| match &self.output {
            Output::Parts(parts) => parts.iter().any(|(_, part)| part == value),
            Output::Logits(logits) => logits == value,
        };
        let mut thinned = false;
        let mut arena = Arena::default();
        for (index, op) in self.ops.iter().enumerate() {
            thinned |= op.thins();
            let count = if thinned { logit_rows } else { rows };
            let written: Vec<Value> = op.writes().into_iter().filter(|value| !is_given(value)).collect();
            for value in &written {
                arena.take(value.id, count * value.width * size_of::<f32>());
            }
            // Those that were read for the last time, and those that nobody reads.
            for value in read(op).chain(written) {
                if last_use[value.id].is_none_or(|last| last == index) {
                    arena.give_back(value.id);
                }
            }
        }
        arena.bytes()
    }

    /// The last operation that reads each value, by the value's id.
    fn last_use(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.names.len()];
        for (index, op) in self.ops.iter().enumerate() {
            for value in read(op) {
                last[value.id] = Some(index);
            }
        }
        last
    }
}

/// The values that `op` reads.
fn read(op: &Op) -> impl Iterator<Item = Value> {
    op.reads().into_iter().filter_map(|read| match read {
        Read::Value(value) => Some(value),
        Read::Ids | Read::Batch | Read::LogitRows => None,
    })
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
