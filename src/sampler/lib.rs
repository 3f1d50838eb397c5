//! Choosing the next token from logits. Needs no model: a [`Sampler`] is a rule and a random stream.

mod choose;
mod constraint;
mod draw;
mod edit;
mod filter;
mod groups;
mod history;
mod logprobs;
mod options;
mod softmax;

pub use choose::Choose;
pub use constraint::Constraint;
pub use logprobs::Logprobs;
pub use options::{Bias, SamplerOptions};

use draw::Stream;
use filter::Filter;
use groups::Groups;
use history::History;
use ortshard_error::{Error, Result, Site, bail};
use softmax::Scale;

/// A seeded sampler.
///
/// `Send` and `Sync`; sampling takes `&mut self`, so one call at a time. A clone continues the same random stream
/// independently, which makes it a snapshot to replay from.
///
/// # The text so far
///
/// Penalties and n-grams look at the text so far: the tokens that [`accept`](Self::accept) was given, and those that the
/// sampler has chosen since. So a program hands it the prompt, and nothing else. It is kept only where an option needs it.
///
/// # The rule
///
/// The controls work in the order of transformers, each on what the one before it has left; those that are off do nothing:
///
/// 1. `forced`: the token is taken as it is, and nothing else is looked at.
/// 2. `biases` are added.
/// 3. `repetition_penalty`, then `frequency_penalty` and `presence_penalty`.
/// 4. `no_repeat_ngram` masks: it makes a logit minus infinity, which is never a candidate.
/// 5. `min_new_tokens` masks `eos`.
/// 6. A [`Constraint`] masks.
/// 7. `banned` masks.
/// 8. Temperature 0 takes the largest logit; among equals the lowest id; the filters that follow are not looked at. Any other
///    temperature gives each token the weight `p = exp((logit - largest) / max(temperature, 1e-5))`.
/// 9. `top_n_sigma` leaves the tokens not below the largest logit minus so many standard deviations of all logits that are not
///    masked: the deviation of all of them, not one estimated from a sample.
/// 10. `top_k`: the pivot is the `top_k`-th largest logit, and every logit not below it stays, so ties with the pivot
///     survive.
/// 11. `top_p` leaves the fewest of the heaviest tokens whose weights reach that part of the weights of all that are left,
///     at least one; among equals the lowest ids.
/// 12. `min_p` leaves the tokens whose weights are at least that part of the heaviest.
/// 13. `typical_p` leaves the fewest tokens whose `-ln p` is nearest to its mean, the entropy, that reach that part; ties with
///     the last of them survive.
/// 14. The answer is the candidate with the largest `p / q`, where each `q` is drawn from the exponential distribution with
///     mean 1, compared as `ln p - ln q`, in `f64`; among equals the lowest id. That is a draw from the softmax over the
///     candidates.
///
/// # The random stream
///
/// It is `ChaCha8`. The key is the seed as 8 little-endian bytes followed by 24 zero bytes; nonce and
/// counter start at 0. Each candidate, in increasing order of id, takes the next 8 bytes as a little-endian integer
/// `w` and gets `q = -ln((2 * (w >> 12) + 1) / 2^53)`. Nothing else draws: neither a greedy choice nor a forced one nor a
/// failed call moves the stream. The same seed, options and logits give the same tokens on every platform: logarithms come
/// from `libm`, not from the operating system, and sums have one order.
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    stream: Stream,
    history: History,
    /// How many tokens it has chosen since it was last given some.
    chosen: usize,
    groups: Groups,
    filter: Filter,
    /// The logits of the current call as the controls have changed them.
    edited: Vec<f32>,
}

/// Where a sampler is.
#[derive(Debug, Clone)]
pub struct SamplerState {
    /// Words of 4 bytes of the random stream that have been drawn.
    pub drawn: u128,
    /// How many tokens it has chosen since it was last given some.
    pub chosen: usize,
    /// The tokens so far, where it looks back at them, and of each whether the sampler chose it.
    pub text: Vec<(u32, bool)>,
}

impl Sampler {
    /// A sampler at the start of its random stream, of a text without tokens.
    ///
    /// # Errors
    /// `InvalidArgument` for an option outside its range, or two that contradict each other; the message names them.
    pub fn new(options: SamplerOptions) -> Result<Self> {
        options.check()?;
        Ok(Self {
            stream: Stream::new(options.seed),
            history: History::new(options.penalty_window),
            options,
            chosen: 0,
            groups: Groups::default(),
            filter: Filter::default(),
            edited: Vec::new(),
        })
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Moves back to the start of the random stream, and forgets the text so far.
    pub fn reset(&mut self) {
        self.stream = Stream::new(self.options.seed);
        self.history.clear();
        self.chosen = 0;
    }

    /// As [`reset`](Self::reset), to the random stream of `seed`, which replaces the seed of the options.
    pub fn reset_with(&mut self, seed: u64) {
        self.options.seed = seed;
        self.reset();
    }

    /// Adds tokens to the text so far that the sampler has not chosen: a prompt. `forced` and `min_new_tokens` count from here.
    ///
    /// # Errors
    /// `OutOfMemory`; the text is as it was then.
    pub fn accept(&mut self, ids: &[u32]) -> Result<()> {
        self.reserve(ids.len(), vocabulary_of(ids))?;
        if self.options.looks_back() {
            for id in ids {
                self.history.push(*id, false);
            }
        }
        self.chosen = 0;
        Ok(())
    }

    /// Adds tokens to the text so far as if the sampler had chosen them: those of a text that goes on.
    ///
    /// # Errors
    /// `OutOfMemory`; the text is as it was then.
    pub fn accept_chosen(&mut self, ids: &[u32]) -> Result<()> {
        self.reserve(ids.len(), vocabulary_of(ids))?;
        for id in ids {
            self.record(*id);
        }
        Ok(())
    }

    /// The next token's id, an index into `logits`: one value per token of the vocabulary. It becomes part of the text so far.
    ///
    /// # Errors
    /// `InvalidArgument` if `logits` is empty, holds not-a-number or plus infinity (the message names the index), or
    /// is minus infinity throughout, or if the controls leave no token; `OutOfRange` if an option names a token that is not in
    /// the vocabulary; `OutOfMemory`. The random stream and the text then stay where they were.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        self.sample_under(None, logits)
    }

    /// As [`sample`](Self::sample), under a constraint, which is not told the choice.
    ///
    /// # Errors
    /// Those of [`sample`](Self::sample) and of the constraint.
    pub fn sample_under(&mut self, constraint: Option<&mut dyn Constraint>, logits: &[f32]) -> Result<u32> {
        self.prepare(logits, constraint)?;
        let id = match self.forced() {
            Some(id) => id,
            None if self.edited.is_empty() => self.pick(logits),
            None => {
                let edited = std::mem::take(&mut self.edited);
                let id = self.pick(&edited);
                self.edited = edited;
                id
            }
        };
        self.record(id);
        Ok(id)
    }

    /// The candidates of the next choice, in increasing order of id, with their probabilities. Nothing moves on.
    ///
    /// # Errors
    /// Those of [`sample_under`](Self::sample_under).
    pub fn probabilities(
        &mut self,
        constraint: Option<&mut dyn Constraint>,
        logits: &[f32],
    ) -> Result<Vec<(u32, f64)>> {
        self.prepare(logits, constraint)?;
        if let Some(id) = self.forced() {
            return Ok(vec![(id, 1.0)]);
        }
        let edited = std::mem::take(&mut self.edited);
        let logits = if edited.is_empty() { logits } else { &edited };
        let (id, largest) = self.groups.largest(logits);
        let probabilities = if self.options.temperature == 0.0 {
            vec![(id, 1.0)]
        } else {
            let scale = Scale::new(largest, self.options.divisor());
            self.filter.pass(&self.options, logits, &mut self.groups, scale);
            let weight = |logit: f32| libm::exp((f64::from(logit) - f64::from(largest)) / scale.temperature);
            let weights: Vec<(u32, f64)> = self.filter.candidates().map(|(id, logit)| (id, weight(logit))).collect();
            let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
            weights.into_iter().map(|(id, weight)| (id, weight / total)).collect()
        };
        self.edited = edited;
        Ok(probabilities)
    }

    /// The token that comes next whatever the logits.
    pub fn forced(&self) -> Option<u32> {
        self.options.forced.get(self.chosen).copied()
    }

    /// Whether no control rules out that `id` comes next.
    pub fn allows(&self, id: u32) -> bool {
        edit::allow(&self.options, &self.history, self.chosen, id)
    }

    /// Where it is.
    pub fn state(&self) -> SamplerState {
        SamplerState { drawn: self.stream.drawn(), chosen: self.chosen, text: self.history.tokens().collect() }
    }

    /// One of the same options where the one was that gave `state`, whose tokens lie in a vocabulary of so many.
    pub fn at(&self, state: &SamplerState, vocabulary: usize) -> Result<Self> {
        let mut moved = Self::new(self.options.clone())?;
        moved.stream.go_to(state.drawn);
        moved.reserve(state.text.len(), vocabulary)?;
        if self.options.looks_back() {
            state.text.iter().for_each(|(id, is_chosen)| moved.history.push(*id, *is_chosen));
        }
        moved.chosen = state.chosen;
        Ok(moved)
    }

    /// Makes room for `more` tokens of the text so far, of a vocabulary of so many, so that recording them needs no memory.
    pub fn reserve(&mut self, more: usize, vocabulary: usize) -> Result<()> {
        if self.options.looks_back() { self.history.reserve(more, vocabulary) } else { Ok(()) }
    }

    /// Adds the token that comes next to the text so far; there is room for it.
    pub fn record(&mut self, id: u32) {
        if self.options.looks_back() {
            self.history.push(id, true);
        }
        self.chosen += 1;
    }

    /// Applies the controls that change logits, and looks at what they leave. Where there are none, `edited` is empty.
    fn prepare(&mut self, logits: &[f32], constraint: Option<&mut dyn Constraint>) -> Result<()> {
        self.edited.clear();
        self.options.check_ids(logits.len())?;
        self.reserve(1, logits.len())?;
        if self.forced().is_some() {
            return Ok(());
        }
        if !self.options.edits() && constraint.is_none() {
            return self.groups.survey(logits);
        }
        let refused = |_| Error::oom(Site::Run, "cpu", size_of_val(logits) as u64, "a copy of the logits");
        self.edited.try_reserve_exact(logits.len()).map_err(refused)?;
        self.edited.extend_from_slice(logits);
        edit::before_constraint(&self.options, &self.history, self.chosen, &mut self.edited);
        let is_constrained = constraint.is_some();
        if let Some(constraint) = constraint {
            constraint.mask(&mut self.edited)?;
        }
        edit::mask(&self.options.banned, &mut self.edited);
        let surveyed = self.groups.survey(&self.edited);
        let none = |logits: &[f32]| !logits.is_empty() && logits.iter().all(|&logit| logit == f32::NEG_INFINITY);
        if surveyed.is_err() && none(&self.edited) && !none(logits) {
            if is_constrained {
                bail!(
                    InvalidArgument,
                    "no token may come: the constraint and the controls (banned, biases, no_repeat_ngram, min_new_tokens) \
                     together rule out all {}",
                    logits.len()
                );
            }
            bail!(InvalidArgument, "the controls leave none of the {} tokens to choose", logits.len());
        }
        surveyed
    }

    /// The choice from surveyed `logits`.
    fn pick(&mut self, logits: &[f32]) -> u32 {
        let (id, largest) = self.groups.largest(logits);
        if self.options.temperature == 0.0 {
            return id;
        }
        let temperature = self.options.divisor();
        if self.options.filters() {
            self.filter.pass(&self.options, logits, &mut self.groups, Scale::new(largest, temperature));
            return self.stream.draw(temperature, largest, self.filter.candidates());
        }
        let pivot = self.groups.nth_largest(logits, self.options.top_k);
        self.stream.draw(temperature, largest, self.groups.at_least(logits, pivot))
    }
}

/// How many tokens a vocabulary has that has all of `ids`.
fn vocabulary_of(ids: &[u32]) -> usize {
    ids.iter().max().map_or(0, |id| *id as usize + 1)
}

impl Choose for Sampler {
    fn candidates(&self, vocabulary: usize) -> usize {
        let all = self.options.edits() || self.options.top_n_sigma > 0.0;
        match (self.options.temperature == 0.0, self.options.top_k) {
            _ if all => vocabulary,
            (true, _) => vocabulary.min(1),
            (false, 0) => vocabulary,
            (false, top_k) => vocabulary.min(top_k),
        }
    }

    fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        self.sample(logits)
    }

    fn choose_of_largest(&mut self, largest: &mut Vec<(u32, f32)>) -> Result<u32> {
        let id = match self.forced() {
            Some(id) => id,
            None => self.pick_of_largest(largest),
        };
        self.record(id);
        Ok(id)
    }
}

impl Sampler {
    fn pick_of_largest(&mut self, candidates: &mut Vec<(u32, f32)>) -> u32 {
        let count = if self.options.temperature == 0.0 { 1 } else { self.options.top_k };
        let largest = candidates.first().map_or(f32::NEG_INFINITY, |first| first.1);
        let pivot = candidates.get(count - 1).map_or(f32::NEG_INFINITY, |last| last.1);
        candidates.retain(|candidate| candidate.1 >= pivot);
        candidates.sort_unstable_by_key(|candidate| candidate.0);
        if self.options.temperature == 0.0 {
            return candidates.first().map_or(0, |first| first.0);
        }
        let temperature = self.options.divisor();
        if self.options.filters() {
            let scale = Scale::new(largest, temperature);
            self.filter.pass_largest(&self.options, candidates.iter().copied(), scale);
            return self.stream.draw(temperature, largest, self.filter.candidates());
        }
        self.stream.draw(temperature, largest, candidates.iter().copied())
    }
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
        let plain = SamplerOptions { seed: 5, ..SamplerOptions::default() };
        let filters = SamplerOptions { top_p: 0.8, min_p: 0.05, typical_p: 0.9, ..plain.clone() };
        let cases = [(0.0, 0), (0.0, 9), (0.9, 1), (3.0, 7), (0.9, 999)];
        for ((temperature, top_k), options) in cases.into_iter().flat_map(|case| [(case, &plain), (case, &filters)]) {
            let new = || Sampler::new(SamplerOptions { temperature, top_k, ..options.clone() }).unwrap();
            let (mut all, mut some) = (new(), new());
            let count = some.candidates(logits.len());
            let ties = falling.iter().filter(|candidate| candidate.1 >= falling[count - 1].1).count();
            for extra in 0..20 {
                let mut candidates = falling[..(ties + extra).min(logits.len())].to_vec();
                assert_eq!(
                    some.choose_of_largest(&mut candidates).unwrap(),
                    all.sample(&logits).unwrap(),
                    "{temperature} {top_k}"
                );
            }
        }
        let all_count = |top_k| {
            let options = SamplerOptions { temperature: 1.0, top_k, ..plain.clone() };
            Sampler::new(options).unwrap().candidates(1000)
        };
        assert_eq!([0, 999, 1000, 1001].map(all_count), [1000, 999, 1000, 1000]);
    }
}
