//! Many generations at once.

use std::sync::Arc;

use super::Generation;
use crate::engine::{ChoiceStep, Input, next_choices};
use crate::error::Result;

/// Does for many generations what [`Generation::step`] does for one. What each was given is its
/// [`generated`](Generation::generated).
///
/// Generations of one request each, all on the shard of the first such, run together, as in
/// [`next_tokens`](crate::next_tokens); the others run one after another. Each gets the tokens that it gets alone. One that
/// has ended gives none. One that fails is as it was, and the others go on.
pub fn step_batch(generations: &mut [&mut Generation]) -> Vec<Result<()>> {
    let runs: Vec<Result<bool>> = generations.iter_mut().map(|generation| generation.begin()).collect();
    let (mut shard, mut together, mut steps) = (None, Vec::new(), Vec::new());
    for (index, generation) in generations.iter_mut().enumerate().filter(|(index, _)| matches!(runs[*index], Ok(true)))
    {
        let Generation { backend, chooser, input, .. } = &mut **generation;
        if let Some(request) = backend.alone()
            && Arc::ptr_eq(shard.get_or_insert_with(|| Arc::clone(request.shard())), request.shard())
        {
            together.push(index);
            steps.push(ChoiceStep { request, input: Input::Ids(input), choose: chooser });
        }
    }
    let chosen = next_choices(&mut steps);
    drop(steps);
    let mut ended: Vec<Option<Result<u32>>> = generations.iter().map(|_| None).collect();
    together.iter().zip(chosen).for_each(|(index, chosen)| ended[*index] = Some(chosen));
    let runs = runs.into_iter().zip(ended).zip(generations);
    runs.map(|((must_run, ended), generation)| {
        if must_run? {
            let alone = || generation.backend.next(&generation.input, &mut generation.chooser);
            let chosen = ended.unwrap_or_else(alone);
            generation.chosen(chosen)?;
        }
        generation.end()
    })
    .collect()
}
