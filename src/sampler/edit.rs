//! The controls that change logits before the temperature does, in their order.

use super::history::History;
use super::options::{Bias, SamplerOptions};

/// Applies the controls in front of a constraint to `logits`; `chosen` tokens have been chosen so far.
pub(super) fn before_constraint(options: &SamplerOptions, history: &History, chosen: usize, logits: &mut [f32]) {
    for bias in &options.biases {
        if let Some(id) = due(bias, history.ids()) {
            logits[id as usize] += bias.bias;
        }
    }
    if options.penalises() {
        penalise(options, history, logits);
    }
    forbid(repeated(options.no_repeat_ngram, history.ids()), logits);
    if chosen < options.min_new_tokens {
        mask(&options.eos, logits);
    }
}

/// Whether none of the controls makes `id` impossible.
pub(super) fn allow(options: &SamplerOptions, history: &History, chosen: usize, id: u32) -> bool {
    let text = history.ids();
    let ends_too_soon = chosen < options.min_new_tokens && options.eos.contains(&id);
    let is_biased_away = |bias: &Bias| bias.bias == f32::NEG_INFINITY && due(bias, text) == Some(id);
    !options.banned.contains(&id)
        && !ends_too_soon
        && !options.biases.iter().any(is_biased_away)
        && !repeated(options.no_repeat_ngram, text).any(|end| end == id)
}

/// Makes `ids` impossible.
pub(super) fn mask(ids: &[u32], logits: &mut [f32]) {
    forbid(ids.iter().copied(), logits);
}

fn forbid(ids: impl Iterator<Item = u32>, logits: &mut [f32]) {
    for id in ids {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The token that a bias is added to, if the text ends with those in front of it.
fn due(bias: &Bias, text: &[u32]) -> Option<u32> {
    let (last, before) = bias.ids.split_last()?;
    text.ends_with(before).then_some(*last)
}

/// The tokens that would end a sequence of `n` tokens which the text has already; of `n` 0 none.
fn repeated(n: usize, text: &[u32]) -> impl Iterator<Item = u32> {
    let begin = (text.len() + 1).checked_sub(n).filter(|_| n > 0);
    begin.into_iter().flat_map(move |begin| {
        let last = &text[begin..];
        text.windows(n).filter_map(move |sequence| {
            let (end, before) = sequence.split_last()?;
            // What mostly differs is quick to see.
            (before.last() == last.last() && before == last).then_some(*end)
        })
    })
}

/// Repetition as transformers has it, then frequency and presence as `OpenAI` and vLLM do: the first looks at the whole
/// text of the window, the others at what was chosen.
fn penalise(options: &SamplerOptions, history: &History, logits: &mut [f32]) {
    let repetition = if options.repeats() { options.repetition_penalty } else { 1.0 };
    for seen in history.seen() {
        let Some(logit) = logits.get_mut(seen.id as usize) else { continue };
        *logit = if *logit < 0.0 { *logit * repetition } else { *logit / repetition };
        if seen.chosen > 0 {
            *logit -= options.frequency_penalty * seen.chosen as f32;
            *logit -= options.presence_penalty;
        }
    }
}
