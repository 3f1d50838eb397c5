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
pub(crate) struct Place {
    /// Its first byte.
    pub at: usize,
    /// Tokens it has room for.
    pub capacity: usize,
    /// The position of its first row: 0, unless a window has moved on.
    pub first: usize,
    /// Bytes of a row.
    row: usize,
    heads: usize,
    window: Option<usize>,
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

/// Tokens that a layer has room for in a cache for `capacity` tokens: all of them, or a window, the slack behind it and what a run
/// adds.
fn room(kept: &Kept, capacity: usize, chunk: usize) -> usize {
    let Some(window) = kept.window else { return capacity };
    capacity.min(window.saturating_add(SLACK).saturating_add(chunk.max(FEWEST_NEW)))
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
    layers: Vec<Place>,
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
            let place = Place { at, capacity, first: 0, row, heads: kept.kv_heads, window: kept.window };
            at += place.bytes();
            place
        };
        let layers = shape.layers.iter().map(place).collect();
        Ok(Self { memory, rows: shape.rows, layers })
    }

    /// What its rows are kept as.
    pub(crate) fn row_type(&self) -> RowType {
        self.rows
    }

    /// The whole block, and where in it each layer lies.
    pub(crate) fn parts(&mut self) -> (&mut [u8], &[Place]) {
        (&mut self.memory, &self.layers)
    }

    /// Makes room for `tokens` rows from `position` on: where they do not fit, a layer with a window drops what lies further back
    /// than its slack.
    pub(crate) fn make_room(&mut self, position: usize, tokens: usize) -> Result<()> {
        for place in &mut self.layers {
            if position + tokens - place.first <= place.capacity {
                continue;
            }
            let kept = place.kept_at(position);
            if position + tokens - kept.start > place.capacity {
                bail!(Internal, "a window has no room for {tokens} tokens at position {position}");
            }
            let (from, to) = ((kept.start - place.first) * place.row, (position - place.first) * place.row);
            for head in self.memory[place.range()].chunks_exact_mut(place.capacity * place.row) {
                head.copy_within(from..to, 0);
            }
            place.first = kept.start;
        }
        Ok(())
    }

    /// The earliest position to which a request can go back: what its next token sees must still be kept.
    pub(crate) fn earliest(&self) -> usize {
        // At position p a window of w reaches back to p + 1 - w.
        let earliest = |place: &Place| if place.first == 0 { 0 } else { place.first + place.window.unwrap_or(1) - 1 };
        self.layers.iter().map(earliest).max().unwrap_or(0)
    }

    /// Makes room for tokens from position 0 on.
    pub(crate) fn restart(&mut self) {
        self.layers.iter_mut().for_each(|place| place.first = 0);
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
            place.first = begin;
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
            to.first = kept.start;
            let (target, source) = (to.rows(&kept), from.rows(&kept));
            let heads = self.memory[to.range()].chunks_exact_mut(to.capacity * to.row);
            for (to, from) in heads.zip(other.memory[from.range()].chunks_exact(from.capacity * from.row)) {
                to[target.clone()].copy_from_slice(&from[source.clone()]);
            }
        }
        Ok(())
    }
}

impl Place {
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
        (positions.start - self.first) * self.row..(positions.end - self.first) * self.row
    }

    /// The first position that the token at `position` sees.
    fn seen_at(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The positions that are kept for certain once a request is at `position`.
    fn kept_at(&self, position: usize) -> Range<usize> {
        self.behind(position).max(self.first).min(position)..position
    }

    /// The first position that is kept for certain, if it ever was.
    fn behind(&self, position: usize) -> usize {
        self.seen_at(position).saturating_sub(SLACK)
    }

    fn state_bytes(&self, tokens: usize) -> usize {
        self.row_bytes(tokens) + if self.window.is_some() { size_of::<u64>() } else { 0 }
    }
}
