//! The controls that change logits before the temperature does, in their order.

use super::history::History;
use super::options::{Bias, SamplerOptions};

/// Applies the controls in front of a constraint to `logits`; `chosen` tokens have been chosen so far.
pub(super) fn before_constraint(options: &SamplerOptions, history: &History, chosen: usize, logits: &mut [f32]) {
    options.biases.iter().for_each(|bias| add(bias, history.ids(), logits));
    if options.penalises() {
        penalise(options, history, logits);
    }
    if options.no_repeat_ngram > 0 {
        forbid_repeats(options.no_repeat_ngram, history.ids(), logits);
    }
    if chosen < options.min_new_tokens {
        mask(&options.eos, logits);
    }
}

/// Whether none of the controls makes `id` impossible.
pub(super) fn allow(options: &SamplerOptions, history: &History, chosen: usize, id: u32) -> bool {
    let text = history.ids();
    let forbids = |bias: &Bias| {
        let ends = bias.ids.split_last().is_some_and(|(last, before)| *last == id && text.ends_with(before));
        ends && bias.bias == f32::NEG_INFINITY
    };
    let repeats = || {
        let (n, begin) = (options.no_repeat_ngram, (text.len() + 1).checked_sub(options.no_repeat_ngram));
        let Some(last) = begin.filter(|_| n > 0).map(|begin| &text[begin..]) else { return false };
        text.windows(n).any(|sequence| sequence.split_last().is_some_and(|(end, before)| *end == id && before == last))
    };
    let ends_too_soon = chosen < options.min_new_tokens && options.eos.contains(&id);
    !options.banned.contains(&id) && !ends_too_soon && !options.biases.iter().any(forbids) && !repeats()
}

/// Makes `ids` impossible.
pub(super) fn mask(ids: &[u32], logits: &mut [f32]) {
    for id in ids {
        if let Some(logit) = logits.get_mut(*id as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Adds a bias, if its sequence has come to its last token.
fn add(Bias { ids, bias }: &Bias, text: &[u32], logits: &mut [f32]) {
    let Some((last, before)) = ids.split_last() else { return };
    if text.ends_with(before) {
        logits[*last as usize] += bias;
    }
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

/// Makes every token impossible that would end a sequence of `n` tokens which the text has already.
fn forbid_repeats(n: usize, text: &[u32], logits: &mut [f32]) {
    let Some(begin) = text.len().checked_sub(n - 1) else { return };
    let last = &text[begin..];
    for sequence in text.windows(n) {
        if let Some((end, before)) = sequence.split_last()
            // What mostly differs is quick to see.
            && before.last() == last.last()
            && before == last
            && let Some(logit) = logits.get_mut(*end as usize)
        {
            *logit = f32::NEG_INFINITY;
        }
    }
}
