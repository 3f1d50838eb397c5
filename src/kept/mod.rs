//! What a request keeps between tokens: the keys and values of each layer of its shard, all of them or a window.

mod rows;

use std::sync::Arc;

use memmap2::MmapMut;

use crate::error::{Error, Result, Site, bail, err};
use crate::graph::{Graph, Kept};
use crate::kernels::RowType;
pub(crate) use rows::RowsPlace;
use rows::RowsShape;

/// What a shard's layers keep, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptShape {
    pub layers: Arc<[Kept]>,
    /// What keys and values are kept as.
    pub rows: RowType,
}

impl KeptShape {
    /// What the layers of `graph` keep, with keys and values as `rows`.
    pub(crate) fn new(graph: &Graph, rows: RowType) -> Self {
        Self { layers: graph.kept().collect(), rows }
    }

    /// Bytes that one token takes while all layers keep it.
    pub(crate) fn bytes_per_token(&self) -> u64 {
        self.row_shapes().map(|shape| shape.token_bytes() as u64).sum()
    }

    /// Keys and values of one token.
    pub(crate) fn values_per_token(&self) -> u64 {
        let values = |kept: &Kept| match *kept {
            Kept::Rows { heads, key_width, value_width, .. } => heads * (key_width + value_width),
            Kept::State { .. } => 0,
        };
        self.layers.iter().map(|kept| values(kept) as u64).sum()
    }

    /// Bytes for `capacity` tokens, of which at most `chunk` come in one run.
    pub(crate) fn bytes(&self, capacity: usize, chunk: usize) -> u64 {
        let bytes = |shape: RowsShape| (shape.token_bytes() as u64).saturating_mul(shape.room(capacity, chunk) as u64);
        self.row_shapes().map(bytes).fold(0, u64::saturating_add)
    }

    fn row_shapes(&self) -> impl Iterator<Item = RowsShape> {
        self.layers.iter().filter_map(|kept| RowsShape::of(kept, self.rows))
    }
}

/// Where in the memory of a [`KeptState`] that lies which an operation keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Rows(RowsPlace),
}

/// What every layer of a shard keeps for one request, in one block of memory.
///
/// Layer after layer, keys `[heads, capacity]` and values `[heads, capacity]` as the shape's [`RowType`] says: a head's rows lie one
/// after another, which is how attention walks them. A layer that sees a window of tokens keeps that, and at least
/// [`SLACK`](rows::SLACK) tokens behind it; others keep all. The block is reserved when the request is made, so a run never has to
/// allocate for it. It is mapped, not allocated: its pages are committed as rows are first written, and all given back when it is
/// dropped, whatever the allocator would do with so large a block.
#[derive(Debug)]
pub(crate) struct KeptState {
    memory: MmapMut,
    rows: RowType,
    places: Vec<Place>,
}

impl KeptState {
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
        let place = |rows: RowsShape| {
            let place = RowsPlace::new(rows, at, rows.room(capacity, chunk));
            at = place.end();
            Place::Rows(place)
        };
        let places = shape.row_shapes().map(place).collect();
        Ok(Self { memory, rows: shape.rows, places })
    }

    /// The type that keys and values are kept as.
    pub(crate) fn row_type(&self) -> RowType {
        self.rows
    }

    /// The whole block, and where in it that lies which each operation keeps.
    pub(crate) fn parts(&mut self) -> (&mut [u8], &[Place]) {
        (&mut self.memory, &self.places)
    }

    /// Makes room for `tokens` rows from `position` on, in a call that began at `start`. Where they do not fit, a layer with a window
    /// drops what lies further back than its slack, but for what [`go_back`](Self::go_back) to `start` needs.
    pub(crate) fn make_room(&mut self, start: usize, position: usize, tokens: usize) -> Result<()> {
        for place in &mut self.places {
            let Place::Rows(rows) = place;
            rows.make_room(&mut self.memory, start, position, position + tokens)?;
        }
        Ok(())
    }

    /// Makes `position` the one from which a request goes on: the start of a call that failed, one that its layers still keep the
    /// tokens for, or 0.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::error::ErrorKind::OutOfRange) if windows have moved on; then nothing changes.
    pub(crate) fn go_back(&mut self, position: usize) -> Result<()> {
        let moved_on = self.row_places().filter(|rows| !rows.can_go_back(position));
        if let Some(earliest) = moved_on.map(RowsPlace::earliest).max() {
            bail!(
                OutOfRange,
                "position {position} is further back than the layers with a window have kept; the earliest is {earliest}, or 0 to \
                 run the tokens again"
            );
        }
        for place in &mut self.places {
            let Place::Rows(rows) = place;
            rows.go_back(position);
        }
        Ok(())
    }

    /// Bytes that [`read`](Self::read) gives.
    pub(crate) fn state_bytes(&self, position: usize) -> usize {
        self.row_places().map(|rows| rows.state_bytes(position)).sum()
    }

    /// Appends what is kept at `position`, layer after layer: the position of its first row where the layer has a window, as 8
    /// bytes, little-endian; then keys and values `[heads, tokens]` as they lie in the memory.
    pub(crate) fn read(&self, position: usize, to: &mut Vec<u8>) {
        self.row_places().for_each(|rows| rows.read(&self.memory, position, to));
    }

    /// Takes what [`read`](Self::read) gave for `position`, here or in a cache of the same shape for another number of tokens.
    /// Nothing changes if that is refused.
    pub(crate) fn write(&mut self, position: usize, from: &[u8]) -> Result<()> {
        let mut rest = from;
        let parts: Vec<_> = self.row_places().map(|rows| rows.parse(position, &mut rest)).collect::<Result<_>>()?;
        if !rest.is_empty() {
            bail!(Malformed, "state: {} bytes are left over", rest.len());
        }
        for (place, part) in self.places.iter_mut().zip(&parts) {
            let Place::Rows(rows) = place;
            rows.write(&mut self.memory, position, part);
        }
        Ok(())
    }

    /// Copies what `other`, which has the same shape, keeps at `position`.
    pub(crate) fn copy(&mut self, other: &Self, position: usize) -> Result<()> {
        for (to, from) in self.places.iter_mut().zip(&other.places) {
            let (Place::Rows(to), Place::Rows(from)) = (to, from);
            to.copy(&mut self.memory, from, &other.memory, position)?;
        }
        Ok(())
    }

    fn row_places(&self) -> impl Iterator<Item = &RowsPlace> {
        self.places.iter().map(|Place::Rows(rows)| rows)
    }
}
