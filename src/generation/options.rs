//! What can be chosen of a generation.

use std::sync::Arc;

use crate::error::{Result, bail};
use crate::grammar::{Grammar, GrammarConstraint};
use crate::sampler::{Bias, SamplerOptions};
use crate::tokenizer::Tokenizer;

/// How a [`Generation`](super::Generation) goes on, and where it ends.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct GenerationOptions {
    /// How tokens are chosen. Where `eos` is empty, the tokenizer's ids end the text.
    pub sampling: SamplerOptions,
    /// The most tokens that are generated after a prompt; 0 means as many as there is room for.
    pub max_new_tokens: usize,
    /// The text goes on after a token that would end it.
    pub ignore_eos: bool,
    /// Strings that end the text wherever they come.
    pub stop: Vec<String>,
    /// The stop string is part of the text.
    pub include_stop: bool,
    /// What the text after each prompt must match: see [`Generation::set_grammar`](super::Generation::set_grammar).
    pub grammar: Option<Grammar>,
    /// Special tokens are part of the text.
    pub keep_special: bool,
    /// Of how many of the most probable tokens each step tells the logarithms of the probabilities, beside that of the token
    /// itself; 0 means none of them.
    pub logprobs: usize,
    /// The logits that each token is chosen from are kept: see [`Generation::logits`](super::Generation::logits).
    pub keep_logits: bool,
}

impl GenerationOptions {
    /// Refuses what contradicts itself or a vocabulary of so many tokens.
    pub(super) fn check(&self, vocabulary: usize, has_tokenizer: bool) -> Result<()> {
        let SamplerOptions { min_new_tokens, forced, eos, .. } = &self.sampling;
        self.sampling.check()?;
        self.sampling.check_ids(vocabulary)?;
        if self.ignore_eos && !eos.is_empty() {
            bail!(InvalidArgument, "ignore_eos is set, but eos names {} tokens that end the text", eos.len());
        }
        if self.max_new_tokens > 0 {
            if *min_new_tokens > self.max_new_tokens {
                bail!(
                    InvalidArgument,
                    "min_new_tokens is {min_new_tokens}, above max_new_tokens, which is {}",
                    self.max_new_tokens
                );
            }
            if forced.len() > self.max_new_tokens {
                bail!(
                    InvalidArgument,
                    "forced has {} tokens, more than max_new_tokens, which is {}",
                    forced.len(),
                    self.max_new_tokens
                );
            }
        }
        if !self.stop.is_empty() && !has_tokenizer {
            bail!(InvalidArgument, "stop is given, but there is no tokenizer, and so no text to find it in");
        }
        if self.grammar.is_some() && !has_tokenizer {
            bail!(InvalidArgument, "a grammar is given, but there is no tokenizer, and so no text to match it");
        }
        if self.grammar.is_some() && self.ignore_eos {
            bail!(InvalidArgument, "ignore_eos is set, but a grammar is given, whose text a token must end");
        }
        if self.logprobs > vocabulary {
            bail!(OutOfRange, "logprobs is {}, more than the vocabulary's {vocabulary} tokens", self.logprobs);
        }
        Ok(())
    }

    /// The constraint of the grammar, if there is one.
    pub(super) fn constraint(&self, tokenizer: Option<&Arc<Tokenizer>>) -> Result<Option<GrammarConstraint>> {
        let (Some(grammar), Some(tokenizer)) = (&self.grammar, tokenizer) else { return Ok(None) };
        let constraint = GrammarConstraint::new(tokenizer, grammar, &self.sampling.eos)?;
        agree(&constraint, &self.sampling.forced)?;
        Ok(Some(constraint))
    }
}

/// Refuses forced tokens that the grammar does not allow.
pub(super) fn agree(constraint: &GrammarConstraint, forced: &[u32]) -> Result<()> {
    let mut text = constraint.clone();
    for (index, id) in forced.iter().enumerate() {
        text.accept(*id).map_err(|why| why.within(format!("forced[{index}] contradicts the grammar")))?;
    }
    Ok(())
}

/// The options that decide what a generation gives, by name, each as bytes that say it exactly. A grammar says itself what it is.
pub(super) fn settings(options: &GenerationOptions) -> Vec<(&'static str, Vec<u8>)> {
    // The patterns have no `..`, so that whoever adds an option decides whether it belongs here.
    let GenerationOptions {
        sampling,
        max_new_tokens,
        ignore_eos,
        stop,
        include_stop,
        grammar: _,
        keep_special,
        logprobs: _,
        keep_logits: _,
    } = options;
    let SamplerOptions {
        temperature,
        top_k,
        seed,
        top_p,
        min_p,
        typical_p,
        top_n_sigma,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        penalty_window,
        no_repeat_ngram,
        biases,
        banned,
        forced,
        min_new_tokens,
        eos,
    } = sampling;
    let float = |value: &f32| value.to_bits().to_le_bytes().to_vec();
    let number = |value: usize| (value as u64).to_le_bytes().to_vec();
    let ids = |ids: &[u32]| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
    let biases = biases.iter().flat_map(|Bias { ids: of, bias }| [number(of.len()), ids(of), float(bias)].concat());
    let stop = stop.iter().flat_map(|stop| [number(stop.len()).as_slice(), stop.as_bytes()].concat());
    vec![
        ("temperature", float(temperature)),
        ("top_k", number(*top_k)),
        ("seed", seed.to_le_bytes().to_vec()),
        ("top_p", float(top_p)),
        ("min_p", float(min_p)),
        ("typical_p", float(typical_p)),
        ("top_n_sigma", float(top_n_sigma)),
        ("repetition_penalty", float(repetition_penalty)),
        ("presence_penalty", float(presence_penalty)),
        ("frequency_penalty", float(frequency_penalty)),
        ("penalty_window", number(*penalty_window)),
        ("no_repeat_ngram", number(*no_repeat_ngram)),
        ("biases", biases.collect()),
        ("banned", ids(banned)),
        ("forced", ids(forced)),
        ("min_new_tokens", number(*min_new_tokens)),
        ("eos", ids(eos)),
        ("max_new_tokens", number(*max_new_tokens)),
        ("ignore_eos", number((*ignore_eos).into())),
        ("stop", stop.collect()),
        ("include_stop", number((*include_stop).into())),
        ("keep_special", number((*keep_special).into())),
    ]
}
