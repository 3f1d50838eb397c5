//! What a run's logits go to.

use ortshard_error::Result;

/// Chooses the token that follows a run.
pub trait Choose {
    /// How many of the largest of `vocabulary` logits decide; logits that equal the last of them decide, too.
    fn candidates(&self, vocabulary: usize) -> usize;

    /// The choice from all logits. After an error nothing has changed.
    fn choose(&mut self, logits: &[f32]) -> Result<u32>;

    /// The choice from the largest logits in falling order: at least as many as [`candidates`](Self::candidates) says, and
    /// all that equal the last of those. All logits are finite.
    fn choose_of_largest(&mut self, largest: &mut Vec<(u32, f32)>) -> Result<u32>;
}
