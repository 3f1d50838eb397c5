//! Which experts a token goes to, and how much each counts.
//!
//! All arithmetic is that of the portable instruction set, so that the same logits go the same way on every processor.

use super::super::Parallel;
use super::super::math::exp;
use super::super::shared::Output;
use super::super::simd::{Simd, portable::Portable};

/// Tokens of one task: below that a thread is not worth waking.
const TASK_TOKENS: usize = 64;

/// What a router's logits become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Score {
    /// Their softmax over all experts (Qwen, `OLMoE`, `DeepSeek` V2).
    Softmax,
    /// Each one's sigmoid (`DeepSeek` V3, GLM, Llama 4).
    Sigmoid,
    /// Their softmax over the chosen experts alone (GPT-OSS, Mixtral, Granite).
    SoftmaxOfTopK,
    /// For each chosen one its softmax over those that are not chosen before it and whose logits are close to its own: not further
    /// below than `2 jitter` times the larger of their magnitude and its logit (`SparseMixer`, Liu et al., 2023; Phi-MoE).
    SparseMixer {
        /// Half of how far a logit may be below, as a share.
        jitter: f32,
    },
}

/// Experts in groups of equal size, of which only some may be chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// How many may be chosen from: those whose `best` largest scores have the largest sums.
    pub top: usize,
    /// Scores of a group that are added up: two in `DeepSeek` V3, one in V2.
    pub best: usize,
}

/// How tokens are shared out to experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing<'a> {
    /// What the logits become.
    pub score: Score,
    /// Experts of a token.
    pub top_k: usize,
    /// The scores of a token's experts are divided by their sum.
    pub normalise: bool,
    /// The least that they are divided by.
    pub least_sum: f32,
    /// What is added to their sum before that.
    pub sum_offset: f32,
    /// Added to the scores when experts are chosen, not when they are weighed: one for each expert.
    pub bias_for_choice: Option<&'a [f32]>,
    /// The groups, if there are any.
    pub groups: Option<Groups>,
    /// Multiplies the weights.
    pub scale: f32,
}

/// Which experts every token passes, as [`route`] chose them.
#[derive(Debug, Clone, Copy)]
pub struct Routes<'a> {
    /// Experts of a token.
    pub top_k: usize,
    /// Their numbers, `[tokens, top_k]`.
    pub ids: &'a [u32],
    /// How much each counts.
    pub weights: &'a [f32],
    /// Whether the weights multiply what an expert reads (Llama 4), and not what it gives.
    pub on_input: bool,
}

impl Routing<'_> {
    /// Whether so many experts can be chosen from.
    fn fits(&self, experts: usize) -> bool {
        let eligible = match self.groups {
            None => Some(experts),
            Some(Groups { count, top, .. }) => {
                (count > 0 && top <= count && experts.is_multiple_of(count)).then(|| experts / count * top)
            }
        };
        self.top_k > 0
            && eligible.is_some_and(|eligible| self.top_k <= eligible)
            && self.bias_for_choice.is_none_or(|bias| bias.len() == experts)
    }
}

/// Chooses `top_k` experts for every token from its logits, `[tokens, experts]`, and writes their numbers and weights,
/// `[tokens, top_k]`, the one chosen first in front.
///
/// Of equal scores the expert of the lower number comes first. A NaN counts as the largest of all, as with `torch.topk`, and so is
/// the weight of what it chooses: a bad value is not hidden.
pub fn route(
    par: &dyn Parallel,
    logits: &[f32],
    experts: usize,
    routing: &Routing,
    ids: &mut [u32],
    weights: &mut [f32],
) {
    if logits.is_empty() {
        return;
    }
    if !routing.fits(experts) || !logits.len().is_multiple_of(experts) {
        par.incomplete();
        return;
    }
    let (tokens, top_k) = (logits.len() / experts, routing.top_k);
    let (ids, weights) = (Output::new(par, ids), Output::new(par, weights));
    par.run(tokens.div_ceil(TASK_TOKENS), &|task| {
        let from = task * TASK_TOKENS;
        let count = TASK_TOKENS.min(tokens - from);
        // SAFETY: every task has its own tokens.
        let (ids, weights) =
            unsafe { (ids.slice(from * top_k, count * top_k), weights.slice(from * top_k, count * top_k)) };
        let mut router =
            Router { routing, scores: vec![0.0; experts], choice: vec![0.0; experts], keys: vec![0; experts] };
        let rows = ids.chunks_exact_mut(top_k).zip(weights.chunks_exact_mut(top_k));
        for (logits, (ids, weights)) in logits[from * experts..].chunks_exact(experts).zip(rows) {
            router.token(logits, ids, weights);
        }
    });
}

/// One task's memory, one value for each expert.
struct Router<'a> {
    routing: &'a Routing<'a>,
    scores: Vec<f32>,
    /// What the choice goes by.
    choice: Vec<f32>,
    keys: Vec<u32>,
}

impl Router<'_> {
    fn token(&mut self, logits: &[f32], ids: &mut [u32], weights: &mut [f32]) {
        let Routing { score, normalise, least_sum, sum_offset, bias_for_choice, groups, scale, .. } = *self.routing;
        self.scores.copy_from_slice(logits);
        match score {
            Score::Softmax => softmax(&mut self.scores),
            Score::Sigmoid => sigmoid(&mut self.scores),
            Score::SoftmaxOfTopK | Score::SparseMixer { .. } => {}
        }
        match bias_for_choice {
            Some(bias) => {
                for ((choice, score), bias) in self.choice.iter_mut().zip(&self.scores).zip(bias) {
                    *choice = score + bias;
                }
            }
            // Scores have the order of their logits, but where they are rounded to the same value.
            None if groups.is_none() => self.choice.copy_from_slice(logits),
            None => self.choice.copy_from_slice(&self.scores),
        }
        for (key, choice) in self.keys.iter_mut().zip(&self.choice) {
            *key = order(*choice);
        }
        if let Some(groups) = groups {
            self.leave_out(groups);
        }
        for (id, weight) in ids.iter_mut().zip(&mut *weights) {
            let best = largest(&mut self.keys);
            *id = best as u32;
            *weight = match score {
                Score::SparseMixer { jitter } => self.share_of_close(best, 2.0 * jitter),
                _ => self.scores[best],
            };
        }
        if score == Score::SoftmaxOfTopK {
            softmax(weights);
        }
        if normalise {
            let sum = weights.iter().sum::<f32>() + sum_offset;
            // What is no number stays so.
            let sum = if sum < least_sum { least_sum } else { sum };
            for weight in weights.iter_mut() {
                *weight /= sum;
            }
        }
        for weight in weights.iter_mut() {
            *weight *= scale;
        }
    }

    /// The softmax of the logit of `best` over it and those still to be chosen from that are at most `share` below it.
    fn share_of_close(&mut self, best: usize, share: f32) -> f32 {
        let most = self.scores[best];
        for (i, (value, score)) in self.choice.iter_mut().zip(&self.scores).enumerate() {
            // What is no number is not far.
            let far = (most - score) / score.abs().max(most) > share;
            let counts = i == best || (self.keys[i] != OUT && !far);
            *value = if counts { score - most } else { f32::NEG_INFINITY };
        }
        exps(&mut self.choice);
        1.0 / self.choice.iter().sum::<f32>()
    }

    /// Takes the experts of all groups but the best out of the choice.
    fn leave_out(&mut self, Groups { count, top, best }: Groups) {
        let size = self.keys.len() / count;
        let mut sums: Vec<u32> = self
            .choice
            .chunks_exact(size)
            .zip(self.keys.chunks_exact(size))
            .map(|(choice, keys)| {
                let mut keys = keys.to_vec();
                order((0..best.min(size)).map(|_| choice[largest(&mut keys)]).sum())
            })
            .collect();
        let mut chosen = vec![false; count];
        for _ in 0..top {
            chosen[largest(&mut sums)] = true;
        }
        for (keys, _) in self.keys.chunks_exact_mut(size).zip(chosen).filter(|(_, chosen)| !chosen) {
            keys.fill(OUT);
        }
    }
}

/// The key of what can't be chosen, below those of all values.
const OUT: u32 = 0;

/// An integer in the order of values: NaNs last, zeros of either sign the same.
fn order(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if value.is_nan() {
        u32::MAX
    } else if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

/// The place of the first of the largest keys, which is then out.
fn largest(keys: &mut [u32]) -> usize {
    let mut best = 0;
    for (i, key) in keys.iter().enumerate() {
        if *key > keys[best] {
            best = i;
        }
    }
    keys[best] = OUT;
    best
}

fn softmax(values: &mut [f32]) {
    // `max` passes over NaNs; the sum does not.
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for value in values.iter_mut() {
        *value -= most;
    }
    exps(values);
    let sum: f32 = values.iter().sum();
    for value in values.iter_mut() {
        *value /= sum;
    }
}

fn sigmoid(values: &mut [f32]) {
    for value in values.iter_mut() {
        *value = -*value;
    }
    exps(values);
    for value in values.iter_mut() {
        *value = 1.0 / (1.0 + *value);
    }
}

/// `e^x` of each.
fn exps(values: &mut [f32]) {
    for values in values.chunks_mut(Portable::LANES) {
        // SAFETY: as many lanes as values.
        unsafe {
            let v = exp(Portable, Portable.load_part(values.as_ptr(), values.len()));
            Portable.store_part(v, values.as_mut_ptr(), values.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Serial;
    use super::super::super::testing::{Random, Threads, bits};
    use super::*;

    /// The last one's share is wide enough for some experts, and too narrow for others.
    const SCORES: [Score; 4] =
        [Score::Softmax, Score::Sigmoid, Score::SoftmaxOfTopK, Score::SparseMixer { jitter: 0.3 }];
    const PLAIN: Routing = Routing {
        score: Score::Softmax,
        top_k: 4,
        normalise: false,
        least_sum: 0.0,
        sum_offset: 1e-20,
        bias_for_choice: None,
        groups: None,
        scale: 1.0,
    };

    fn routed(logits: &[f32], experts: usize, routing: &Routing) -> (Vec<u32>, Vec<f32>) {
        let places = logits.len() / experts * routing.top_k;
        let (mut ids, mut weights) = (vec![u32::MAX; places], vec![f32::NAN; places]);
        route(&Threads(3), logits, experts, routing, &mut ids, &mut weights);
        (ids, weights)
    }

    /// The chosen experts and their weights in f64, sorted rather than searched.
    fn exact(logits: &[f32], routing: &Routing) -> Vec<(u32, f64)> {
        let logits: Vec<f64> = logits.iter().map(|x| f64::from(*x)).collect();
        let softmax = |of: &[f64]| -> Vec<f64> {
            let sum: f64 = of.iter().map(|x| x.exp()).sum();
            of.iter().map(|x| x.exp() / sum).collect()
        };
        let scores = match routing.score {
            Score::Softmax => softmax(&logits),
            Score::Sigmoid => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            Score::SoftmaxOfTopK | Score::SparseMixer { .. } => logits.clone(),
        };
        let mut choice = scores.clone();
        for (choice, bias) in choice.iter_mut().zip(routing.bias_for_choice.unwrap_or_default()) {
            *choice += f64::from(*bias);
        }
        if let Some(Groups { count, top, best }) = routing.groups {
            let size = choice.len() / count;
            let mut sums: Vec<(f64, usize)> = (0..count)
                .map(|group| {
                    let mut scores = choice[group * size..][..size].to_vec();
                    scores.sort_by(|a, b| b.total_cmp(a));
                    (scores.iter().take(best).sum(), group)
                })
                .collect();
            sums.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (_, group) in &sums[top..] {
                choice[group * size..][..size].fill(f64::NEG_INFINITY);
            }
        }
        let mut chosen: Vec<usize> = (0..choice.len()).collect();
        chosen.sort_by(|a, b| choice[*b].total_cmp(&choice[*a]));
        chosen.truncate(routing.top_k);
        let mut weights: Vec<f64> = chosen.iter().map(|id| scores[*id]).collect();
        if routing.score == Score::SoftmaxOfTopK {
            weights = softmax(&weights);
        }
        if let Score::SparseMixer { jitter } = routing.score {
            let share = |place: usize| {
                let (before, most) = (&chosen[..place], logits[chosen[place]]);
                let close = |score: &f64| (most - score) / score.abs().max(most) <= 2.0 * f64::from(jitter);
                let open = |id: &usize| !before.contains(id) && choice[*id] > f64::NEG_INFINITY;
                let left = (0..logits.len()).filter(open).map(|id| logits[id]).filter(close);
                1.0 / left.map(|score| (score - most).exp()).sum::<f64>()
            };
            weights = (0..chosen.len()).map(share).collect();
        }
        let sum: f64 = if routing.normalise { weights.iter().sum() } else { 1.0 };
        let sum = (sum + f64::from(routing.sum_offset)).max(f64::from(routing.least_sum));
        let scale = f64::from(routing.scale);
        chosen.iter().zip(weights).map(|(id, weight)| (*id as u32, weight / sum * scale)).collect()
    }

    #[test]
    fn every_way_agrees_with_f64_and_tokens_are_independent() {
        let experts = 24;
        let bias = Random::new(2).values(experts);
        let groups = |count, top, best| Some(Groups { count, top, best });
        let logits: Vec<f32> = Random::new(1).values(200 * experts).iter().map(|x| 4.0 * x).collect();
        for score in SCORES {
            for routing in [
                Routing { score, ..PLAIN },
                Routing { score, top_k: 1, ..PLAIN },
                Routing { score, top_k: 24, normalise: true, ..PLAIN },
                Routing { score, normalise: true, scale: 2.5, ..PLAIN },
                Routing { score, bias_for_choice: Some(&bias), ..PLAIN },
                Routing { score, normalise: true, least_sum: 0.75, bias_for_choice: Some(&bias), ..PLAIN },
                Routing { score, normalise: true, sum_offset: 0.5, ..PLAIN },
                Routing { score, groups: groups(4, 2, 1), ..PLAIN },
                Routing { score, groups: groups(8, 3, 2), bias_for_choice: Some(&bias), normalise: true, ..PLAIN },
            ] {
                let (ids, weights) = routed(&logits, experts, &routing);
                let rows = ids.chunks(routing.top_k).zip(weights.chunks(routing.top_k));
                for (logits, (ids, weights)) in logits.chunks(experts).zip(rows) {
                    for ((id, weight), (expected_id, expected)) in ids.iter().zip(weights).zip(exact(logits, &routing))
                    {
                        assert_eq!(*id, expected_id, "{routing:?}");
                        assert!((f64::from(*weight) - expected).abs() < 2e-6 * expected, "{routing:?}: {weight}");
                    }
                    let alone = routed(logits, experts, &routing);
                    assert_eq!((&alone.0[..], bits(&alone.1)), (ids, bits(weights)), "{routing:?}");
                }
            }
        }
    }

    #[test]
    fn of_equal_scores_the_lower_number_comes_first() {
        for score in SCORES {
            let routing = Routing { score, top_k: 3, ..PLAIN };
            assert_eq!(routed(&[0.0, 1.0, -0.0, 1.0, 0.0], 5, &routing).0, [1, 3, 0]);
            let groups = Some(Groups { count: 3, top: 2, best: 2 });
            assert_eq!(routed(&[1.0; 9], 9, &Routing { groups, ..routing }).0, [0, 1, 2]);
        }
        // Sigmoids that are rounded to one keep the order of their logits.
        assert_eq!(routed(&[20.0, 30.0, 25.0], 3, &Routing { score: Score::Sigmoid, top_k: 2, ..PLAIN }).0, [1, 2]);
    }

    #[test]
    fn a_bad_logit_shows_in_its_token_and_nowhere_else() {
        let bias = [0.0; 8];
        let groups = Some(Groups { count: 4, top: 2, best: 2 });
        for score in SCORES {
            for routing in [
                Routing { score, ..PLAIN },
                Routing { score, bias_for_choice: Some(&bias), groups, normalise: true, ..PLAIN },
            ] {
                let good = Random::new(3).values(3 * 8);
                let mut logits = good.clone();
                logits[13] = f32::NAN;
                let (ids, weights) = routed(&logits, 8, &routing);
                let expected = routed(&good, 8, &routing);
                assert!(weights[4].is_nan(), "{routing:?}");
                for token in [0, 2] {
                    let at = 4 * token..4 * token + 4;
                    assert_eq!(ids[at.clone()], expected.0[at.clone()]);
                    assert_eq!(bits(&weights[at.clone()]), bits(&expected.1[at]));
                }
                for bad in [[f32::NAN; 8], [f32::INFINITY; 8], [f32::NEG_INFINITY; 8]] {
                    assert_eq!(routed(&bad, 8, &routing).0, [0, 1, 2, 3]);
                }
            }
        }
        route(&Serial, &[], 8, &PLAIN, &mut [], &mut []);
    }
}
