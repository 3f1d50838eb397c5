//! What can be chosen of a generation.

use crate::error::{Result, bail};
use crate::sampler::SamplerOptions;

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
        if self.logprobs > vocabulary {
            bail!(OutOfRange, "logprobs is {}, more than the vocabulary's {vocabulary} tokens", self.logprobs);
        }
        Ok(())
    }
}
