//! The tokens of each expert.

use std::ops::Range;

use super::super::OutOfMemory;
use super::route::Routes;

/// A row is a token at one of its experts. Rows are in the order of their experts, those of an expert in the order of their tokens.
pub(super) struct Grouping {
    top_k: usize,
    most: usize,
    /// For each row its place in the routes.
    places: Vec<u32>,
    /// For each token its rows in their order, `[tokens, top_k]`.
    rows: Vec<u32>,
    groups: Vec<Group>,
}

/// Rows of one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) expert: usize,
    /// The first of them.
    pub(super) from: usize,
    pub(super) count: usize,
}

/// Groups that are worked on together, and their rows.
pub(super) struct Wave<'a> {
    pub(super) groups: &'a [Group],
    pub(super) rows: Range<usize>,
}

impl Grouping {
    /// Bytes that it takes.
    pub(super) const fn bytes(tokens: usize, top_k: usize) -> usize {
        tokens.saturating_mul(top_k).saturating_mul(2 * size_of::<u32>())
    }

    /// Groups the rows of so many experts, in waves of `most` rows.
    pub(super) fn new(routes: &Routes, experts: usize, most: usize) -> Result<Self, OutOfMemory> {
        let (ids, top_k) = (routes.ids, routes.top_k);
        let (mut places, mut rows) = (zeros(ids.len())?, zeros(ids.len())?);
        let mut counts = vec![0; experts];
        for id in ids {
            counts[*id as usize] += 1;
        }
        let mut groups = Vec::new();
        let mut next = Vec::with_capacity(experts);
        let mut first = 0;
        for (expert, count) in counts.into_iter().enumerate() {
            next.push(first);
            let end = first + count;
            groups.extend((first..end).step_by(most).map(|from| Group { expert, from, count: most.min(end - from) }));
            first = end;
        }
        for ((place, id), row_of) in ids.iter().enumerate().zip(&mut rows) {
            let row = &mut next[*id as usize];
            places[*row] = place as u32;
            *row_of = *row as u32;
            *row += 1;
        }
        for rows in rows.chunks_exact_mut(top_k) {
            rows.sort_unstable();
        }
        Ok(Self { top_k, most, places, rows, groups })
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// As many groups at a time as their rows allow.
    pub(super) fn waves(&self) -> impl Iterator<Item = Wave<'_>> {
        let mut left = &self.groups[..];
        std::iter::from_fn(move || {
            let from = left.first()?.from;
            let fit = left.iter().take_while(|group| group.from + group.count <= from + self.most).count();
            let (groups, rest) = left.split_at(fit);
            left = rest;
            let end = groups.last().map_or(from, |group| group.from + group.count);
            Some(Wave { groups, rows: from..end })
        })
    }

    /// A row's place in the routes.
    pub(super) fn place(&self, row: usize) -> usize {
        self.places[row] as usize
    }

    /// The token of a row.
    pub(super) fn token(&self, row: usize) -> usize {
        self.place(row) / self.top_k
    }

    /// A token's rows, in ascending order of their experts.
    pub(super) fn rows(&self, token: usize) -> impl Iterator<Item = usize> {
        self.rows[token * self.top_k..][..self.top_k].iter().map(|row| *row as usize)
    }
}

fn zeros(len: usize) -> Result<Vec<u32>, OutOfMemory> {
    let error = OutOfMemory { bytes: len.saturating_mul(size_of::<u32>()) };
    let mut zeros = Vec::new();
    if u32::try_from(len).is_err() || zeros.try_reserve_exact(len).is_err() {
        return Err(error);
    }
    zeros.resize(len, 0);
    Ok(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_hold_every_row_once_in_the_order_of_experts() {
        let ids = [3, 1, 1, 0, 3, 1, 1, 3, 1, 0];
        let routes = Routes { top_k: 2, ids: &ids, weights: &[0.0; 10], on_input: false };
        for most in 1..12 {
            let grouping = Grouping::new(&routes, 5, most).unwrap();
            let mut seen = Vec::new();
            for wave in grouping.waves() {
                assert!((1..=most).contains(&wave.rows.len()));
                for Group { expert, from, count } in wave.groups {
                    assert!(*from >= wave.rows.start && from + count <= wave.rows.end);
                    for row in *from..from + count {
                        assert_eq!((row, ids[grouping.place(row)] as usize), (seen.len(), *expert));
                        seen.push((*expert, grouping.place(row)));
                    }
                }
            }
            assert!(seen.len() == 10 && seen.is_sorted());
            for token in 0..5 {
                let rows: Vec<usize> = grouping.rows(token).collect();
                assert!(rows.is_sorted() && rows.iter().all(|row| grouping.token(*row) == token));
            }
        }
    }
}
