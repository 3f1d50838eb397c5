//! States of fixed size, at several positions of a text: each token changes them, so what a request is to go back to is put aside.

use std::ops::Range;

/// Tokens between two snapshots that are kept to go back to, unless the request says otherwise.
pub(crate) const INTERVAL: usize = 256;
/// Such snapshots that there is room for, unless the request says otherwise.
const COUNT: usize = 8;
/// Those that runs need: one to read, one to write, and one in between, where the call that is in progress began.
const WORKING: usize = 3;
/// What a snapshot begins at a multiple of, in bytes.
const ALIGNMENT: usize = 64;

/// How densely snapshots are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Density {
    /// Tokens from one to the next; 0: [`INTERVAL`].
    pub interval: usize,
    /// Bytes that they may take beside those that runs need; 0: as many as [`COUNT`] of them take.
    pub bytes: u64,
}

impl Density {
    /// None beside those that runs need.
    pub(crate) const NONE: Self = Self { interval: 0, bytes: 1 };

    fn interval(self) -> usize {
        if self.interval == 0 { INTERVAL } else { self.interval }
    }

    /// Snapshots of `values` values that there is room for in what keeps `capacity` tokens.
    fn count(self, values: usize, capacity: usize) -> usize {
        let most = if self.bytes == 0 { COUNT as u64 } else { self.bytes / snapshot_bytes(values) as u64 };
        usize::try_from(most).unwrap_or(usize::MAX).min(capacity / self.interval()) + WORKING
    }
}

/// Bytes of a snapshot of `values` values.
fn snapshot_bytes(values: usize) -> usize {
    (values * size_of::<f32>()).next_multiple_of(ALIGNMENT)
}

/// The first byte from `at` on where snapshots may begin.
pub(super) fn aligned(at: u64) -> u64 {
    at.checked_next_multiple_of(ALIGNMENT as u64).unwrap_or(u64::MAX)
}

/// Bytes of all snapshots of `values` values; 0 if there are no values.
pub(super) fn bytes(values: usize, capacity: usize, density: Density) -> u64 {
    if values == 0 {
        return 0;
    }
    (snapshot_bytes(values) as u64).saturating_mul(density.count(values, capacity) as u64)
}

/// The states that a run reads and writes, as places in the memory of a [`KeptState`](super::KeptState).
#[derive(Debug, Clone, Default)]
pub(crate) struct StateRun {
    /// Where those lie that the run begins with; `None`: they are zeros.
    pub from: Option<usize>,
    /// Where those go that it leaves behind so many of its rows, in rising order, the last ones behind all.
    pub to: Vec<(usize, usize)>,
}

/// The snapshots of a request whose layers have states. That of position 0 is all zeros and takes no place.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The first byte of the first one.
    at: usize,
    /// Bytes of a snapshot, and those that states take of it.
    bytes: usize,
    used: usize,
    /// The position of each, if it has one.
    places: Vec<Option<usize>>,
    /// The places that the run in progress writes, and the position that each will have.
    running: Vec<(usize, usize)>,
    /// At multiples of it they are kept as long as there is room. It doubles when there is none.
    interval: usize,
}

impl Snapshots {
    /// Places at `at` for snapshots of `values` values in what keeps `capacity` tokens.
    pub(super) fn new(values: usize, at: usize, capacity: usize, density: Density) -> Self {
        let places = vec![None; density.count(values, capacity)];
        let (bytes, used) = (snapshot_bytes(values), values * size_of::<f32>());
        Self { at, bytes, used, places, running: Vec::new(), interval: density.interval() }
    }

    /// The positions up to `position` that a request can go on from, the last one first; 0 is the last of them.
    pub(super) fn positions(&self, position: usize) -> impl Iterator<Item = usize> {
        let mut positions: Vec<usize> = self.places.iter().flatten().copied().filter(|at| *at <= position).collect();
        positions.sort_unstable();
        positions.into_iter().rev().chain([0])
    }

    /// The last of them.
    pub(super) fn nearest(&self, position: usize) -> usize {
        self.positions(position).next().unwrap_or(0)
    }

    /// Forgets the states of tokens behind `position`.
    pub(super) fn go_back(&mut self, position: usize) {
        self.running.clear();
        for place in &mut self.places {
            *place = place.filter(|at| *at <= position);
        }
    }

    /// Plans a run of `tokens` rows from `position` on, of which there is a snapshot, in a call of a request that was at `start`, so
    /// that one of the last tokens up to there stays. If the run fails, everything is as it was.
    pub(super) fn plan(&mut self, start: usize, position: usize, tokens: usize) -> Option<StateRun> {
        self.running.clear();
        let from = match position {
            0 => None,
            _ => Some(self.offset(self.places.iter().position(|place| *place == Some(position))?)),
        };
        let (end, stays) = (position + tokens, [self.nearest(start), position]);
        let mut wanted = vec![end];
        if (position + 1..end).contains(&start) {
            wanted.push(start);
        }
        self.make_sparse(position, end, start);
        let first = (position / self.interval + 1).saturating_mul(self.interval);
        if self.places.len() > WORKING {
            wanted.extend((first..end).step_by(self.interval).filter(|at| *at != start));
        }
        // The ones that a run needs get their places first.
        for at in wanted {
            let place = self.free(&stays)?;
            self.running.push((place, at));
        }
        let mut to: Vec<(usize, usize)> =
            self.running.iter().map(|(place, at)| (at - position, self.offset(*place))).collect();
        to.sort_unstable();
        Some(StateRun { from, to })
    }

    /// The run that was planned last has been run.
    pub(super) fn ran(&mut self) {
        for (place, at) in self.running.drain(..) {
            self.places[place] = Some(at);
        }
    }

    /// Doubles the interval until those at its multiples, with those of a run from `position` to `end`, leave room for what runs need.
    fn make_sparse(&mut self, position: usize, end: usize, start: usize) {
        let room = self.places.len() - WORKING;
        if room == 0 {
            return;
        }
        loop {
            let interval = self.interval;
            let kept = self.places.iter().flatten().filter(|at| at.is_multiple_of(interval)).count();
            let new = end.saturating_sub(1) / interval - position / interval;
            if kept + new <= room || interval > end.max(start) {
                return;
            }
            self.interval = interval.saturating_mul(2);
        }
    }

    /// A place that nothing needs: the run in progress does not write it, it is none of `stays`, and it lies at no multiple of the
    /// interval, unless all others do.
    fn free(&mut self, stays: &[usize]) -> Option<usize> {
        let is_free = |place: &usize| {
            let at = self.places[*place];
            at.is_none_or(|at| !stays.contains(&at)) && self.running.iter().all(|(other, _)| other != place)
        };
        // Free ones first, then those between, the earliest first.
        let order = |place: &usize| match self.places[*place] {
            None => (0, 0),
            Some(at) => (1 + usize::from(at.is_multiple_of(self.interval)), at),
        };
        let place = (0..self.places.len()).filter(is_free).min_by_key(order)?;
        self.places[place] = None;
        Some(place)
    }

    fn offset(&self, place: usize) -> usize {
        self.at + place * self.bytes
    }

    /// Where the states of `position` lie; `None`: there are none, or they are zeros.
    pub(super) fn range(&self, position: usize) -> Option<Range<usize>> {
        let place = self.places.iter().position(|place| *place == Some(position))?;
        let at = self.offset(place);
        Some(at..at + self.used)
    }

    /// Bytes of the states of one position.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Forgets all, and takes the states of `position`, if it is not 0: where they are to be written.
    pub(super) fn restart(&mut self, position: usize) -> Option<Range<usize>> {
        self.go_back(0);
        if position == 0 {
            return None;
        }
        self.places[0] = Some(position);
        self.range(position)
    }

    /// Takes over the snapshots of `other` up to `position`, which has as many places: the places of both to copy between.
    pub(super) fn take_over(&mut self, other: &Self, position: usize) -> Vec<(Range<usize>, Range<usize>)> {
        self.restart(0);
        self.interval = other.interval;
        let mut copies = Vec::new();
        for (place, at) in other.places.iter().enumerate().take(self.places.len()) {
            if let Some(at) = at.filter(|at| *at <= position) {
                self.places[place] = Some(at);
                copies.extend(self.range(at).zip(other.range(at)));
            }
        }
        copies
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Runs pieces of a call to `end`; gives the positions read.
    fn call(snapshots: &mut Snapshots, start: usize, end: usize, chunk: usize) {
        let mut position = snapshots.nearest(start);
        while position < end {
            let tokens = chunk.min(end - position);
            let run = snapshots.plan(start, position, tokens).unwrap();
            assert_eq!(run.from.is_none(), position == 0);
            let places: HashSet<usize> = run.to.iter().map(|(_, to)| *to).chain(run.from).collect();
            assert_eq!(places.len(), run.to.len() + usize::from(run.from.is_some()), "no place twice");
            assert_eq!(run.to.last().map(|(behind, _)| *behind), Some(tokens));
            assert!(run.to.is_sorted());
            snapshots.ran();
            position += tokens;
        }
    }

    #[test]
    fn the_call_that_was_last_can_be_gone_back_into_and_earlier_ones_at_intervals() {
        for (bytes, interval) in [(1, 0), (0, 16), (3 * 64, 4), (100 * 64, 1)] {
            for chunk in [1, 7, 100] {
                let mut snapshots = Snapshots::new(3, 0, 5000, Density { interval, bytes });
                let (mut position, mut tokens) = (0, 1);
                while position < 900 {
                    tokens += 1;
                    call(&mut snapshots, position, position + tokens, chunk);
                    assert_eq!(snapshots.nearest(position + tokens), position + tokens);
                    // Where the call began, there is a snapshot, even if that lay behind another one.
                    assert_eq!(snapshots.nearest(position), position);
                    snapshots.go_back(position + tokens / 2);
                    (position, tokens) = (position + tokens / 2 + 1, tokens * 2 % 61);
                }
                let room = snapshots.places.len() - WORKING;
                if room > 0 {
                    let dense = snapshots.interval;
                    let here: Vec<usize> = (dense..=snapshots.nearest(900)).step_by(dense).collect();
                    assert!(here.iter().all(|at| snapshots.nearest(*at) == *at), "{snapshots:?}");
                    // No sparser than it has to be.
                    assert!(
                        dense == Density { interval, bytes }.interval() || 1000 / (dense / 2) >= room,
                        "{snapshots:?}"
                    );
                }
                snapshots.go_back(5);
                assert!(snapshots.nearest(position) <= 5);
            }
        }
    }
}
