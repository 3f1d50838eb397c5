//! What may come next by other rules than probability.

use std::fmt::Debug;

use crate::error::Result;

/// Rules out tokens from outside: a grammar, a schema, a list of answers.
///
/// It is asked before each choice and told each token, in turn. What it does must depend on nothing else: then the same seed
/// gives the same text.
pub trait Constraint: Debug + Send {
    /// Sets the logits of the tokens that must not come next to minus infinity. At least one must stay.
    ///
    /// # Errors
    /// Any, which the call that chooses returns; it may be repeated.
    fn mask(&mut self, logits: &mut [f32]) -> Result<()>;

    /// Is told that `id` comes next.
    fn advance(&mut self, id: u32);

    /// The token that must come next, if there is only one and the constraint knows it: it is given without a choice.
    fn next_token(&mut self) -> Option<u32> {
        None
    }
}
