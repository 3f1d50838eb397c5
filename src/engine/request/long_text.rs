//! Short and long texts, in models that rotate the positions of the two at different frequencies (`LongRoPE`).
//!
//! A text is long if it has more tokens than the model's border; then the positions of all its tokens are rotated as in long texts.
//! What a KV cache holds was rotated as long or as short, so a request is one or the other: its first run decides, or the option
//! `long_context`. Transformers computes everything anew when a text that it generates crosses the border, and so does a request
//! without KV cache, but for one whose input was computed from the text before it crossed.

use super::Request;
use super::history::History;
use crate::error::{Result, bail};

impl Request {
    /// Whether the request's text is a long one once it has `tokens` more.
    ///
    /// # Errors
    /// [`OutOfRange`](crate::ErrorKind::OutOfRange) if it becomes long, and what is behind it was computed for a short one.
    pub(super) fn is_long_with(&self, tokens: usize) -> Result<bool> {
        let Some(border) = self.shard.config().border() else { return Ok(false) };
        let end = self.position + tokens;
        if self.position == 0 || self.no_cache && self.history.as_ref().is_some_and(History::is_text) {
            return Ok(self.long_context || end > border);
        }
        if !self.is_long && end > border {
            bail!(
                OutOfRange,
                "input: {tokens} tokens at position {} make a text of {end}, which began as one of at most {border}; this model \
                 rotates all positions of a longer one in another way: truncate to 0 and run all tokens again, in one call or in \
                 a request with the option long_context",
                self.position
            );
        }
        Ok(self.is_long)
    }

    /// Whether the request's text becomes a long one with `tokens` more, and what is behind it was computed for a short one.
    pub(crate) fn outgrows(&self, tokens: usize) -> bool {
        self.is_long_with(tokens).is_err()
    }

    /// Refuses a state that no request on this shard can have had.
    pub(super) fn check_length(&self, position: usize, is_long: bool) -> Result<()> {
        match self.shard.config().border() {
            Some(border) if !is_long && position > border => {
                bail!(Malformed, "state: {position} tokens, rotated as in a text of at most {border}")
            }
            None if is_long => {
                bail!(Malformed, "state: rotated as in a long text, where this model makes no difference")
            }
            _ => Ok(()),
        }
    }
}
