//! A generation whose text must match a grammar.

use std::sync::Arc;

use super::options::agree;
use super::{Generation, Turn};
use crate::error::{Result, bail};
use crate::grammar::GrammarConstraint;

impl Generation {
    /// Makes the text after each prompt from here on match a grammar. Each begins where `constraint` is now.
    ///
    /// The tokens that end the text may come exactly where the grammar may end, so that a text which ends with
    /// [`Finish::Eos`](super::Finish::Eos) matches it. Any other finish cuts the text: a stop string, a limit, cancelling.
    ///
    /// Where the grammar has only one way on, its tokens are given without a choice, and run together with what comes next.
    /// Nothing is drawn for them from the random stream, whether or not their probabilities are asked for.
    ///
    /// Where the grammar and the sampler's controls (`banned`, `biases`, `no_repeat_ngram`, `min_new_tokens`) together rule out all
    /// tokens, the step fails with `InvalidArgument`, however often it is repeated.
    ///
    /// # Errors
    /// `InvalidArgument` without a tokenizer, for a constraint on another tokenizer, with `ignore_eos` or nothing that ends
    /// the text, and if the grammar does not allow the tokens of `forced`; `InvalidState` within a text.
    pub fn set_grammar(&mut self, mut constraint: GrammarConstraint) -> Result<()> {
        if !matches!(self.turn, Turn::Ready | Turn::Finished(..)) {
            bail!(InvalidState, "the text has not ended: a grammar is for whole texts");
        }
        if self.options.ignore_eos {
            bail!(InvalidArgument, "ignore_eos is set, but a grammar is given, whose text a token must end");
        }
        let Some(tokenizer) = &self.tokenizer else {
            bail!(InvalidArgument, "a grammar is given, but there is no tokenizer, and so no text to match it");
        };
        if !Arc::ptr_eq(tokenizer, constraint.tokenizer()) {
            bail!(InvalidArgument, "the constraint is on another tokenizer than the generation");
        }
        constraint.set_eos(&self.options.sampling.eos)?;
        constraint.begin_here();
        agree(&constraint, &self.options.sampling.forced)?;
        self.set_constraint(Some(Box::new(constraint)));
        Ok(())
    }
}
