//! What a request keeps between tokens: of some layers keys and values, all of them or a window, of others a state of fixed size.

mod rows;
mod snapshots;

use std::ops::Range;
use std::sync::Arc;

use memmap2::MmapMut;

use crate::error::{Error, Result, Site, bail, err};
use crate::graph::{Graph, Kept};
use crate::kernels::RowType;
pub(crate) use rows::RowsPlace;
use rows::RowsShape;
use snapshots::Snapshots;
pub(crate) use snapshots::{Density, StateRun};

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

    /// Bytes that a token reads of what its request keeps, in the mean over the positions of a text of `context` tokens.
    pub(crate) fn read_bytes(&self, context: usize) -> u64 {
        let states = (self.state_values() * size_of::<f32>()) as u64;
        self.row_shapes().map(|shape| shape.read_bytes(context)).fold(states, u64::saturating_add)
    }

    /// Keys and values of one token.
    pub(crate) fn values_per_token(&self) -> u64 {
        let values = |kept: &Kept| match *kept {
            Kept::Rows { heads, key_width, value_width, .. } => heads * (key_width + value_width),
            Kept::State { .. } => 0,
        };
        self.layers.iter().map(|kept| values(kept) as u64).sum()
    }

    /// Values of all states of one position.
    fn state_values(&self) -> usize {
        let values = |kept: &Kept| match *kept {
            Kept::Rows { .. } => 0,
            Kept::State { values } => values,
        };
        self.layers.iter().map(values).sum()
    }

    /// Whether a layer has a state, so that a request cannot go back without what was put aside, and the input behind that.
    pub(crate) fn has_states(&self) -> bool {
        self.state_values() > 0
    }

    /// Bytes for what a request has `room` for.
    pub(crate) fn bytes(&self, room: Room) -> u64 {
        let (rows, states) =
            (self.row_bytes(room), snapshots::bytes(self.state_values(), room.capacity, room.snapshots));
        if states == 0 { rows } else { snapshots::aligned(rows).saturating_add(states) }
    }

    /// Bytes of keys and values.
    fn row_bytes(&self, room: Room) -> u64 {
        let bytes = |shape: RowsShape| {
            (shape.token_bytes() as u64).saturating_mul(shape.room(room.capacity, room.chunk) as u64)
        };
        self.row_shapes().map(bytes).fold(0, u64::saturating_add)
    }

    fn row_shapes(&self) -> impl Iterator<Item = RowsShape> {
        self.layers.iter().filter_map(|kept| RowsShape::of(kept, self.rows))
    }
}

/// What a request has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Tokens.
    pub capacity: usize,
    /// The most tokens that come in one run.
    pub chunk: usize,
    /// States that are put aside to go back to.
    pub snapshots: Density,
}

/// Where in the memory of a [`KeptState`] that lies which an operation keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Rows(RowsPlace),
    /// Bytes of each snapshot.
    State {
        at: usize,
        bytes: usize,
    },
}

/// What every layer of a shard keeps for one request, in one block of memory.
///
/// Layer after layer, keys `[heads, capacity]` and values `[heads, capacity]` as the shape's [`RowType`] says: a head's rows lie one
/// after another, which is how attention walks them. A layer that sees a window of tokens keeps that, and at least
/// [`SLACK`](rows::SLACK) tokens behind it; others keep all. Behind the rows come snapshots: the states of all layers at some position.
///
/// A run reads one snapshot and writes another one, and those of the position where its call began, and of the call before, stay. So a
/// run or a call that fails changes nothing, and a request goes back a few tokens at the cost of running those again that the last call
/// had in front of them.
///
/// The block is reserved when the request is made, so a run never has to allocate for it. It is mapped, not allocated: its pages are
/// committed as they are first written, and all given back when it is dropped, whatever the allocator would do with so large a block.
#[derive(Debug)]
pub(crate) struct KeptState {
    memory: MmapMut,
    rows: RowType,
    places: Vec<Place>,
    /// None if no layer has a state.
    snapshots: Option<Snapshots>,
}

/// What a run works on.
#[derive(Debug)]
pub(crate) struct Parts<'k> {
    /// The whole block.
    pub memory: &'k mut [u8],
    /// Where in it that lies which each operation keeps.
    pub places: &'k [Place],
    pub rows: RowType,
    /// The snapshots that the run reads and writes.
    pub states: StateRun,
}

impl KeptState {
    /// What keeps as much as a request has `room` for.
    pub(crate) fn new(shape: &KeptShape, room: Room) -> Result<Self> {
        let (bytes, capacity) = (shape.bytes(room), room.capacity);
        if isize::try_from(bytes).is_err() {
            bail!(OutOfRange, "a KV cache of {capacity} tokens is larger than any memory");
        }
        let memory = MmapMut::map_anon(bytes as usize).map_err(|e| {
            Error::oom(Site::Kv, "cpu", bytes, format!("a KV cache of {capacity} tokens"))
                .with_source(err!(Io, "mapping memory").with_source(e))
        })?;
        let (mut at, mut state_at) = (0, 0);
        let place = |kept: &Kept| match *kept {
            Kept::Rows { .. } => {
                let rows = RowsShape::of(kept, shape.rows)?;
                let place = RowsPlace::new(rows, at, rows.room(capacity, room.chunk));
                at = place.end();
                Some(Place::Rows(place))
            }
            Kept::State { values } => {
                let place = Place::State { at: state_at, bytes: values * size_of::<f32>() };
                state_at += values * size_of::<f32>();
                Some(place)
            }
        };
        let places = shape.layers.iter().filter_map(place).collect();
        let snapshots = shape.has_states().then(|| {
            let at = snapshots::aligned(shape.row_bytes(room));
            Snapshots::new(shape.state_values(), at as usize, capacity, room.snapshots)
        });
        Ok(Self { memory, rows: shape.rows, places, snapshots })
    }

    /// Plans a run of `tokens` rows from `position` on, in a call of a request that was at `start`, and gives what the run works on.
    /// Where rows do not fit, a layer with a window drops what lies further back than its slack, but for what
    /// [`go_back`](Self::go_back) to where the call's first run began, `first`, needs.
    pub(crate) fn plan(&mut self, start: usize, first: usize, position: usize, tokens: usize) -> Result<Parts<'_>> {
        for place in &mut self.places {
            if let Place::Rows(rows) = place {
                rows.make_room(&mut self.memory, first, position, position + tokens)?;
            }
        }
        let states = match &mut self.snapshots {
            None => StateRun::default(),
            Some(snapshots) => snapshots
                .plan(start, position, tokens)
                .ok_or_else(|| err!(Internal, "no states to go on from at position {position}"))?,
        };
        Ok(Parts { memory: &mut self.memory, places: &self.places, rows: self.rows, states })
    }

    /// The run that was planned last has been run.
    pub(crate) fn ran(&mut self) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.ran();
        }
    }

    /// Where a request at `position` goes on from: there or, if there are no states of that position, at an earlier one, from which it
    /// has to run its tokens again.
    pub(crate) fn resumes_at(&self, position: usize) -> usize {
        self.snapshots.as_ref().map_or(position, |snapshots| snapshots.nearest(position))
    }

    /// Makes `position` the one at which the request is: the start of a call that failed, one that its layers still keep the tokens for,
    /// or 0. Where layers have states, it is any earlier one.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::error::ErrorKind::OutOfRange) if windows have moved on; then nothing changes.
    pub(crate) fn go_back(&mut self, position: usize) -> Result<()> {
        let can = |at: usize| self.row_places().all(|rows| rows.can_go_back(at));
        let resumes_at = match &self.snapshots {
            None => position,
            // Windows may have left a snapshot behind. From 0 on everything can be run again.
            Some(snapshots) => snapshots.positions(position).find(|at| can(*at)).unwrap_or(0),
        };
        let moved_on = self.row_places().filter(|rows| !rows.can_go_back(resumes_at));
        if let Some(earliest) = moved_on.map(RowsPlace::earliest).max() {
            bail!(
                OutOfRange,
                "position {position} is further back than the layers with a window have kept; the earliest is {earliest}, or 0 to \
                 run the tokens again"
            );
        }
        for place in &mut self.places {
            if let Place::Rows(rows) = place {
                rows.go_back(resumes_at);
            }
        }
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.go_back(resumes_at);
        }
        Ok(())
    }

    /// Bytes that [`read`](Self::read) gives.
    pub(crate) fn state_bytes(&self, tokens: Range<usize>) -> Result<usize> {
        let (start, at) = (tokens.start, self.goes_on_at(&tokens)?);
        let rows: usize = self.row_places().map(|rows| rows.state_bytes(start..at)).sum();
        let states = self
            .snapshots
            .as_ref()
            .map_or(0, |snapshots| size_of::<u64>() + snapshots.range(at).map_or(0, |range| range.len()));
        Ok(rows + states)
    }

    /// Where a request at the end of `tokens` [goes on from](Self::resumes_at).
    ///
    /// # Errors
    /// [`OutOfRange`](crate::error::ErrorKind::OutOfRange) if that lies before their start.
    fn goes_on_at(&self, tokens: &Range<usize>) -> Result<usize> {
        let at = self.resumes_at(tokens.end);
        if at < tokens.start {
            bail!(
                OutOfRange,
                "since is {}, and a request that has gone back to position {} goes on from position {at}: export its state as a whole",
                tokens.start,
                tokens.end
            );
        }
        Ok(at)
    }

    /// Appends what is kept at the end of `tokens` from their start on. If layers have states: where the request
    /// [goes on from](Self::resumes_at), as 8 bytes, little-endian, and, unless that is 0, the states of all layers, float32. Then for
    /// each other layer the position of its first row where it has a window, as 8 bytes; then keys and values `[heads, tokens]` as they
    /// lie in the memory.
    ///
    /// # Errors
    /// As [`goes_on_at`](Self::goes_on_at).
    pub(crate) fn read(&self, tokens: Range<usize>, to: &mut Vec<u8>) -> Result<()> {
        let at = self.goes_on_at(&tokens)?;
        if let Some(snapshots) = &self.snapshots {
            to.extend_from_slice(&(at as u64).to_le_bytes());
            if let Some(range) = snapshots.range(at) {
                to.extend_from_slice(&self.memory[range]);
            }
        }
        self.row_places().for_each(|rows| rows.read(&self.memory, tokens.start..at, to));
        Ok(())
    }

    /// Takes what [`read`](Self::read) gave for `tokens`, here or in what has the same shape and room for another number of tokens, and
    /// is at their start. Nothing changes if that is refused.
    pub(crate) fn write(&mut self, tokens: Range<usize>, from: &[u8]) -> Result<()> {
        let Range { start, end: position } = tokens;
        let here = self.resumes_at(start);
        if here != start {
            bail!(
                OutOfRange,
                "state: it is since position {start}, and the request, which has gone back, has the layers' states of position {here}: \
                 take a state as a whole"
            );
        }
        let wrong = || err!(Malformed, "state: what it keeps is not what position {position} takes");
        let (mut rest, mut at, mut states) = (from, position, &[][..]);
        if let Some(snapshots) = &self.snapshots {
            let (bytes, others) = rest.split_first_chunk().ok_or_else(wrong)?;
            at = usize::try_from(u64::from_le_bytes(*bytes))
                .ok()
                .filter(|at| (start..=position).contains(at))
                .ok_or_else(wrong)?;
            let used = if at == 0 { 0 } else { snapshots.used() };
            (states, rest) = others.split_at_checked(used).ok_or_else(wrong)?;
        }
        let parts: Vec<_> = self.row_places().map(|rows| rows.parse(&(start..at), &mut rest)).collect::<Result<_>>()?;
        if !rest.is_empty() {
            bail!(Malformed, "state: {} bytes are left over", rest.len());
        }
        if let Some(range) = self.snapshots.as_mut().and_then(|snapshots| snapshots.restart(at)) {
            self.memory[range].copy_from_slice(states);
        }
        let rows = self.places.iter_mut().filter_map(Place::as_rows);
        for (rows, part) in rows.zip(&parts) {
            rows.write(&mut self.memory, at, part);
        }
        Ok(())
    }

    /// Copies what `other`, which has the same shape and as much room, keeps at `position`.
    pub(crate) fn copy(&mut self, other: &Self, position: usize) -> Result<()> {
        let at = other.resumes_at(position);
        for (to, from) in self.places.iter_mut().filter_map(Place::as_rows).zip(other.row_places()) {
            to.copy(&mut self.memory, from, &other.memory, at)?;
        }
        if let (Some(to), Some(from)) = (&mut self.snapshots, &other.snapshots) {
            for (to, from) in to.take_over(from, position) {
                self.memory[to].copy_from_slice(&other.memory[from]);
            }
        }
        Ok(())
    }

    fn row_places(&self) -> impl Iterator<Item = &RowsPlace> {
        self.places.iter().filter_map(|place| match place {
            Place::Rows(rows) => Some(rows),
            Place::State { .. } => None,
        })
    }
}

impl Place {
    fn as_rows(&mut self) -> Option<&mut RowsPlace> {
        match self {
            Self::Rows(rows) => Some(rows),
            Self::State { .. } => None,
        }
    }
}
