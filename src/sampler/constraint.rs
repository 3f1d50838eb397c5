//! What may come next by other rules than probability.

use std::fmt::Debug;

use ortshard_error::{Result, bail};

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

    /// The token that must come next, if there is only one and the constraint knows it: it is given without a choice, unless a
    /// control of the sampler rules it out.
    fn next_token(&mut self) -> Option<u32> {
        None
    }

    /// Is told that another text begins, of which it knows nothing yet.
    fn restart(&mut self) {}

    /// Another that goes on from here on its own; none if there cannot be one.
    fn fork(&self) -> Option<Box<dyn Constraint>> {
        None
    }

    /// Where it is, as bytes for [`restore`](Self::restore); none if there cannot be any.
    ///
    /// # Errors
    /// Any, which the export returns.
    fn state(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Goes where one of the same rules was that gave `state`. After an error it is not used any more.
    ///
    /// # Errors
    /// Any, which the import returns.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        bail!(Unsupported, "state: {} bytes of a constraint that cannot be put where another was", state.len());
    }
}
