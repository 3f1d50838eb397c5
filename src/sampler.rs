//! Choosing the next token from logits. Needs no model: a [`Sampler`] is a rule and a random stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::{Result, bail};

/// Temperatures above 0 are raised to at least this.
const MIN_TEMPERATURE: f32 = 1e-5;

/// `2^53`, the denominator of every uniform draw.
const UNIT: u64 = 1 << 53;

/// Logits are looked at in groups of this many. One pass, which the compiler vectorises, finds the largest of each
/// group; the rest of the work leaves out the groups that cannot matter.
const GROUP: usize = 64;

/// How a [`Sampler`] chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits: 0 is greedy, below 1 sharper, above 1 flatter. Finite, not negative.
    pub temperature: f32,
    /// How many of the largest logits are candidates; 0 means all.
    pub top_k: usize,
    /// Seed of the random stream.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self { temperature: 0.6, top_k: 35, seed: 1234 }
    }
}

/// A seeded sampler.
///
/// `Send` and `Sync`; sampling takes `&mut self`, so one call at a time. A clone continues the same random stream
/// independently, which makes it a snapshot to replay from.
///
/// # The rule
///
/// Temperature 0 takes the largest logit; among equals the lowest id. Any other temperature:
///
/// 1. The pivot is the `top_k`-th largest logit, and every logit not below it is a candidate, so ties with the pivot
///    survive. `top_k` 0, or one that is not below the vocabulary size, makes every token a candidate. A logit of
///    minus infinity is masked: never a candidate.
/// 2. A candidate's weight is `p = exp((logit - largest) / max(temperature, 1e-5))`, computed in `f64`
///    and kept as its logarithm.
/// 3. The answer is the candidate with the largest `p / q`, where each `q` is drawn from the exponential distribution
///    with mean 1, compared as `ln p - ln q`; among equals the lowest id. That is a draw from the softmax over the candidates.
///
/// # The random stream
///
/// It is `ChaCha8`. The key is the seed as 8 little-endian bytes followed by 24 zero bytes; nonce and
/// counter start at 0. Each candidate, in increasing order of id, takes the next 8 bytes as a little-endian integer
/// `w` and gets `q = -ln((2 * (w >> 12) + 1) / 2^53)`. Nothing else draws: neither a greedy choice nor a failed call
/// moves the stream. The same seed, options and logits give the same tokens on every platform: logarithms come from
/// `libm`, not from the operating system.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    random: ChaCha8Rng,
    /// The largest logit of each group of the current call.
    maxima: Vec<f32>,
    /// Logits that may be among the `top_k` largest.
    large: Vec<f32>,
}

impl Sampler {
    /// A sampler at the start of its random stream.
    ///
    /// # Errors
    /// `InvalidArgument` if `temperature` is negative, infinite or not a number.
    pub fn new(options: SamplerOptions) -> Result<Self> {
        let SamplerOptions { temperature, seed, .. } = options;
        if !(temperature.is_finite() && temperature >= 0.0) {
            bail!(InvalidArgument, "temperature is {temperature}; it must be finite and not negative");
        }
        Ok(Self { options, random: stream(seed), maxima: Vec::new(), large: Vec::new() })
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> SamplerOptions {
        self.options
    }

    /// Moves back to the start of the random stream.
    pub fn reset(&mut self) {
        self.random = stream(self.options.seed);
    }

    /// Moves to the start of the random stream of `seed`, which replaces the seed of the options.
    pub fn reset_with(&mut self, seed: u64) {
        self.options.seed = seed;
        self.reset();
    }

    /// The next token's id, an index into `logits`: one value per token of the vocabulary.
    ///
    /// # Errors
    /// `InvalidArgument` if `logits` is empty, holds not-a-number or plus infinity (the message names the index), or
    /// is minus infinity throughout. The random stream then stays where it was.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        self.survey(logits)?;
        let (group, largest) = first_largest(&self.maxima);
        let index = if self.options.temperature == 0.0 {
            group * GROUP + first_largest(logits.chunks(GROUP).nth(group).unwrap_or_default()).0
        } else {
            self.draw(logits, largest)
        };
        Ok(index as u32)
    }

    /// Fills `maxima`; refuses logits that cannot be sampled from.
    fn survey(&mut self, logits: &[f32]) -> Result<()> {
        self.maxima.clear();
        for (index, group) in logits.chunks(GROUP).enumerate() {
            let Some(maximum) = group_maximum(group) else {
                let wrong = index * GROUP + group.iter().take_while(|&&logit| logit < f32::INFINITY).count();
                bail!(InvalidArgument, "logits[{wrong}] is {}", logits[wrong]);
            };
            self.maxima.push(maximum);
        }
        if logits.is_empty() {
            bail!(InvalidArgument, "logits is empty");
        }
        if logits.len() > u32::MAX as usize {
            bail!(InvalidArgument, "logits has {} values; a token id has 32 bits", logits.len());
        }
        if self.maxima.iter().all(|&maximum| maximum == f32::NEG_INFINITY) {
            bail!(InvalidArgument, "every one of the {} logits is minus infinity", logits.len());
        }
        Ok(())
    }

    /// How many of the largest of `vocabulary` logits decide; logits that equal the last of them decide, too.
    pub(crate) fn candidates(&self, vocabulary: usize) -> usize {
        match (self.options.temperature == 0.0, self.options.top_k) {
            (true, _) => vocabulary.min(1),
            (false, 0) => vocabulary,
            (false, top_k) => vocabulary.min(top_k),
        }
    }

    /// What [`sample`](Self::sample) would choose from logits whose largest are `candidates`, in falling order: at
    /// least as many as [`candidates`](Self::candidates) says, and all that equal the last of those. All logits are
    /// finite.
    pub(crate) fn choose(&mut self, candidates: &mut Vec<(u32, f32)>) -> u32 {
        let count = if self.options.temperature == 0.0 { 1 } else { self.options.top_k };
        let largest = candidates.first().map_or(f32::NEG_INFINITY, |first| first.1);
        let pivot = candidates.get(count - 1).map_or(f32::NEG_INFINITY, |last| last.1);
        candidates.retain(|candidate| candidate.1 >= pivot);
        candidates.sort_unstable_by_key(|candidate| candidate.0);
        if self.options.temperature == 0.0 {
            return candidates.first().map_or(0, |first| first.0);
        }
        let temperature = f64::from(self.options.temperature.max(MIN_TEMPERATURE));
        draw(&mut self.random, temperature, largest, candidates.iter().map(|&(id, logit)| (id as usize, logit))) as u32
    }

    /// The candidate with the largest `p / q`.
    fn draw(&mut self, logits: &[f32], largest: f32) -> usize {
        let pivot = self.pivot(logits);
        let temperature = f64::from(self.options.temperature.max(MIN_TEMPERATURE));
        let groups = logits.chunks(GROUP).enumerate().zip(&self.maxima).filter(|&(_, &maximum)| maximum >= pivot);
        let candidates = groups.flat_map(|((group, logits), _)| (group * GROUP..).zip(logits.iter().copied()));
        let candidates = candidates.filter(|&(_, logit)| logit >= pivot && logit != f32::NEG_INFINITY);
        draw(&mut self.random, temperature, largest, candidates)
    }

    /// The `top_k`-th largest logit, or minus infinity where every token is a candidate.
    fn pivot(&mut self, logits: &[f32]) -> f32 {
        let top_k = self.options.top_k;
        if top_k == 0 || top_k >= logits.len() {
            return f32::NEG_INFINITY;
        }
        // The largest logits of `top_k` groups reach this floor, so the pivot does, too.
        let floor = if top_k < self.maxima.len() {
            self.large.clone_from(&self.maxima);
            nth_largest(&mut self.large, top_k)
        } else {
            f32::NEG_INFINITY
        };
        self.large.clear();
        for (group, &maximum) in logits.chunks(GROUP).zip(&self.maxima) {
            if maximum >= floor {
                self.large.extend(group.iter().filter(|&&logit| logit >= floor));
            }
        }
        nth_largest(&mut self.large, top_k)
    }
}

/// The candidate, in increasing order of id, with the largest `p / q`, compared as `ln p - ln q`.
fn draw(
    random: &mut ChaCha8Rng,
    temperature: f64,
    largest: f32,
    candidates: impl Iterator<Item = (usize, f32)>,
) -> usize {
    let (mut best, mut best_score) = (0, f64::NEG_INFINITY);
    for (index, logit) in candidates {
        let uniform = 2 * (random.next_u64() >> 12) + 1;
        let weight = (f64::from(logit) - f64::from(largest)) / temperature;
        // Two logarithms are expensive, and almost every candidate can be ruled out without them: as q >= 1 - u, `-ln
        // q` is at most ln 2 times the bits that `1 - u` lacks. The margin covers rounding.
        let lacking_bits = (UNIT - uniform).leading_zeros() - UNIT.leading_zeros();
        if weight + f64::from(lacking_bits) * std::f64::consts::LN_2 + 1e-9 < best_score {
            continue;
        }
        let q = -libm::log(uniform as f64 / UNIT as f64);
        let score = weight - libm::log(q);
        if score > best_score {
            (best, best_score) = (index, score);
        }
    }
    best
}

/// The `n`-th largest of `values`, from 1; there are at least that many. Reorders them.
fn nth_largest(values: &mut [f32], n: usize) -> f32 {
    *values.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1
}

/// The largest value and the lowest index that holds it; (0, minus infinity) where there is none above that.
fn first_largest(values: &[f32]) -> (usize, f32) {
    let start = (0, f32::NEG_INFINITY);
    (0..).zip(values).fold(start, |best, (index, &value)| if value > best.1 { (index, value) } else { best })
}

/// The largest of at most [`GROUP`] logits; `None` if one is not a number or plus infinity.
fn group_maximum(group: &[f32]) -> Option<f32> {
    const LANES: usize = 8;
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let mut wrong = [false; LANES];
    let mut look = |lane: usize, logit: f32| {
        maxima[lane] = if logit > maxima[lane] { logit } else { maxima[lane] };
        wrong[lane] |= logit.is_nan();
        wrong[lane] |= logit == f32::INFINITY;
    };
    let (rows, rest) = group.as_chunks::<LANES>();
    for row in rows {
        for (lane, &logit) in row.iter().enumerate() {
            look(lane, logit);
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        look(lane, logit);
    }
    if wrong.contains(&true) { None } else { Some(first_largest(&maxima).1) }
}

/// The random stream of `seed`, at its start.
fn stream(seed: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use super::*;

    /// Logits of few different values, so that most of them have equals.
    #[test]
    fn the_largest_logits_decide_as_all_of_them_do() {
        let logits: Vec<f32> = (0..1000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32 / 8.0).collect();
        let mut falling: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        falling.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (temperature, top_k) in [(0.0, 0), (0.0, 9), (0.9, 1), (3.0, 7), (0.9, 999)] {
            let new = || Sampler::new(SamplerOptions { temperature, top_k, seed: 5 }).unwrap();
            let (mut all, mut some) = (new(), new());
            let count = some.candidates(logits.len());
            let ties = falling.iter().filter(|candidate| candidate.1 >= falling[count - 1].1).count();
            for extra in 0..20 {
                let mut candidates = falling[..(ties + extra).min(logits.len())].to_vec();
                assert_eq!(some.choose(&mut candidates), all.sample(&logits).unwrap(), "{temperature} {top_k}");
            }
        }
        let all_count =
            |top_k| Sampler::new(SamplerOptions { temperature: 1.0, top_k, seed: 0 }).unwrap().candidates(1000);
        assert_eq!([0, 999, 1000, 1001].map(all_count), [1000, 999, 1000, 1000]);
    }
}
