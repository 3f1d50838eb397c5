//! What a request keeps between tokens: the keys and values of each layer of its shard, all of them or a window.

use std::ops::Range;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::error::{Error, Result, Site, bail, err};
use crate::graph::{Graph, Kept};
use crate::kernels::RowType;

/// Tokens that a layer with a window keeps behind it, at least, so that a request can go back so far.
pub(crate) const SLACK: usize = 256;
/// The fewest tokens that there is room for in front of a window, so that rows are seldom moved.
const FEWEST_NEW: usize = 64;

/// What a shard's layers keep of each token, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptShape {
    pub layers: Arc<[Kept]>,
    pub rows: RowType,
}

/// Where a layer's rows lie in the block of a [`KvCache`]: `[2, kv_heads, capacity]` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerPlace {
    /// Its first byte.
    pub at: usize,
    /// Tokens it has room for.
    pub capacity: usize,
    /// The position that belongs in its first row: 0, unless a window has moved on.
    pub origin: usize,
    /// The first position whose row is there.
    from: usize,
    /// What the call in progress began with, where its window has left that behind.
    undo: Option<Undo>,
    /// Bytes of a row.
    row: usize,
    heads: usize,
    window: Option<usize>,
}

/// Rows at the beginning of a layer, to which a request goes back if its call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Undo {
    /// The position at which the call began.
    start: usize,
    origin: usize,
    from: usize,
}

impl KeptShape {
    /// What the layers of `graph` keep, as `rows`.
    pub(crate) fn new(graph: &Graph, rows: RowType) -> Self {
        Self { layers: graph.kept().collect(), rows }
    }

    /// Bytes that one token takes while all layers keep it.
    pub(crate) fn bytes_per_token(&self) -> u64 {
        self.layers.iter().map(|kept| (2 * kept.kv_heads * self.rows.bytes(kept.head_dim)) as u64).sum()
    }

    /// Keys and values of one token.
    pub(crate) fn values_per_token(&self) -> u64 {
        self.layers.iter().map(|kept| (2 * kept.kv_heads * kept.head_dim) as u64).sum()
    }

    /// Bytes of a cache for `capacity` tokens, of which at most `chunk` come in one run.
    pub(crate) fn bytes(&self, capacity: usize, chunk: usize) -> u64 {
        let bytes = |kept: &Kept| {
            let row = (2 * kept.kv_heads * self.rows.bytes(kept.head_dim)) as u64;
            row.saturating_mul(room(kept, capacity, chunk) as u64)
        };
        self.layers.iter().map(bytes).fold(0, u64::saturating_add)
    }
}

/// Tokens that a layer has room for in a cache for `capacity` tokens. A layer with a window has room for what that and the slack
/// behind it are when a call begins and when it ends, since a call may fail, and for what a run adds.
fn room(kept: &Kept, capacity: usize, chunk: usize) -> usize {
    let Some(window) = kept.window else { return capacity };
    capacity.min(behind(window).saturating_mul(2).saturating_add(chunk.max(FEWEST_NEW)))
}

/// Tokens that a layer with a window keeps, at most, for those to come.
fn behind(window: usize) -> usize {
    window.saturating_add(SLACK)
}

/// Keys and values of every layer of a shard for one request, one block of memory.
///
/// Layer after layer, each `[2, kv_heads, capacity]` rows of `head_dim` values, kept as the shape's [`RowType`] says: a head's rows
/// lie one after another, which is how attention walks them. A layer that sees a window of tokens keeps that, and at least
/// [`SLACK`] tokens behind it; others keep all. The block is reserved when the request is made, so a run never has to allocate for
/// it. It is mapped, not allocated: its pages are committed as rows are first written, and all given back when it is dropped,
/// whatever the allocator would do with so large a block.
#[derive(Debug)]
pub(crate) struct KvCache {
    memory: MmapMut,
    rows: RowType,
    layers: Vec<LayerPlace>,
}

impl KvCache {
    /// Room for `capacity` tokens, of which at most `chunk` come in one run.
    pub(crate) fn new(shape: &KeptShape, capacity: usize, chunk: usize) -> Result<Self> {
        let bytes = shape.bytes(capacity, chunk);
        if isize::try_from(bytes).is_err() {
            bail!(OutOfRange, "a KV cache of {capacity} tokens is larger than any memory");
        }
        let memory = MmapMut::map_anon(bytes as usize).map_err(|e| {
            Error::oom(Site::Kv, "cpu", bytes, format!("a KV cache of {capacity} tokens"))
                .with_source(err!(Io, "mapping memory").with_source(e))
        })?;
        let mut at = 0;
        let place = |kept: &Kept| {
            let (row, capacity) = (shape.rows.bytes(kept.head_dim), room(kept, capacity, chunk));
            let (heads, window) = (kept.kv_heads, kept.window);
            let place = LayerPlace { at, capacity, origin: 0, from: 0, undo: None, row, heads, window };
            at += place.bytes();
            place
        };
        let layers = shape.layers.iter().map(place).collect();
        Ok(Self { memory, rows: shape.rows, layers })
    }

    /// The type that rows are kept as.
    pub(crate) fn row_type(&self) -> RowType {
        self.rows
    }

    /// The whole block, and where in it each layer lies.
    pub(crate) fn parts(&mut self) -> (&mut [u8], &[LayerPlace]) {
        (&mut self.memory, &self.layers)
    }

    /// Makes room for `tokens` rows from `position` on, in a call that began at `start`. Where they do not fit, a layer with a window
    /// drops what lies further back than its slack, but for what [`go_back`](Self::go_back) to `start` needs.
    pub(crate) fn make_room(&mut self, start: usize, position: usize, tokens: usize) -> Result<()> {
        for place in &mut self.layers {
            // What another call began with is not gone back to any more.
            place.undo = place.undo.filter(|undo| undo.start == start);
            if place.fits(position + tokens) {
                continue;
            }
            if place.undo.is_none() {
                let first = place.kept_at(start).start;
                place.move_rows(&mut self.memory, first..position, 0);
                if place.fits(position + tokens) {
                    continue;
                }
                place.undo = Some(Undo { start, origin: place.origin, from: place.from });
            }
            let first = place.kept_at(position).start;
            place.move_rows(&mut self.memory, first..position, place.window.map_or(0, behind));
            if !place.fits(position + tokens) {
                bail!(Internal, "a window has no room for {tokens} tokens at position {position}");
            }
        }
        Ok(())
    }

    /// Makes `position` the one from which a request goes on: the start of a call that failed, one that its layers still keep the
    /// tokens for, or 0.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::error::ErrorKind::OutOfRange) if windows have moved on; then nothing changes.
    pub(crate) fn go_back(&mut self, position: usize) -> Result<()> {
        if position == 0 {
            for place in &mut self.layers {
                (place.origin, place.from, place.undo) = (0, 0, None);
            }
            return Ok(());
        }
        let is_start = |place: &LayerPlace| place.undo.is_some_and(|undo| undo.start == position);
        let moved_on = self.layers.iter().filter(|place| position < place.earliest() && !is_start(place));
        if let Some(earliest) = moved_on.map(LayerPlace::earliest).max() {
            bail!(
                OutOfRange,
                "position {position} is further back than the layers with a window have kept; the earliest is {earliest}, or 0 to \
                 run the tokens again"
            );
        }
        for place in self.layers.iter_mut().filter(|place| position < place.earliest()) {
            if let Some(undo) = place.undo.take() {
                (place.origin, place.from) = (undo.origin, undo.from);
            }
        }
        Ok(())
    }

    /// Bytes that [`read`](Self::read) gives.
    pub(crate) fn state_bytes(&self, position: usize) -> usize {
        self.layers.iter().map(|place| place.state_bytes(place.kept_at(position).len())).sum()
    }

    /// Appends what is kept at `position`, layer after layer: the position of its first row where the layer has a window, as 8
    /// bytes, little-endian; then `[2, kv_heads, tokens]` rows as they lie in the cache.
    pub(crate) fn read(&self, position: usize, to: &mut Vec<u8>) {
        for place in &self.layers {
            let kept = place.kept_at(position);
            if place.window.is_some() {
                to.extend_from_slice(&(kept.start as u64).to_le_bytes());
            }
            let range = place.rows(&kept);
            for head in self.memory[place.range()].chunks_exact(place.capacity * place.row) {
                to.extend_from_slice(&head[range.clone()]);
            }
        }
    }

    /// Takes what [`read`](Self::read) gave for `position`, here or in a cache of the same shape for another number of tokens.
    /// Nothing changes if that is refused.
    pub(crate) fn write(&mut self, position: usize, from: &[u8]) -> Result<()> {
        let mut rest = from;
        let mut parts = Vec::with_capacity(self.layers.len());
        for place in &self.layers {
            let wrong = || err!(Malformed, "state: what it keeps is not what position {position} takes");
            let mut first = 0;
            if place.window.is_some() {
                let (bytes, others) = rest.split_first_chunk().ok_or_else(wrong)?;
                first = usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| wrong())?;
                rest = others;
            }
            // No less than the next token sees.
            let least = place.seen_at(position);
            if first > least {
                return Err(wrong());
            }
            let (own, others) = rest.split_at_checked(place.row_bytes(position - first)).ok_or_else(wrong)?;
            let fits = position - first <= place.capacity;
            let begin = if fits { first } else { place.behind(position).max(first) };
            if position - begin > place.capacity {
                return Err(wrong());
            }
            parts.push((first, begin, own));
            rest = others;
        }
        if !rest.is_empty() {
            bail!(Malformed, "state: {} bytes are left over", rest.len());
        }
        for (place, (first, begin, rows)) in self.layers.iter_mut().zip(parts) {
            (place.origin, place.from, place.undo) = (begin, begin, None);
            let (to, left_out) = (place.rows(&(begin..position)), (begin - first) * place.row);
            let heads = self.memory[place.range()].chunks_exact_mut(place.capacity * place.row);
            for (head, rows) in heads.zip(rows.chunks_exact(((position - first) * place.row).max(1))) {
                head[to.clone()].copy_from_slice(&rows[left_out..]);
            }
        }
        Ok(())
    }

    /// Copies what `other`, which has the same shape, keeps at `position`.
    pub(crate) fn copy(&mut self, other: &Self, position: usize) -> Result<()> {
        for (to, from) in self.layers.iter_mut().zip(&other.layers) {
            let kept = from.kept_at(position);
            if kept.len() > to.capacity {
                bail!(Internal, "a KV cache has no room for another one's rows");
            }
            (to.origin, to.from, to.undo) = (kept.start, kept.start, None);
            let (target, source) = (to.rows(&kept), from.rows(&kept));
            let heads = self.memory[to.range()].chunks_exact_mut(to.capacity * to.row);
            for (to, from) in heads.zip(other.memory[from.range()].chunks_exact(from.capacity * from.row)) {
                to[target.clone()].copy_from_slice(&from[source.clone()]);
            }
        }
        Ok(())
    }
}

impl LayerPlace {
    /// Bytes of the layer.
    fn bytes(&self) -> usize {
        self.row_bytes(self.capacity)
    }

    /// Bytes of the keys and values of so many tokens.
    fn row_bytes(&self, tokens: usize) -> usize {
        2 * self.heads * tokens * self.row
    }

    /// Where the layer lies in the block.
    fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes()
    }

    /// Where rows of these positions lie in a head's.
    fn rows(&self, positions: &Range<usize>) -> Range<usize> {
        (positions.start - self.origin) * self.row..(positions.end - self.origin) * self.row
    }

    /// Whether there is room for rows up to `end`.
    fn fits(&self, end: usize) -> bool {
        end - self.origin <= self.capacity
    }

    /// The earliest position to go on from: what its token sees must still be there. At position p a window of w reaches back to
    /// p + 1 - w.
    fn earliest(&self) -> usize {
        if self.from == 0 { 0 } else { self.from + self.window.unwrap_or(1) - 1 }
    }

    /// Moves the rows of `positions`, after which there are others no more, to row `to` of each head.
    fn move_rows(&mut self, memory: &mut [u8], positions: Range<usize>, to: usize) {
        let rows = self.rows(&positions);
        for head in memory[self.range()].chunks_exact_mut(self.capacity * self.row) {
            head.copy_within(rows.clone(), to * self.row);
        }
        (self.origin, self.from) = (positions.start - to, positions.start);
    }

    /// The first position that the token at `position` sees.
    fn seen_at(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The positions that are kept for certain once a request is at `position`.
    fn kept_at(&self, position: usize) -> Range<usize> {
        self.behind(position).max(self.from).min(position)..position
    }

    /// The first position that is kept for certain, if it ever was.
    fn behind(&self, position: usize) -> usize {
        self.seen_at(position).saturating_sub(SLACK)
    }

    fn state_bytes(&self, tokens: usize) -> usize {
        self.row_bytes(tokens) + if self.window.is_some() { size_of::<u64>() } else { 0 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    const WINDOW: usize = 7;
    const CHUNK: usize = 100;

    fn cache() -> KvCache {
        let layer = |layer, window| Kept { layer, kv_heads: 2, head_dim: 1, window };
        let shape = KeptShape { layers: [layer(0, Some(WINDOW)), layer(1, None)].into(), rows: RowType::F32 };
        KvCache::new(&shape, 5000, CHUNK).unwrap()
    }

    /// Runs the tokens up to `end` of a call that began at `start`; each row is its position.
    fn run(cache: &mut KvCache, start: usize, end: usize) {
        for position in (start..end).step_by(CHUNK) {
            let tokens = CHUNK.min(end - position);
            cache.make_room(start, position, tokens).unwrap();
            for place in cache.layers.clone() {
                for head in cache.memory[place.range()].chunks_exact_mut(place.capacity * place.row) {
                    for (i, row) in head[place.rows(&(position..position + tokens))].chunks_exact_mut(4).enumerate() {
                        row.copy_from_slice(&((position + i) as u32).to_le_bytes());
                    }
                }
            }
        }
    }

    /// Fails unless every row that the token at `position`, or one up to the slack before it, sees is there.
    fn check(cache: &KvCache, position: usize, slack: usize) {
        for place in &cache.layers {
            let seen = place.seen_at(position).saturating_sub(slack)..position;
            for head in cache.memory[place.range()].chunks_exact(place.capacity * place.row) {
                let rows = head[place.rows(&seen)].chunks_exact(4);
                let rows: Vec<usize> = rows.map(|row| u32::from_le_bytes(row.try_into().unwrap()) as usize).collect();
                assert_eq!(rows, seen.clone().collect::<Vec<_>>(), "at {position}");
            }
        }
    }

    #[test]
    fn a_call_that_fails_anywhere_leaves_what_it_began_with() {
        for start in [0, 1, 90, 263, 400, 1203] {
            for tokens in (1..1500).step_by(83) {
                let mut cache = cache();
                (0..start).step_by(211).for_each(|from| run(&mut cache, from, start.min(from + 211)));
                check(&cache, start, SLACK);
                for end in [start + tokens, start + tokens / 2, start + 2 * tokens] {
                    run(&mut cache, start, end);
                    check(&cache, end, SLACK.min(end - start));
                    cache.go_back(start).unwrap();
                    check(&cache, start, 0);
                }
                // And goes on from there, whole.
                run(&mut cache, start, start + tokens);
                check(&cache, start + tokens, SLACK.min(tokens));
                let back = (start + tokens).saturating_sub(SLACK.min(tokens));
                cache.go_back(back).unwrap();
                check(&cache, back, 0);
            }
        }
    }
}
