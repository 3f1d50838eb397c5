//! What can be chosen of a sampler, and what cannot be chosen together.

use std::collections::HashMap;

use ortshard_error::{Result, bail};

/// Temperatures above 0 are raised to at least this.
const MIN_TEMPERATURE: f32 = 1e-5;

/// The magnitude that `OpenAI` and vLLM allow for presence and frequency penalties.
const LARGEST_PENALTY: f32 = 2.0;

/// How a [`Sampler`](super::Sampler) chooses. Each control is off in [`SamplerOptions::default`], except temperature and
/// `top_k`; the sampler's documentation says in which order they work.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits: 0 is greedy, below 1 sharper, above 1 flatter. Finite, not negative.
    pub temperature: f32,
    /// How many of the largest logits are candidates; 0 means all.
    pub top_k: usize,
    /// Seed of the random stream.
    pub seed: u64,
    /// The candidates are the most probable tokens that together reach this probability. 0 to 1; 0 and 1 mean all.
    pub top_p: f32,
    /// A candidate is at least this many times as probable as the most probable token. 0 to 1; 0 means all.
    pub min_p: f32,
    /// The candidates are the tokens whose surprise is nearest to the expected one, that together reach this probability
    /// (locally typical sampling). 0 to 1; 0 and 1 mean all.
    pub typical_p: f32,
    /// A candidate's logit lies at most this many standard deviations of all logits below the largest. Finite, not
    /// negative; 0 means all.
    pub top_n_sigma: f32,
    /// Divides the logit of each token of the text so far if the logit is positive, and multiplies it if not. Finite,
    /// not negative; 0 and 1 change nothing.
    pub repetition_penalty: f32,
    /// Is subtracted from the logit of each token that has been chosen so far. -2 to 2.
    pub presence_penalty: f32,
    /// Is subtracted from a token's logit once for each time that it has been chosen so far. -2 to 2.
    pub frequency_penalty: f32,
    /// How many tokens at the end of the text so far the three penalties look at; 0 means all.
    pub penalty_window: usize,
    /// No sequence of so many tokens comes twice in the text; 0 means that any may.
    pub no_repeat_ngram: usize,
    /// Added to logits.
    pub biases: Vec<Bias>,
    /// Tokens that are never chosen.
    pub banned: Vec<u32>,
    /// The tokens that are chosen first, whatever the logits.
    pub forced: Vec<u32>,
    /// How many tokens are chosen before one of [`eos`](Self::eos) may be.
    pub min_new_tokens: usize,
    /// The tokens that end a text. Only `min_new_tokens` looks at them.
    pub eos: Vec<u32>,
}

/// A number that is added to the logit of the last token of a sequence, where the tokens before it are those that the
/// text so far ends with.
#[derive(Debug, Clone, PartialEq)]
pub struct Bias {
    /// The sequence; one token of its own is one that always gets the bias.
    pub ids: Vec<u32>,
    /// Finite, or minus infinity for a sequence that must not come.
    pub bias: f32,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            temperature: 0.6,
            top_k: 35,
            seed: 1234,
            top_p: 0.0,
            min_p: 0.0,
            typical_p: 0.0,
            top_n_sigma: 0.0,
            repetition_penalty: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 0,
            no_repeat_ngram: 0,
            biases: Vec::new(),
            banned: Vec::new(),
            forced: Vec::new(),
            min_new_tokens: 0,
            eos: Vec::new(),
        }
    }
}

impl SamplerOptions {
    /// The options that always take the largest logit.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, seed: 0, ..Self::default() }
    }

    /// Refuses values outside their ranges, and options that contradict each other.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("temperature", self.temperature),
            ("top_n_sigma", self.top_n_sigma),
            ("repetition_penalty", self.repetition_penalty),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                bail!(InvalidArgument, "{name} is {value}; it must be finite and not negative");
            }
        }
        for (name, value) in [("top_p", self.top_p), ("min_p", self.min_p), ("typical_p", self.typical_p)] {
            if !(0.0..=1.0).contains(&value) {
                bail!(InvalidArgument, "{name} is {value}; it must be from 0 to 1");
            }
        }
        for (name, value) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            if !(-LARGEST_PENALTY..=LARGEST_PENALTY).contains(&value) {
                bail!(InvalidArgument, "{name} is {value}; it must be from -2 to 2");
            }
        }
        self.check_biases()?;
        for (index, id) in self.forced.iter().enumerate() {
            if self.banned.contains(id) {
                bail!(InvalidArgument, "forced[{index}] is token {id}, which is among banned, too");
            }
            if index < self.min_new_tokens && self.eos.contains(id) {
                bail!(
                    InvalidArgument,
                    "forced[{index}] is token {id}, which ends the text, but min_new_tokens is {}",
                    self.min_new_tokens
                );
            }
        }
        Ok(())
    }

    fn check_biases(&self) -> Result<()> {
        let mut seen = HashMap::new();
        for (index, Bias { ids, bias }) in self.biases.iter().enumerate() {
            if ids.is_empty() {
                bail!(InvalidArgument, "biases[{index}] has no token");
            }
            if bias.is_nan() || *bias == f32::INFINITY {
                bail!(InvalidArgument, "biases[{index}] is {bias}; it must be finite or minus infinity");
            }
            if let Some(before) = seen.insert(ids, index) {
                bail!(InvalidArgument, "biases[{index}] is for the same tokens as biases[{before}]");
            }
            if let [id] = ids[..]
                && self.banned.contains(&id)
            {
                bail!(InvalidArgument, "biases[{index}] is for token {id}, which is among banned, too");
            }
        }
        Ok(())
    }

    /// The largest id that the options name, and where.
    pub(super) fn largest_id(&self) -> Option<(u32, &'static str)> {
        let biases = self.biases.iter().flat_map(|bias| &bias.ids).map(|id| (*id, "biases"));
        // An id of `eos` that the vocabulary does not have never comes: configs are often stale.
        let lists = [(&self.banned, "banned"), (&self.forced, "forced")];
        let listed = lists.into_iter().flat_map(|(ids, name)| ids.iter().map(move |id| (*id, name)));
        biases.chain(listed).max_by_key(|(id, _)| *id)
    }

    /// Refuses ids that a vocabulary of so many tokens does not have.
    pub fn check_ids(&self, vocabulary: usize) -> Result<()> {
        match self.largest_id() {
            Some((id, name)) if id as usize >= vocabulary => {
                bail!(OutOfRange, "{name} names token {id}, which is outside the vocabulary of {vocabulary}")
            }
            _ => Ok(()),
        }
    }

    /// What logits are divided by, where the largest is not simply taken.
    pub(super) fn divisor(&self) -> f64 {
        f64::from(self.temperature.max(MIN_TEMPERATURE))
    }

    /// Whether the choice depends on the text so far.
    pub(super) fn looks_back(&self) -> bool {
        self.penalises() || self.no_repeat_ngram > 0 || self.biases.iter().any(|bias| bias.ids.len() > 1)
    }

    /// Whether tokens of the text so far are penalised.
    pub(super) fn penalises(&self) -> bool {
        self.repeats() || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether the repetition penalty changes anything.
    pub(super) fn repeats(&self) -> bool {
        ![0.0, 1.0].contains(&self.repetition_penalty)
    }

    /// Whether a control changes logits before the temperature does.
    pub(super) fn edits(&self) -> bool {
        self.looks_back()
            || !self.biases.is_empty()
            || !self.banned.is_empty()
            || (self.min_new_tokens > 0 && !self.eos.is_empty())
    }

    /// Whether one of the filters beside `top_k` is on.
    pub(super) fn filters(&self) -> bool {
        self.top_n_sigma > 0.0 || self.cuts_mass() || self.min_p > 0.0 || self.is_typical()
    }

    /// Whether `top_p` is on.
    pub(super) fn cuts_mass(&self) -> bool {
        self.top_p > 0.0 && self.top_p < 1.0
    }

    /// Whether `typical_p` is on.
    pub(super) fn is_typical(&self) -> bool {
        self.typical_p > 0.0 && self.typical_p < 1.0
    }
}
