//! The filters that leave some of the candidates: top-n-sigma, top-k, top-p, min-p and typical, in this order.
//!
//! Nothing is sorted but the few candidates about a border: the ones above it are found by selection. Probabilities are
//! summed as whole numbers, so that the order in which a selection leaves them changes no sum.

use super::groups::Groups;
use super::options::SamplerOptions;
use super::softmax::{Scale, deviation};

/// The weight 1, which the largest logit has, as a whole number. 2^18 of them fit into 64 bits 64 times.
const ONE: f64 = (1_u64 << 40) as f64;

/// How few candidates are sorted.
const FEW: usize = 32;

/// A token that may be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Its weight as a whole number.
    mass: u64,
    /// What decides who stays: the lowest ranks.
    rank: f64,
}

/// The candidates of a draw.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pool: Vec<Candidate>,
}

impl Filter {
    /// Leaves the candidates of `logits` that have passed all filters of `options`.
    pub(super) fn pass(&mut self, options: &SamplerOptions, logits: &[f32], groups: &mut Groups, scale: Scale) {
        let mut floor = groups.nth_largest(logits, options.top_k);
        if options.top_n_sigma > 0.0 {
            let lowest = f64::from(scale.largest) - f64::from(options.top_n_sigma) * deviation(logits, scale.largest);
            floor = floor.max(lowest as f32);
        }
        if options.cuts_mass() && options.top_k > 0 {
            self.gather(groups.at_least(logits, floor), scale);
            self.keep_mass(options.top_p, self.total());
        } else if options.cuts_mass() {
            self.gather_mass(options.top_p, logits, groups, scale, floor);
        } else {
            // Nothing else looks at what min-p leaves out. A little too much is taken: the filter itself decides.
            let lowest = scale.largest + log_of(options.min_p, scale) as f32;
            let lowest = if options.min_p > 0.0 { lowest - lowest.abs() * 1e-6 } else { f32::NEG_INFINITY };
            self.gather(groups.at_least(logits, floor.max(lowest)), scale);
        }
        self.narrow(options, scale);
    }

    /// As [`pass`](Self::pass), from the `top_k` largest logits, which are all that is known.
    pub(super) fn pass_largest(
        &mut self,
        options: &SamplerOptions,
        largest: impl Iterator<Item = (u32, f32)>,
        scale: Scale,
    ) {
        self.gather(largest, scale);
        if options.cuts_mass() {
            self.keep_mass(options.top_p, self.total());
        }
        self.narrow(options, scale);
    }

    /// The candidates that are left, in increasing order of id.
    pub(super) fn candidates(&mut self) -> impl ExactSizeIterator<Item = (u32, f32)> + '_ {
        self.pool.sort_unstable_by_key(|candidate| candidate.id);
        self.pool.iter().map(|candidate| (candidate.id, candidate.logit))
    }

    fn gather(&mut self, candidates: impl Iterator<Item = (u32, f32)>, scale: Scale) {
        self.pool.clear();
        self.pool.extend(candidates.map(|(id, logit)| Candidate {
            id,
            logit,
            mass: (f64::from(scale.weight(logit)) * ONE) as u64,
            rank: -f64::from(logit),
        }));
    }

    /// The sum of the weights of the pool.
    fn total(&self) -> f64 {
        self.pool.iter().map(|candidate| candidate.mass).sum::<u64>() as f64
    }

    /// Gathers the most probable of the logits not below `floor`, as many as reach the part `top_p` of them.
    fn gather_mass(&mut self, top_p: f32, logits: &[f32], groups: &Groups, scale: Scale, floor: f32) {
        let total = scale.mass(logits, floor) * ONE;
        // Ever more of the logits, until they are enough: mostly very few are.
        let mut reach = 4.0;
        loop {
            let lowest = logit_of(scale, reach);
            self.gather(groups.at_least(logits, floor.max(lowest)), scale);
            if lowest <= floor || self.total() >= f64::from(top_p) * total {
                break;
            }
            reach *= 2.0;
        }
        self.keep_mass(top_p, total);
    }

    /// Leaves the lowest ranks: as many as reach the part `share` of `total`. At least one stays.
    fn keep_mass(&mut self, share: f32, total: f64) {
        let count = self.count_of(f64::from(share) * total);
        self.pool.truncate(count);
    }

    /// How many of the lowest ranks reach `mass`, at least one. They are the first of the pool then, and the one that
    /// reaches it is the last of them.
    fn count_of(&mut self, mass: f64) -> usize {
        let order = |a: &Candidate, b: &Candidate| a.rank.total_cmp(&b.rank).then(a.id.cmp(&b.id));
        let (mut begin, mut end, mut before) = (0, self.pool.len(), 0_u64);
        while end - begin > FEW {
            let middle = begin.midpoint(end);
            self.pool[begin..end].select_nth_unstable_by(middle - begin, order);
            let half: u64 = self.pool[begin..middle].iter().map(|candidate| candidate.mass).sum();
            if (before + half) as f64 >= mass {
                end = middle;
            } else {
                (begin, before) = (middle, before + half);
            }
        }
        self.pool[begin..end].sort_unstable_by(order);
        while begin < self.pool.len() && (before as f64) < mass {
            before += self.pool[begin].mass;
            begin += 1;
        }
        begin.max(1)
    }

    /// What comes after top-p.
    fn narrow(&mut self, options: &SamplerOptions, scale: Scale) {
        if options.min_p > 0.0 {
            let lowest = log_of(options.min_p, scale);
            let above = |logit: f32| f64::from(logit) - f64::from(scale.largest) >= lowest;
            self.pool.retain(|candidate| above(candidate.logit));
        }
        if options.is_typical() {
            self.keep_typical(options.typical_p, scale);
        }
    }

    /// Leaves the candidates whose surprise is nearest to what is expected of a draw from all of them.
    fn keep_typical(&mut self, typical_p: f32, scale: Scale) {
        let total = self.total();
        let logarithm = |candidate: &Candidate| scale.logarithm(candidate.logit);
        let mean = self.pool.iter().map(|candidate| candidate.mass as f64 * logarithm(candidate)).sum::<f64>() / total;
        self.pool.iter_mut().for_each(|candidate| candidate.rank = (logarithm(candidate) - mean).abs());
        let count = self.count_of(f64::from(typical_p) * total);
        // Equals of the last stay.
        let Some(furthest) = self.pool.get(count - 1).map(|last| last.rank) else { return };
        self.pool.retain(|candidate| candidate.rank <= furthest);
    }
}

/// How far below the largest logit a token is `share` times as probable.
fn log_of(share: f32, scale: Scale) -> f64 {
    libm::log(f64::from(share)) * scale.temperature
}

/// The logit whose weight has the logarithm `-reach`.
fn logit_of(scale: Scale, reach: f64) -> f32 {
    (f64::from(scale.largest) - reach * scale.temperature) as f32
}
