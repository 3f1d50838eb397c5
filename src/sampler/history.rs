//! The text so far, as a sampler looks at it.

use ortshard_error::{Error, Result, Site};

/// The tokens so far, and how often each is among those that the penalties look at.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    ids: Vec<u32>,
    /// Of each token of `ids`: whether the sampler chose it, rather than being given it.
    chosen: Vec<bool>,
    /// The different tokens of the window, in no order.
    seen: Vec<Seen>,
    /// Of each id: 1 + its place in `seen`, or 0.
    places: Vec<u32>,
    /// How many tokens at the end the window has; 0: all.
    window: usize,
}

/// A token in the window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) id: u32,
    /// How many times it is there.
    count: u32,
    /// How many of these the sampler chose.
    pub(super) chosen: u32,
}

impl History {
    pub(super) fn new(window: usize) -> Self {
        Self { window, ..Self::default() }
    }

    /// The tokens so far.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The tokens so far, and of each whether the sampler chose it.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (u32, bool)> {
        self.ids.iter().copied().zip(self.chosen.iter().copied())
    }

    /// The different tokens of the window.
    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Makes room for `more` tokens, all of which lie in a vocabulary of so many.
    pub(super) fn reserve(&mut self, more: usize, vocabulary: usize) -> Result<()> {
        let bytes = (self.ids.len() + more) as u64 * 24 + vocabulary as u64 * 4;
        let refused = |_| Error::oom(Site::Run, "cpu", bytes, "the tokens that a sampler looks back at");
        self.ids.try_reserve(more).map_err(refused)?;
        self.chosen.try_reserve(more).map_err(refused)?;
        self.seen.try_reserve(more.min(vocabulary)).map_err(refused)?;
        if self.places.len() < vocabulary {
            self.places.try_reserve_exact(vocabulary - self.places.len()).map_err(refused)?;
            self.places.resize(vocabulary, 0);
        }
        Ok(())
    }

    /// Adds a token, for which there is room.
    pub(super) fn push(&mut self, id: u32, chosen: bool) {
        self.ids.push(id);
        self.chosen.push(chosen);
        let place = &mut self.places[id as usize];
        if *place == 0 {
            self.seen.push(Seen { id, count: 0, chosen: 0 });
            *place = self.seen.len() as u32;
        }
        let seen = &mut self.seen[*place as usize - 1];
        seen.count += 1;
        seen.chosen += u32::from(chosen);
        if self.window > 0 && self.ids.len() > self.window {
            self.leave(self.ids.len() - self.window - 1);
        }
    }

    /// Takes the token at `index` out of the window.
    fn leave(&mut self, index: usize) {
        let (id, chosen) = (self.ids[index], self.chosen[index]);
        let place = self.places[id as usize] as usize - 1;
        let seen = &mut self.seen[place];
        seen.count -= 1;
        seen.chosen -= u32::from(chosen);
        if seen.count == 0 {
            self.seen.swap_remove(place);
            self.places[id as usize] = 0;
            if let Some(moved) = self.seen.get(place) {
                self.places[moved.id as usize] = place as u32 + 1;
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.chosen.clear();
        self.seen.drain(..).for_each(|seen| self.places[seen.id as usize] = 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_window_is_not_seen_any_more() {
        let tokens: Vec<(u32, bool)> = (0..200_u32).map(|i| (i * i % 7, i % 3 == 0)).collect();
        for window in [0, 1, 2, 5, 199] {
            let mut history = History::new(window);
            history.reserve(tokens.len(), 7).unwrap();
            for end in 1..=tokens.len() {
                let (id, chosen) = tokens[end - 1];
                history.push(id, chosen);
                let begin = if window == 0 { 0 } else { end.saturating_sub(window) };
                let mut wanted: Vec<(u32, u32)> = Vec::new();
                for id in 0..7 {
                    let of_id = tokens[begin..end].iter().filter(|token| token.0 == id);
                    if of_id.clone().count() > 0 {
                        wanted.push((id, of_id.filter(|token| token.1).count() as u32));
                    }
                }
                let mut seen: Vec<(u32, u32)> = history.seen().iter().map(|seen| (seen.id, seen.chosen)).collect();
                seen.sort_unstable();
                assert_eq!(seen, wanted, "window {window}, {end} tokens");
            }
            history.clear();
            assert!(history.seen().is_empty() && history.places.iter().all(|place| *place == 0));
        }
    }
}
