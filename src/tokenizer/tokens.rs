//! Single tokens: their spelling, their bytes, and what they are.

use super::Tokenizer;
use super::stream::State;
use crate::error::{Result, bail};

impl Tokenizer {
    /// How many tokens there are, added ones included. Ids may have gaps, and a model may have more rows of logits.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The id of the token spelled exactly `token`, such as `<|im_end|>`.
    #[must_use]
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The spelling of token `id` in the vocabulary, which is not its text: see [`Self::token_bytes`].
    #[must_use]
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The bytes that `id` adds to a text that it does not begin: ` the`, or a part of a character.
    ///
    /// They are the bytes that a [`TextStream`](crate::TextStream) gives, but for those that are not UTF-8, which are
    /// as they are here and U+FFFD there.
    ///
    /// # Errors
    /// `OutOfRange` if `id` is not in the vocabulary; `OutOfMemory`.
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>> {
        let Some(token) = self.id_to_token(id) else {
            bail!(OutOfRange, "id {id} is not in the vocabulary of {} tokens", self.size);
        };
        State::bytes_of(self, id, token)
    }

    /// Whether `id` is a special token: one that decoding can leave out, and that no ordinary text should spell.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.id_to_token(id).is_some_and(|token| self.is_special_token(&token))
    }

    pub(super) fn is_special_token(&self, token: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(token)
    }
}
