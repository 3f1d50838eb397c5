//! Where a layer's keys and values lie, and which positions they are of: all, or those of a window.

use std::ops::Range;

use crate::error::{Result, bail, err};
use crate::graph::Kept;
use crate::kernels::{RowType, Window};

/// Tokens that a layer with a window keeps behind it, at least, so that a request can go back so far.
pub(crate) const SLACK: usize = 256;
/// The fewest tokens that there is room for in front of a window, so that rows are seldom moved.
const FEWEST_NEW: usize = 64;

/// What is kept of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowsShape {
    heads: usize,
    /// Bytes of a head's key, and of its value.
    bytes: [usize; 2],
    window: Option<Window>,
}

/// Where a layer's rows lie in the memory of a [`KeptState`](super::KeptState): keys `[heads, capacity]`, then values
/// `[heads, capacity]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowsPlace {
    /// Its first byte.
    at: usize,
    /// Tokens it has room for.
    pub capacity: usize,
    /// The position that belongs in its first row: 0, unless a window has moved on.
    pub origin: usize,
    /// The first position whose row is there.
    from: usize,
    /// What the call in progress began with, where its window has left that behind.
    undo: Option<Undo>,
    shape: RowsShape,
}

/// Rows at the beginning of a layer, to which a request goes back if its call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Undo {
    /// The position at which the call began.
    start: usize,
    origin: usize,
    from: usize,
}

impl RowsShape {
    /// The shape of `kept`, with keys and values as `rows`, if those are what it keeps.
    pub(super) fn of(kept: &Kept, rows: RowType) -> Option<Self> {
        let bytes = |width| if width == 0 { 0 } else { rows.bytes(width) };
        match *kept {
            Kept::Rows { heads, key_width, value_width, window, .. } => {
                Some(Self { heads, bytes: [key_width, value_width].map(bytes), window })
            }
            Kept::State { .. } => None,
        }
    }

    /// Bytes of a token.
    pub(super) fn token_bytes(&self) -> usize {
        self.heads * self.bytes.iter().sum::<usize>()
    }

    /// Bytes that a token reads, in the mean over the positions of a text of `context` tokens.
    pub(super) fn read_bytes(&self, context: usize) -> u64 {
        let seen = match self.window {
            // All in front of it, until they are more than the window.
            Some(Window::Sliding(size)) if size < context => size - size.saturating_mul(size) / (2 * context),
            Some(Window::Chunked(size)) if size < context => size / 2,
            _ => context / 2,
        };
        (self.token_bytes() as u64).saturating_mul(seen as u64)
    }

    /// Tokens there is room for in what keeps `capacity` tokens, of which at most `chunk` come in one run. With a window that is room
    /// for what the window and the slack behind it are when a call begins and when it ends, since a call may fail, and for what a run
    /// adds.
    pub(super) fn room(&self, capacity: usize, chunk: usize) -> usize {
        let Some(window) = self.window else { return capacity };
        capacity.min(behind(window).saturating_mul(2).saturating_add(chunk.max(FEWEST_NEW)))
    }
}

/// Tokens that a layer with a window keeps, at most, for those to come.
fn behind(window: Window) -> usize {
    window.size().saturating_add(SLACK)
}

impl RowsPlace {
    /// The place at `at` of rows of `shape` for `capacity` tokens.
    pub(super) fn new(shape: RowsShape, at: usize, capacity: usize) -> Self {
        Self { at, capacity, origin: 0, from: 0, undo: None, shape }
    }

    /// Where the keys lie, and where the values do.
    pub(crate) fn halves(&self) -> [Range<usize>; 2] {
        let [keys, values] = self.shape.bytes.map(|row| self.shape.heads * self.capacity * row);
        let middle = self.at + keys;
        [self.at..middle, middle..middle + values]
    }

    /// The first byte behind it.
    pub(super) fn end(&self) -> usize {
        self.at + self.shape.token_bytes() * self.capacity
    }

    /// The rows of `positions` of each head in turn, keys and then values, as bytes of the memory.
    fn rows_of(self, positions: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (Self { capacity, .. }, RowsShape { heads, bytes, .. }) = (self, self.shape);
        let (first, last) = (positions.start - self.origin, positions.end - self.origin);
        let halves = self.halves().into_iter().zip(bytes).filter(|(_, row)| *row > 0);
        halves.flat_map(move |(half, row)| {
            (0..heads).map(move |head| {
                let at = half.start + head * capacity * row;
                at + first * row..at + last * row
            })
        })
    }

    /// Makes room for rows of the positions `position..end`, in a call that began at `start`. Where they do not fit, a window drops
    /// what lies further back than its slack, but for what [`go_back`](Self::go_back) to `start` needs.
    pub(super) fn make_room(&mut self, memory: &mut [u8], start: usize, position: usize, end: usize) -> Result<()> {
        // What another call began with is not gone back to any more.
        self.undo = self.undo.filter(|undo| undo.start == start);
        if self.fits(end) {
            return Ok(());
        }
        if self.undo.is_none() {
            let first = self.kept_at(start).start;
            self.move_rows(memory, first..position, 0);
            if self.fits(end) {
                return Ok(());
            }
            self.undo = Some(Undo { start, origin: self.origin, from: self.from });
        }
        let first = self.kept_at(position).start;
        self.move_rows(memory, first..position, self.shape.window.map_or(0, behind));
        if !self.fits(end) {
            bail!(Internal, "a window has no room for {} tokens at position {position}", end - position);
        }
        Ok(())
    }

    /// Whether a request can go on from `position`.
    pub(super) fn can_go_back(&self, position: usize) -> bool {
        position == 0 || position >= self.earliest() || self.undo.is_some_and(|undo| undo.start == position)
    }

    /// Makes `position`, which [it can](Self::can_go_back), the one from which a request goes on.
    pub(super) fn go_back(&mut self, position: usize) {
        if position == 0 {
            (self.origin, self.from, self.undo) = (0, 0, None);
        } else if position < self.earliest()
            && let Some(undo) = self.undo.take()
        {
            (self.origin, self.from) = (undo.origin, undo.from);
        }
    }

    /// Appends what is kept at the end of `tokens` from their start on: the position of the first row as 8 bytes, little-endian, where
    /// there is a window; then keys and values `[heads, tokens]` as they lie in the memory.
    pub(super) fn read(&self, memory: &[u8], tokens: Range<usize>, to: &mut Vec<u8>) {
        let kept = self.kept_of(tokens);
        if self.shape.window.is_some() {
            to.extend_from_slice(&(kept.start as u64).to_le_bytes());
        }
        self.rows_of(kept).for_each(|rows| to.extend_from_slice(&memory[rows]));
    }

    /// What [`read`](Self::read) gave for `tokens`, here or in a place for another number of tokens, at the beginning of `rest`, from
    /// which it is taken. What is here is at the start of `tokens`.
    pub(super) fn parse<'r>(&self, tokens: &Range<usize>, rest: &mut &'r [u8]) -> Result<ReadRows<'r>> {
        let Range { start, end: position } = *tokens;
        let wrong = || err!(Malformed, "state: what it keeps is not what position {position} takes");
        let mut first = start;
        if self.shape.window.is_some() {
            let (bytes, others) = rest.split_first_chunk().ok_or_else(wrong)?;
            first = usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| wrong())?;
            *rest = others;
        }
        // No less than the next token sees, or what is new.
        if first < start || first > start.max(self.seen_at(position)) {
            return Err(wrong());
        }
        let (rows, others) = rest.split_at_checked(self.row_bytes(position - first)).ok_or_else(wrong)?;
        *rest = others;
        let fits = position - first <= self.capacity;
        let begin = if fits { first } else { self.behind(position).max(first) };
        // Rows in front of what is new stay, as many as there is room for.
        let stays = if start > 0 && first == start && begin == start {
            let kept = if self.fits(position) { self.from } else { self.behind(position).max(self.from) };
            kept.min(start)..start
        } else {
            begin..begin
        };
        if position - stays.start > self.capacity {
            return Err(wrong());
        }
        Ok(ReadRows { stays, first, begin, rows })
    }

    /// Takes what [`parse`](Self::parse) has found, up to `position`.
    pub(super) fn write(&mut self, memory: &mut [u8], position: usize, read: &ReadRows) {
        let ReadRows { ref stays, first, begin, mut rows } = *read;
        if stays.is_empty() {
            (self.origin, self.from) = (begin, begin);
        } else if !self.fits(position) {
            self.move_rows(memory, stays.clone(), 0);
        }
        self.undo = None;
        if position == first {
            return;
        }
        for to in self.rows_of(begin..position) {
            // What is not taken lies in front.
            let whole = to.len() / (position - begin) * (position - first);
            let (own, others) = rows.split_at(whole);
            let taken = &own[whole - to.len()..];
            memory[to].copy_from_slice(taken);
            rows = others;
        }
    }

    /// Copies what `other`, whose shape is the same, keeps at `position`.
    pub(super) fn copy(&mut self, memory: &mut [u8], other: &Self, from: &[u8], position: usize) -> Result<()> {
        let kept = other.kept_at(position);
        if kept.len() > self.capacity {
            bail!(Internal, "a request has no room for another one's rows");
        }
        (self.origin, self.from, self.undo) = (kept.start, kept.start, None);
        for (to, rows) in self.rows_of(kept.clone()).zip(other.rows_of(kept)) {
            memory[to].copy_from_slice(&from[rows]);
        }
        Ok(())
    }

    /// Bytes that [`read`](Self::read) gives.
    pub(super) fn state_bytes(&self, tokens: Range<usize>) -> usize {
        let rows = self.row_bytes(self.kept_of(tokens).len());
        rows + if self.shape.window.is_some() { size_of::<u64>() } else { 0 }
    }

    /// The earliest position to go on from: what its token sees must still be there.
    pub(super) fn earliest(&self) -> usize {
        match self.shape.window {
            _ if self.from == 0 => 0,
            None => self.from,
            Some(Window::Sliding(size)) => self.from + size - 1,
            Some(Window::Chunked(size)) => self.from.next_multiple_of(size),
        }
    }

    /// Bytes of the keys and values of so many tokens.
    fn row_bytes(&self, tokens: usize) -> usize {
        self.shape.token_bytes() * tokens
    }

    /// Whether there is room for rows up to `end`.
    fn fits(&self, end: usize) -> bool {
        end - self.origin <= self.capacity
    }

    /// Moves the rows of `positions`, after which there are others no more, to row `to` of each head.
    fn move_rows(&mut self, memory: &mut [u8], positions: Range<usize>, to: usize) {
        let before = *self;
        (self.origin, self.from) = (positions.start - to, positions.start);
        for (to, from) in self.rows_of(positions.clone()).zip(before.rows_of(positions)) {
            memory.copy_within(from, to.start);
        }
    }

    /// The first position that the token at `position` sees.
    fn seen_at(&self, position: usize) -> usize {
        self.shape.window.map_or(0, |window| window.first(position))
    }

    /// The positions that are kept for certain once a request is at `position`.
    fn kept_at(&self, position: usize) -> Range<usize> {
        self.behind(position).max(self.from).min(position)..position
    }

    /// Those of `tokens` that are kept for certain at their end.
    fn kept_of(&self, tokens: Range<usize>) -> Range<usize> {
        let kept = self.kept_at(tokens.end);
        kept.start.max(tokens.start)..kept.end
    }

    /// The first position that is kept for certain, if it ever was: what the token sees that lies the slack further back.
    fn behind(&self, position: usize) -> usize {
        self.seen_at(position.saturating_sub(SLACK))
    }
}

/// Rows of an exported state.
#[derive(Debug, Clone)]
pub(super) struct ReadRows<'r> {
    /// The positions in front of it whose rows stay.
    stays: Range<usize>,
    /// The position of the first one.
    first: usize,
    /// The position of the first one that there is room for.
    begin: usize,
    rows: &'r [u8],
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    const WINDOW: usize = 7;
    const CHUNK: usize = 100;

    /// Layers with a window and one without.
    struct Layers {
        memory: Vec<u8>,
        places: [RowsPlace; 4],
    }

    impl Layers {
        fn new() -> Self {
            let mut at = 0;
            let windows = [Window::Sliding(WINDOW), Window::Chunked(WINDOW), Window::Chunked(300)].map(Some);
            let places = [windows[0], None, windows[1], windows[2]].map(|window| {
                let kept = Kept::Rows { layer: 0, heads: 2, key_width: 1, value_width: 1, window };
                let shape = RowsShape::of(&kept, RowType::F32).unwrap();
                let place = RowsPlace::new(shape, at, shape.room(5000, CHUNK));
                at = place.end();
                place
            });
            Self { memory: vec![0; at], places }
        }

        /// Runs the tokens up to `end` of a call that began at `start`; each row is its position.
        fn run(&mut self, start: usize, end: usize) {
            for position in (start..end).step_by(CHUNK) {
                let positions = position..end.min(position + CHUNK);
                for place in &mut self.places {
                    place.make_room(&mut self.memory, start, position, positions.end).unwrap();
                    for rows in place.rows_of(positions.clone()) {
                        for (i, row) in self.memory[rows].chunks_exact_mut(4).enumerate() {
                            row.copy_from_slice(&((position + i) as u32).to_le_bytes());
                        }
                    }
                }
            }
        }

        fn go_back(&mut self, position: usize) {
            assert!(self.places.iter().all(|place| place.can_go_back(position)));
            self.places.iter_mut().for_each(|place| place.go_back(position));
        }

        /// Fails unless every row that the token at `position`, or one up to the slack before it, sees is there.
        fn check(&self, position: usize, slack: usize) {
            for place in &self.places {
                let seen = place.seen_at(position.saturating_sub(slack))..position;
                for rows in place.rows_of(seen.clone()) {
                    let rows = self.memory[rows].chunks_exact(4);
                    let rows: Vec<usize> =
                        rows.map(|row| u32::from_le_bytes(row.try_into().unwrap()) as usize).collect();
                    assert_eq!(rows, seen.clone().collect::<Vec<_>>(), "at {position}");
                }
            }
        }
    }

    #[test]
    fn a_call_that_fails_anywhere_leaves_what_it_began_with() {
        for start in [0, 1, 90, 263, 400, 1203] {
            for tokens in (1..1500).step_by(83) {
                let mut layers = Layers::new();
                (0..start).step_by(211).for_each(|from| layers.run(from, start.min(from + 211)));
                layers.check(start, SLACK);
                for end in [start + tokens, start + tokens / 2, start + 2 * tokens] {
                    layers.run(start, end);
                    layers.check(end, SLACK.min(end - start));
                    layers.go_back(start);
                    layers.check(start, 0);
                }
                // And goes on from there, whole.
                layers.run(start, start + tokens);
                layers.check(start + tokens, SLACK.min(tokens));
                let back = (start + tokens).saturating_sub(SLACK.min(tokens));
                layers.go_back(back);
                layers.check(back, 0);
            }
        }
    }
}
