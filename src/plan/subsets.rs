//! The least hops under a limit in any order of devices: dynamic programming over subsets.

use super::solver::Solver;
use super::table::{Device, Reach, Table};

/// Devices that are alike.
struct Kind {
    device: Device,
    members: Vec<usize>,
    /// How much one more of them adds to the number of a subset.
    step: usize,
}

/// Subsets of devices, each a number whose digits count the devices of each kind.
pub(super) struct Subsets<'t> {
    table: &'t Table,
    kinds: Vec<Kind>,
    count: usize,
    /// Whether the devices that must be used are seen to.
    demands: bool,
    /// Of each subset, once a limit has been tried: the hops of all its devices, and how many these are.
    hops: Vec<(f64, u32)>,
    /// Of each subset under the last limit: how far it gets or, where demands are seen to, a bit for each place that it gets to.
    places: Vec<u64>,
    reaches: Vec<Reach>,
    /// The subset without the last device of the best plan, and the kind of that.
    best: Option<(usize, usize)>,
}

impl<'t> Subsets<'t> {
    /// The subsets of `devices`; with `demands` only those with all devices that must be used are plans.
    pub(super) fn new(table: &'t Table, devices: &[Device], demands: bool) -> Self {
        let mut kinds: Vec<Kind> = Vec::new();
        for (index, device) in devices.iter().enumerate() {
            let device = Device { required: device.required && demands, ..*device };
            match kinds.iter_mut().find(|kind| kind.device == device) {
                Some(kind) => kind.members.push(index),
                None => kinds.push(Kind { device, members: vec![index], step: 0 }),
            }
        }
        let mut count = 1_usize;
        for kind in &mut kinds {
            kind.step = count;
            count = count.saturating_mul(kind.members.len() + 1);
        }
        let (hops, places, reaches) = (Vec::new(), Vec::new(), Vec::new());
        Self { table, kinds, count, demands, hops, places, reaches, best: None }
    }

    /// How many subsets there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many devices of a kind are in `subset`.
    fn digit(&self, subset: usize, kind: usize) -> usize {
        let Kind { step, members, .. } = &self.kinds[kind];
        subset / step % (members.len() + 1)
    }

    /// Words of a subset's places.
    fn words(&self) -> usize {
        if self.demands { self.table.units().div_ceil(64) } else { 1 }
    }

    fn has_place(&self, subset: usize, place: usize) -> bool {
        if !self.demands {
            return self.places[subset] == place as u64;
        }
        self.places[subset * self.words() + place / 64] >> (place % 64) & 1 == 1
    }

    /// Calls `visit` with each subset, parts first, and a bit for each kind of which it has not all devices.
    fn walk(&self, mut visit: impl FnMut(&Self, usize, u64)) {
        let mut digits = vec![0; self.kinds.len()];
        let mut open = (0..self.kinds.len()).fold(0, |open, kind| open | 1_u64 << kind);
        for subset in 0..self.count {
            visit(self, subset, open);
            for (index, (digit, kind)) in digits.iter_mut().zip(&self.kinds).enumerate() {
                *digit += 1;
                if *digit == kind.members.len() {
                    open &= !(1 << index);
                }
                if *digit <= kind.members.len() {
                    break;
                }
                *digit = 0;
                open |= 1 << index;
            }
        }
    }

    /// The hops of every subset, which no limit changes. They are added in one order, so that rounding makes none less than a part's.
    fn count_hops(&mut self) {
        let hops = |subset| {
            self.kinds.iter().enumerate().fold((0.0, 0), |(hops, devices), (index, kind)| {
                let digit = self.digit(subset, index) as u32;
                (hops + f64::from(digit) * kind.device.hop, devices + digit)
            })
        };
        self.hops = (0..self.count).map(hops).collect();
    }

    /// Whether all devices together hold less than all units, each as much as it can wherever that begins. Quick to tell, and mostly so
    /// where no plan fits.
    fn hold_too_little(&self) -> bool {
        let most = |(kind, reach): (&Kind, &Reach)| {
            let reads = (0..self.table.units()).map(|from| self.table.read(from, reach.farthest(from)));
            reads.max().unwrap_or(0).saturating_mul(kind.members.len() as u64)
        };
        let all = self.kinds.iter().zip(&self.reaches).map(most).fold(0, u64::saturating_add);
        all < self.table.read(0, self.table.units())
    }

    /// Whether `subset` and one of `kind` more has all devices that must be used.
    fn is_complete(&self, subset: usize, kind: usize) -> bool {
        let all = |(other, own): (usize, &Kind)| {
            !own.device.required || self.digit(subset, other) + usize::from(other == kind) == own.members.len()
        };
        self.kinds.iter().enumerate().all(all)
    }

    /// `subset` can finish with one of `kind`.
    fn finish(&self, best: &mut Best, subset: usize, kind: usize) {
        if best.is_worse_than(self.hops[subset]) && (!self.demands || self.is_complete(subset, kind)) {
            *best = Best { cost: self.hops[subset], with: Some((subset, kind)) };
        }
    }

    /// Every subset's farthest place. Most of the time goes by here.
    fn reach(&mut self) -> Best {
        let (units, kinds, mut best) = (self.table.units(), self.kinds.len(), Best::NONE);
        // What one more of each kind makes of a place, side by side.
        let far: Vec<u64> =
            (0..units).flat_map(|from| self.reaches.iter().map(move |reach| reach.farthest(from) as u64)).collect();
        let steps: Vec<usize> = self.kinds.iter().map(|kind| kind.step).collect();
        let mut places = std::mem::take(&mut self.places);
        self.walk(|own, subset, open| {
            let place = places[subset] as usize;
            if place >= units || !best.is_worse_than(own.hops[subset]) {
                return;
            }
            let far = &far[place * kinds..][..kinds];
            for (index, step) in bits(open).map(|index| (index, steps[index])) {
                let (end, with) = (far[index], &mut places[subset + step]);
                *with = (*with).max(end);
                if end as usize == units {
                    own.finish(&mut best, subset, index);
                }
            }
        });
        self.places = places;
        best
    }

    /// All of every subset's places.
    fn reach_all(&mut self) -> Best {
        let (units, words, mut best) = (self.table.units(), self.words(), Best::NONE);
        let mut places = std::mem::take(&mut self.places);
        places[0] = 1;
        self.walk(|own, subset, open| {
            if !best.is_worse_than(own.hops[subset]) {
                return;
            }
            for index in bits(open) {
                let (Reach { most, whole }, with) = (&own.reaches[index], subset + own.kinds[index].step);
                let (mut filled, mut ends) = (0, false);
                for from in 0..units {
                    if places[subset * words + from / 64] >> (from % 64) & 1 == 0 {
                        continue;
                    }
                    for to in filled.max(from + 1)..=most[from] {
                        places[with * words + to / 64] |= 1 << (to % 64);
                    }
                    filled = filled.max(most[from] + 1);
                    ends |= whole[from];
                }
                if ends {
                    own.finish(&mut best, subset, index);
                }
            }
        });
        self.places = places;
        best
    }
}

/// The places of the bits that are set, from the lowest.
fn bits(mut of: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (of != 0).then(|| of.trailing_zeros() as usize)?;
        of &= of - 1;
        Some(lowest)
    })
}

/// The best plan so far.
struct Best {
    /// The hops of all its devices but the last, and how many these are.
    cost: (f64, u32),
    /// Their subset, and the kind of the last.
    with: Option<(usize, usize)>,
}

impl Best {
    const NONE: Self = Self { cost: (f64::INFINITY, u32::MAX), with: None };

    fn is_worse_than(&self, (hops, devices): (f64, u32)) -> bool {
        hops < self.cost.0 || (hops <= self.cost.0 && devices < self.cost.1)
    }
}

impl Solver for Subsets<'_> {
    fn hops(&mut self, limit: f64) -> Option<f64> {
        if self.hops.is_empty() {
            self.count_hops();
        }
        self.reaches = self.kinds.iter().map(|kind| Reach::new(self.table, &kind.device, limit)).collect();
        self.best = None;
        if self.hold_too_little() {
            return None;
        }
        self.places.clear();
        self.places.resize(self.count * self.words(), 0);
        let best = if self.demands { self.reach_all() } else { self.reach() };
        self.best = best.with;
        self.best.map(|_| best.cost.0)
    }

    fn devices(&mut self, limit: f64) -> Vec<usize> {
        self.hops(limit);
        let Some((mut subset, last)) = self.best else { return Vec::new() };
        let units = self.table.units();
        let mut kinds = vec![last];
        let begins = |from: &usize| self.has_place(subset, *from) && self.reaches[last].whole[*from];
        let mut at = (0..units).find(begins).unwrap_or(0);
        while subset > 0 {
            let before = |kind: usize| {
                let without = (self.digit(subset, kind) > 0).then(|| subset - self.kinds[kind].step)?;
                let leads = |from: &usize| {
                    let reach = &self.reaches[kind];
                    let ends = if self.demands {
                        (from + 1..=reach.most[*from]).contains(&at)
                    } else {
                        reach.farthest(*from) == at
                    };
                    self.has_place(without, *from) && ends
                };
                Some((kind, without, (0..units).find(leads)?))
            };
            let Some((kind, without, from)) = (0..self.kinds.len()).find_map(before) else { return Vec::new() };
            kinds.push(kind);
            (subset, at) = (without, from);
        }
        kinds.reverse();
        let mut used = vec![0; self.kinds.len()];
        let member = |kind: usize| {
            used[kind] += 1;
            self.kinds[kind].members[used[kind] - 1]
        };
        kinds.into_iter().map(member).collect()
    }
}
