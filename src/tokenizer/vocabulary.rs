//! All tokens as bytes, for those who look at every token: grammars.

use std::any::Any;
use std::sync::Arc;

use super::stages::Join;
use super::stream::State;
use super::{Tokenizer, guarded};
use crate::error::{Result, bail};

/// No published tokenizer comes near this: an id above it would be gaps for the most part.
const LARGEST_ID: u32 = 1 << 22;

/// A token that has text.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) id: u32,
    /// What it adds to a text that it does not begin; the spelling of an added token.
    pub(crate) bytes: Vec<u8>,
    /// Whether it is an added token: a special one, or another that encoding looks for before anything else.
    pub(crate) is_added: bool,
    /// Whether it has other bytes where it begins a text.
    pub(crate) begins_otherwise: bool,
}

impl Tokenizer {
    /// Every token.
    ///
    /// # Errors
    /// `Unsupported` if the text of a token depends on the tokens around it, or if an id is too large.
    pub(crate) fn words(&self) -> Result<Vec<Word>> {
        if matches!(self.stages.join, Join::Whole | Join::Spaced) {
            bail!(
                Unsupported,
                "{} has a decoder that makes text of all tokens at once: a grammar cannot follow it",
                self.label
            );
        }
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let mut words = Vec::new();
        for (token, id) in self.inner.get_vocab(true) {
            if id > LARGEST_ID {
                bail!(Unsupported, "{} has a token with the id {id}: grammars take ids up to {LARGEST_ID}", self.label);
            }
            let is_added = added.contains_key(&id);
            let bytes = State::bytes_of(self, id, token.clone())?;
            let begins_otherwise = guarded(&self.label, || self.stages.begins_otherwise(&token, &bytes))?;
            let bytes = if is_added { token.into_bytes() } else { bytes };
            words.push(Word { id, bytes, is_added, begins_otherwise });
        }
        words.sort_unstable_by_key(|word| word.id);
        Ok(words)
    }

    /// What has been made of this tokenizer and is kept with it: made when it is first asked for, then shared.
    pub(crate) fn kept<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        if let Some(kept) = self.kept.get().and_then(|kept| Arc::clone(kept).downcast().ok()) {
            return Ok(kept);
        }
        // Two threads may both make it; one is kept, and both are right.
        let made = Arc::new(make()?);
        let kept: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&made);
        Ok(Arc::clone(self.kept.get_or_init(|| kept)).downcast().unwrap_or(made))
    }
}
